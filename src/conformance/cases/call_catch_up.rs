//! `GET /callCatchUp`.

use super::prelude::*;

/// A room for which the suite makes Admin Control fail.
pub(super) const FAILING_ROOM: &str = "conformance failing room";
const INNER_ERROR: &str = r#"{"status": 500, "body": "connect ECONNREFUSED 192.0.2.1:3000"}"#;

cases! { call_catch_up {
    sample_response ["rooms"] "A catch-up is a success envelope, once, whose data is what Admin Control sent.";
    room_in_the_query ["rooms"] "The room routes take the room as `?roomName=R`, too.";
    missing_room_is_400 ["rooms errors"] "A missing or blank room is 400 `Room name required in query param.`."
        = |target| assert_room_required(target, "/callCatchUp");
    conflicting_rooms_are_400 ["rooms errors"] "Two different rooms in one request are 400."
        = |target| assert_one_room(target, "/callCatchUp");
    hostile_room_name_is_400 ["rooms errors"] "Impossible room names are 400, also encoded twice or as look-alikes.";
    unknown_room_is_404 ["rooms errors"] "A room that Admin Control does not know is 404 `Not found`.";
    reason_for_a_missing_catch_up ["rooms"]
        "Where a catch-up is missing, `X-Catch-Up-Reason` is transcription-off, meeting-ended or none-yet.";
    failure_of_admin_control_is_500 ["upstream errors"]
        "Every failure of Admin Control is 500 `Internal server error`, without an inner error.";
    data_is_passed_on_unchanged ["upstream"]
        "`data` is passed on exactly as Admin Control sent it, numbers with every digit they came with.";
    unusual_room_name_is_one_segment ["upstream rooms"]
        "What is accepted reaches Admin Control as exactly one path segment that decodes to the same bytes.";
} }

fn sample_response(target: &Target) -> Outcome {
    let data = target.get_as_user(&format!("/callCatchUp/{}", target.room()?))?.success()?;
    let is_envelope = data.get("error").is_some() || data.get("data").is_some();
    check(!is_envelope, || format!("an envelope in the envelope: {data}"))?;
    let is_library_response = data.get("config").is_some() || data.get("headers").is_some();
    check(!is_library_response, || format!("a client library's response: {data}"))
}

fn room_in_the_query(target: &Target) -> Outcome {
    let room = target.room()?;
    target.get_as_user(&format!("/callCatchUp?roomName={room}"))?.success()?;
    target.get_as_user(&format!("/callCatchUp/{room}?roomName={room}"))?.success().map(drop)
}

fn hostile_room_name_is_400(target: &Target) -> Outcome {
    let names = "%2e%2e %2e%2e%2fconfiguration %252e%252e a%2fb a%5cb %00 a%0d%0ab %ff %zz * %EF%BC%8A %EF%BC%8E%EF%BC%8E \
                 a%EF%BC%8Fb %25EF%25BC%258F";
    for name in names.split_whitespace() {
        target.get_as_user(&format!("/callCatchUp/{name}"))?.assert_bad_request()?;
    }
    Ok(())
}

fn unknown_room_is_404(target: &Target) -> Outcome {
    let response = target.get_as_user(&format!("/callCatchUp/{}", encode(UNKNOWN_ROOM)))?.send()?;
    response.permitted(FORBIDDEN_ROOM)?.assert_error(404, "Not found")
}

fn reason_for_a_missing_catch_up(target: &Target) -> Outcome {
    let response =
        target.get_as_user(&format!("/callCatchUp/{}", encode(UNKNOWN_ROOM)))?.send()?.permitted(FORBIDDEN_ROOM)?;
    response.assert_status(404)?;
    let reason = response.required_header("X-Catch-Up-Reason")?;
    let is_known = ["transcription-off", "meeting-ended", "none-yet"].contains(&reason);
    check(is_known, || format!("{}: X-Catch-Up-Reason: {reason}", response.request))
}

fn failure_of_admin_control_is_500(target: &Target) -> Outcome {
    target.with_reply("call-catchup", FAILING_ROOM, INNER_ERROR, || {
        let path = format!("/callCatchUp/{}", encode(FAILING_ROOM));
        target.get_as_user(&path)?.assert_error(500, "Internal server error")
    })
}

fn data_is_passed_on_unchanged(target: &Target) -> Outcome {
    let (room, data) = ("conformance data", r#"{"z": 1.50, "a": 123456789012345678901234567890, "é": "\u00e9", "n": null}"#);
    target.with_reply("call-catchup", room, &format!(r#"{{"data": {data}}}"#), || {
        let response = target.get_as_user(&format!("/callCatchUp/{}", encode(room)))?.send()?;
        response.success()?;
        let body = String::from_utf8_lossy(&response.body);
        check(body.contains(data), || format!("{}: {body} does not contain {data}", response.request))
    })
}

fn unusual_room_name_is_one_segment(target: &Target) -> Outcome {
    for name in ["a b", "a+b", "a?b", "a#b", "a;b", "100%", "комната", "🎥"] {
        let (room, said) = (format!("conformance {name}"), format!("said in {name}"));
        target.with_reply("call-catchup", &room, &json!({"data": said}).to_string(), || {
            let data = target.get_as_user(&format!("/callCatchUp/{}", encode(&room)))?.success()?;
            check(data == said, || format!("the room {room:?} has the catch-up {data}"))
        })?;
    }
    Ok(())
}
