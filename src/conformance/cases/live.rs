//! `GET /callCatchUp/R/live`: server-sent events.

use super::super::event_stream::{Event, EventStream};
use super::call_catch_up::FAILING_ROOM;
use super::prelude::*;
use std::time::Duration;

/// A stream without an event for so long has nothing new.
const QUIET: Duration = Duration::from_secs(2);
const MAX_TRIES: usize = 5;

cases! { live {
    first_event_is_the_catch_up ["sse rooms"]
        "The first event is unnamed, has the catch-up's envelope as data, and comes at once.";
    stream_has_its_headers ["sse"] "A stream is `text/event-stream; charset=utf-8`, and no cache may store it.";
    event_id_is_the_entity_tag ["sse caching rooms"] "The `id` of an event is the ETag of that version."
        = |target| current_event(target, &target.room()?).map(drop);
    known_version_is_not_repeated ["sse rooms"]
        "A client whose `Last-Event-ID` or `?lastEventId=` is the current version gets the next one only.";
    room_without_a_catch_up_is_none ["sse rooms"]
        "The event `none` says with the 404 envelope that there is no catch-up yet.";
    failure_of_admin_control_is_failed ["sse upstream"]
        "The event `failed` says with the 500 envelope that Admin Control failed before there was anything.";
    missing_token_is_401 ["sse auth"] "A stream without a token or a ticket is 401 `Unauthorized`."
        = |target| target.get(&format!("/callCatchUp/{}/live", target.any_room())).assert_error(401, "Unauthorized");
    other_room_is_403 ["sse auth guests"] "A request of a guest for another room's stream gets 403 `Forbidden`.";
    hostile_room_name_is_400 ["sse rooms"] "An impossible room name is 400, also for a stream.";
} }

fn open(target: &Target, room: &str) -> Result<EventStream, Failure> {
    target.get_as_user(&format!("/callCatchUp/{room}/live"))?.open_stream()
}

fn first_event_is_the_catch_up(target: &Target) -> Outcome {
    let (_, envelope) = open(target, &target.room()?)?.expect_event("")?;
    let is_success = member(&envelope, "error")?.is_null() && envelope.get("data").is_some();
    check(is_success, || format!("the first event is not a success envelope: {envelope}"))
}

fn stream_has_its_headers(target: &Target) -> Outcome {
    let stream = open(target, &target.room()?)?;
    let header = |name| stream.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_lowercase();
    let (content_type, cache_control) = (header("content-type"), header("cache-control"));
    check(content_type.replace(' ', "") == "text/event-stream;charset=utf-8", || format!("Content-Type: {content_type}"))?;
    check(cache_control.contains("no-store"), || format!("Cache-Control: {cache_control}"))
}

/// Returns the first event of a stream whose version is still the current one.
fn current_event(target: &Target, room: &str) -> Result<Event, Failure> {
    for _ in 0..MAX_TRIES {
        let (event, _) = open(target, room)?.expect_event("")?;
        let response = target.get_as_user(&format!("/callCatchUp/{room}"))?.send()?;
        if response.required_header("ETag")? == event.id {
            return Ok(event);
        }
    }
    Err(format!("the id of an event differed from the ETag {MAX_TRIES} times").into())
}

fn known_version_is_not_repeated(target: &Target) -> Outcome {
    let room = target.room()?;
    let known = current_event(target, &room)?.id;
    let with_header = target.get_as_user(&format!("/callCatchUp/{room}/live"))?.header("Last-Event-ID", known.clone());
    let with_query = target.get_as_user(&format!("/callCatchUp/{room}/live?lastEventId={}", encode(&known)))?;
    for request in [with_header, with_query] {
        let event = request.timeout(QUIET).open_stream()?.next_or_timeout()?;
        let is_repeated = event.is_some_and(|event| event.id == known);
        check(!is_repeated, || format!("the version {known} is sent again"))?;
    }
    Ok(())
}

/// Asserts that the first event has this name and this error envelope.
fn assert_error_event(target: &Target, room: &str, name: &str, error: &Value) -> Outcome {
    let (_, envelope) = open(target, &encode(room))?.expect_event(name)?;
    let expected = json!({"data": null, "error": error});
    check(envelope == expected, || format!("the event {name} has the data {envelope} and not {expected}"))
}

fn room_without_a_catch_up_is_none(target: &Target) -> Outcome {
    target.get_as_user(&format!("/callCatchUp/{}", encode(UNKNOWN_ROOM)))?.send()?.permitted(FORBIDDEN_ROOM)?;
    assert_error_event(target, UNKNOWN_ROOM, "none", &json!({"code": 404, "message": "Not found"}))
}

fn failure_of_admin_control_is_failed(target: &Target) -> Outcome {
    let room = format!("{FAILING_ROOM} live");
    target.with_reply("call-catchup", &room, r#"{"status": 500}"#, || {
        assert_error_event(target, &room, "failed", &json!({"code": 500, "message": "Internal server error"}))
    })
}

fn other_room_is_403(target: &Target) -> Outcome {
    let guest = target.guest_token(OTHER_ROOM)?;
    target.get(&format!("/callCatchUp/{}/live", target.any_room())).token(&guest).assert_error(403, "Forbidden")
}

fn hostile_room_name_is_400(target: &Target) -> Outcome {
    for name in ["%2e%2e", "*", "a%2fb"] {
        target.get_as_user(&format!("/callCatchUp/{name}/live"))?.assert_bad_request()?;
    }
    Ok(())
}
