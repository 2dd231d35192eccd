//! `POST /proconfToken`.

use super::prelude::*;

cases! { proconf_token {
    sample_response [] "The ProCONF token is the string that Admin Control issued.";
    guest_enters_its_room_as_member ["guests"] "A guest may ask for a token of its own room as member.";
    guest_is_no_owner ["guests"] "A request of a guest for the role owner gets 403 `Forbidden`.";
    guest_enters_no_other_room ["guests rooms"] "A request of a guest for a token of another room gets 403 `Forbidden`.";
    unknown_role_is_403 [] "A request of a user for a role that is not allowed gets 403 `Forbidden`.";
    malformed_input_is_400 ["errors"] "A missing or mistyped field is 400.";
    hostile_room_name_is_400 ["rooms errors"] "Impossible room names are 400, also in a body.";
} }

fn body(role: &str, room: &str) -> Value {
    json!({"role": role, "room": room, "participantName": "Conformance"})
}

fn sample_response(target: &Target) -> Outcome {
    let room = target.room_name()?;
    let data = target.post("/proconfToken", &body("member", room)).token(&target.user_token()?).success()?;
    string(&data).map(drop)
}

fn guest_enters_its_room_as_member(target: &Target) -> Outcome {
    let room = target.room_name()?;
    let guest = target.guest_token(room)?;
    string(&target.post("/proconfToken", &body("member", room)).token(&guest).success()?).map(drop)
}

fn guest_is_no_owner(target: &Target) -> Outcome {
    let guest = target.guest_token(OTHER_ROOM)?;
    target.post("/proconfToken", &body("owner", OTHER_ROOM)).token(&guest).assert_error(403, "Forbidden")
}

fn guest_enters_no_other_room(target: &Target) -> Outcome {
    let guest = target.guest_token(OTHER_ROOM)?;
    target.post("/proconfToken", &body("member", UNKNOWN_ROOM)).token(&guest).assert_error(403, "Forbidden")
}

fn unknown_role_is_403(target: &Target) -> Outcome {
    let request = target.post("/proconfToken", &body("conformance-role", UNKNOWN_ROOM));
    request.token(&target.user_token()?).assert_error(403, "Forbidden")
}

fn malformed_input_is_400(target: &Target) -> Outcome {
    for field in ["role", "room", "participantName"] {
        for wrong in [None, Some(json!(1))] {
            let mut body = body("member", UNKNOWN_ROOM);
            let members = body.as_object_mut().ok_or_else(|| "unreachable".to_owned())?;
            match wrong {
                None => members.remove(field),
                Some(value) => members.insert(field.to_owned(), value),
            };
            let message = target.post("/proconfToken", &body).token(&target.user_token()?).assert_bad_request()?;
            check(message.to_lowercase().contains(&field.to_lowercase()), || format!("{message:?} does not name {field}"))?;
        }
    }
    Ok(())
}

fn hostile_room_name_is_400(target: &Target) -> Outcome {
    for room in ["*", "..", "a/b", "%2e%2e", "a\u{0}b", "\u{ff0a}"] {
        target.post("/proconfToken", &body("member", room)).token(&target.user_token()?).assert_bad_request()?;
    }
    Ok(())
}
