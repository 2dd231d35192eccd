//! `APP_LIVE__MAX_PER_CALLER`: how many streams one user or one guest may have open at once.

use std::time::Duration;

use proconf_app_server::sandbox::Reply;
use serde_json::json;

use crate::support::client::{Connection, request};
use crate::support::events::Events;
use crate::support::{TestServer, tokens, wait_until};

const ONE: (&str, &str) = ("APP_LIVE__MAX_PER_CALLER", "1");
const TWO: (&str, &str) = ("APP_LIVE__MAX_PER_CALLER", "2");
const OFTEN: (&str, &str) = ("APP_LIVE__POLL_INTERVAL", "100ms");
const LIVE: &str = "/callCatchUp/r1/live";

fn open(server: &TestServer, token: &str) -> Events {
    let mut events = Events::subscribe(server.address, "r1", token);
    assert!(events.next().is_some_and(|event| event.data.is_some()));
    events
}

/// The status of one more stream; it is closed at once if it opens.
fn status(server: &TestServer, token: &str) -> u16 {
    let mut connection = server.client().connect();
    connection.send(&request("GET", LIVE.as_bytes(), Some(token)));
    let text = connection.read_raw(|text| text.contains("\r\n\r\n"));
    text[9..12].parse().unwrap()
}

/// Waits until the client may open a stream again.
#[track_caller]
fn wait_until_released(server: &TestServer, token: &str, reason: &str) {
    wait_until(reason, || status(server, token) == 200);
}

#[test]
fn stream_over_the_limit_is_429_and_close() {
    let server = TestServer::with(&[TWO]);
    let user = tokens::user();
    // One stream for each of the two workers.
    let _open = [open(&server, &user), open(&server, &user)];
    let mut connection = server.client().connect();
    connection.send(&request("GET", b"/callCatchUp/unwatched/live", Some(&user)));
    let response = connection.read().unwrap();
    response.assert_error(429, "Too many requests", "the third");
    assert_eq!((response.header("retry-after"), response.header("connection")), (Some("10"), Some("close")));
    assert!(connection.read().is_none(), "the connection ends");
    let calls = server.script.requests();
    assert!(!calls.iter().any(|call| call.target.contains("unwatched")), "a rejected stream causes no call: {calls:?}");
    let mut claims = tokens::user_claims();
    claims["sid"] = "another".into();
    assert_eq!(
        status(&server, &tokens::signed(tokens::HEADER, &claims.to_string())),
        429,
        "another session of the same user"
    );
    let metrics = server.management_client().get("/metrics", None).text().to_owned();
    let series = r#"proconf_http_requests_total{route="/callCatchUp/{roomName}/live",method="GET",status="429"} 2"#;
    assert!(metrics.lines().any(|line| line == series), "{metrics}");
    assert_eq!(status(&server, &tokens::user_with_id("another")), 200);
    assert_eq!(status(&server, &tokens::guest("r1")), 200);
    server.client().get("/callCatchUp/r1", Some(&user)).assert_success(r#""r1""#);
}

#[test]
fn rejected_request_is_not_counted_against_the_stream_limit() {
    let server = TestServer::with(&[ONE]);
    let guest = tokens::guest("r1");
    let _open = open(&server, &guest);
    server.client().get("/callCatchUp/r2/live", Some(&guest)).assert_error(403, "Forbidden", "another room");
    server.client().get("/callCatchUp/%2e%2e/live", Some(&guest)).assert_error(400, "Room name is not valid.", "no room");
    server.client().get(LIVE, None).assert_unauthorized("no token");
    server.client().get(LIVE, Some(&guest)).assert_error(429, "Too many requests", "a second one");
}

#[test]
fn ended_stream_releases_its_lease() {
    let server = TestServer::with(&[ONE, OFTEN]);
    let user = tokens::user();
    drop(open(&server, &user));
    wait_until_released(&server, &user, "closed by the client");

    let stream = |token: &str| -> Connection {
        let mut connection = server.client().connect();
        connection.send(&request("GET", LIVE.as_bytes(), Some(token)));
        connection.read_raw(|text| text.contains("data: "));
        connection
    };
    wait_until_released(&server, &user, "closed by the client, again");
    let reset = tokens::user_with_id("reset");
    stream(&reset).reset();
    wait_until_released(&server, &reset, "reset by the client");

    let expiring = |lifetime: i64| {
        let mut claims = tokens::user_claims();
        (claims["sub"], claims["exp"]) = ("expiring".into(), (tokens::now() + lifetime).into());
        tokens::signed(tokens::HEADER, &claims.to_string())
    };
    let mut events = open(&server, &expiring(60));
    server.clock.advance(Duration::from_secs(61));
    assert_eq!(events.next(), None);
    wait_until_released(&server, &expiring(600), "its token expired");

    let ending = tokens::user_with_id("ending");
    let mut events = open(&server, &ending);
    let meeting = json!([{"room_name": "r1", "unique_id": "x", "created_at": "2024-06-20T08:10:14.000Z", "destroyed_at": "2024-06-20T08:10:34.000Z"}]);
    server.script.set("meetings", "", Reply::data(&meeting.to_string()));
    // A meeting with an active call has not ended.
    server.script.set("sessions-status", "r1", Reply::not_found());
    server.script.catch_up("r1", Reply::not_found());
    while events.next().is_some() {}
    wait_until_released(&server, &ending, "its meeting is over");
}

#[test]
fn ticket_rejected_with_429_can_still_be_used() {
    let server = TestServer::with(&[ONE]);
    let guest = tokens::guest("r1");
    let body = json!({"room": "r1"}).to_string();
    let ticket = || server.client().post_with("/auth/streamticket", &guest, &body).data().as_str().unwrap().to_owned();
    let (first, second) = (format!("{LIVE}?ticket={}", ticket()), format!("{LIVE}?ticket={}", ticket()));
    let events = Events::open(server.address, &first, "");
    server.client().get(&second, None).assert_error(429, "Too many requests", "a ticket of the same guest");
    server.client().get(LIVE, Some(&guest)).assert_error(429, "Too many requests", "the guest's token");
    assert_eq!(server.rows("stream_tickets"), 1);
    drop(events);
    wait_until_released(&server, &guest, "closed by the client");
    wait_until("the second ticket opens a stream", || {
        let mut connection = server.client().connect();
        connection.send(&request("GET", second.as_bytes(), None));
        let text = connection.read_raw(|text| text.contains("\r\n\r\n"));
        assert!(text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.1 429"), "{text}");
        text.starts_with("HTTP/1.1 200")
    });
}
