//! `GET /meetings`.

use super::prelude::*;

cases! { meetings {
    sample_response [] "The meetings are an array of objects with room_name, unique_id, created_at and destroyed_at.";
    guest_is_403 ["guests"] "A request of a guest for the meetings gets 403 `Forbidden`."
        = |target| target.get("/meetings").token(&target.guest_token(OTHER_ROOM)?).assert_error(403, "Forbidden");
} }

fn sample_response(target: &Target) -> Outcome {
    let data = target.get_as_user("/meetings")?.send()?.permitted("the user may not see the meetings")?.success()?;
    check(data.is_array(), || format!("not an array: {data}"))?;
    for meeting in data.as_array().map(Vec::as_slice).unwrap_or_default() {
        for name in ["room_name", "unique_id"] {
            string(member(meeting, name)?)?;
        }
        for name in ["created_at", "destroyed_at"] {
            let is_time = matches!(member(meeting, name)?, Value::String(_) | Value::Null);
            check(is_time, || format!("{name} is no time in {meeting}"))?;
        }
    }
    Ok(())
}
