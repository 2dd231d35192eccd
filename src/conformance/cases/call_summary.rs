//! `GET /callSummary`.

use super::prelude::*;

cases! { call_summary {
    sample_response ["rooms"] "A summary is the text of the summary file, not the record.";
    missing_room_is_400 ["rooms errors"] "A missing or blank room is 400 `Room name required in query param.`."
        = |target| assert_room_required(target, "/callSummary");
    conflicting_rooms_are_400 ["rooms errors"] "Two different rooms in one request are 400."
        = |target| assert_one_room(target, "/callSummary");
} }

fn sample_response(target: &Target) -> Outcome {
    let room = target.config.summary_room.as_deref().ok_or_else(|| not_tried("no room is given (--summary-room)"))?;
    for path in [format!("/callSummary/{}", encode(room)), format!("/callSummary?roomName={}", encode(room))] {
        let data = target.get_as_user(&path)?.success()?;
        check(!string(&data)?.contains("\"file_url\""), || format!("GET {path}: the record, and not the text: {data}"))?;
    }
    Ok(())
}
