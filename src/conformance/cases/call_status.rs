//! `GET /callStatus`.

use super::prelude::*;

cases! { call_status {
    sample_response ["rooms"] "A status has the booleans transcript_status and recording_status."
        = |target| check_status(&target.get_as_user(&format!("/callStatus?roomName={}", target.room()?))?.success()?);
    room_in_the_path ["rooms"] "The room routes take the room as `/R` in the path, too."
        = |target| check_status(&target.get_as_user(&format!("/callStatus/{}", target.room()?))?.success()?);
    missing_room_is_400 ["rooms errors"] "A missing or blank room is 400 `Room name required in query param.`."
        = |target| assert_room_required(target, "/callStatus");
    conflicting_rooms_are_400 ["rooms errors"] "Two different rooms in one request are 400."
        = |target| assert_one_room(target, "/callStatus");
} }

fn check_status(data: &Value) -> Outcome {
    for name in ["transcript_status", "recording_status"] {
        check(member(data, name)?.is_boolean(), || format!("{name} is no boolean in {data}"))?;
    }
    Ok(())
}
