//! `POST /auth/streamticket`: tickets for browsers, whose `EventSource` sends no header.

use super::prelude::*;

cases! { stream_ticket {
    ticket_opens_one_stream ["sse auth"] "A ticket opens one stream of its room, once; a second use is 401.";
    ticket_of_another_room_is_403 ["sse auth rooms"] "A ticket that does not cover the room is 403 `Forbidden`.";
    ticket_is_no_bearer_token ["sse auth"] "A ticket is never a bearer token.";
    token_is_no_ticket ["sse auth"] "A user token is no ticket."
        = |target| target.get(&live(&target.any_room(), &target.user_token()?)).assert_error(401, "Unauthorized");
    missing_token_is_401 ["sse auth"] "Only a user or a guest gets a ticket."
        = |target| target.post("/auth/streamticket", &json!({"room": OTHER_ROOM})).assert_error(401, "Unauthorized");
    missing_room_is_400 ["sse rooms errors"] "A missing room is 400 `Room name required in query param.`.";
    guest_gets_no_ticket_of_another_room ["sse auth guests"]
        "A guest gets a ticket for its own room alone, else 403 `Forbidden`.";
} }

fn ticket(target: &Target, room: &str) -> Result<String, Failure> {
    let request = target.post("/auth/streamticket", &json!({"room": room})).token(&target.user_token()?);
    Ok(string(&request.send()?.permitted(FORBIDDEN_ROOM)?.success()?)?.to_owned())
}

fn live(room: &str, ticket: &str) -> String {
    format!("/callCatchUp/{room}/live?ticket={ticket}")
}

fn ticket_opens_one_stream(target: &Target) -> Outcome {
    let room = target.room()?;
    let ticket = ticket(target, target.room_name()?)?;
    target.get(&live(&room, &ticket)).open_stream()?.expect_event("")?;
    target.get(&live(&room, &ticket)).assert_error(401, "Unauthorized")
}

fn ticket_of_another_room_is_403(target: &Target) -> Outcome {
    let ticket = ticket(target, OTHER_ROOM)?;
    target.get(&live(&target.any_room(), &ticket)).assert_error(403, "Forbidden")
}

fn ticket_is_no_bearer_token(target: &Target) -> Outcome {
    let ticket = ticket(target, UNKNOWN_ROOM)?;
    target.get("/callConfig").token(&ticket).assert_error(401, "Unauthorized")
}

fn missing_room_is_400(target: &Target) -> Outcome {
    for body in [json!({}), json!({"room": ""}), json!({"room": null})] {
        target.post("/auth/streamticket", &body).token(&target.user_token()?).assert_bad_request()?;
    }
    Ok(())
}

fn guest_gets_no_ticket_of_another_room(target: &Target) -> Outcome {
    let guest = target.guest_token(OTHER_ROOM)?;
    target.post("/auth/streamticket", &json!({"room": OTHER_ROOM})).token(&guest).success()?;
    target.post("/auth/streamticket", &json!({"room": UNKNOWN_ROOM})).token(&guest).assert_error(403, "Forbidden")
}
