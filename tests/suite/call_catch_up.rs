//! `GET /callCatchUp/R` and `?roomName=R`.

use std::time::Duration;

use crate::support::{TestServer, tokens};
use proconf_app_server::sandbox::Reply;

#[test]
fn room_in_path_or_query_returns_its_catch_up() {
    let server = TestServer::start();
    let user = tokens::user();
    for target in [
        "/callCatchUp/r1",
        "/callCatchUp?roomName=r1",
        "/callCatchUp/r1?roomName=r1",
        "/callCatchUp/?roomName=r1",
        "/callCatchUp/%72%31",
        "/callCatchUp/r1?other=%zz&RoomName=r2",
        "/%63allCatchUp/r1",
    ] {
        server.client().get(target, Some(&user)).assert_success(r#""r1""#);
    }
    assert!(server.script.requests().iter().all(|call| call.target == "/api/call-catchup/r1"));
    assert_eq!(server.calls(), 7);
}
#[test]
fn missing_or_blank_room_is_400() {
    let server = TestServer::start();
    for target in [
        "/callCatchUp",
        "/callCatchUp/",
        "/callCatchUp?",
        "/callCatchUp?roomName",
        "/callCatchUp?roomName=",
        "/callCatchUp?roomName=%20+%20",
        "/callCatchUp/%20",
        "/callCatchUp/%20%20",
        "/callCatchUp?RoomName=r1",
        "/callCatchUp?roomName[]=r1",
        "/callCatchUp/?roomname=r1",
    ] {
        let response = server.client().get(target, Some(&tokens::user()));
        response.assert_error(400, "Room name required in query param.", target);
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn conflicting_rooms_are_400() {
    let server = TestServer::start();
    for (target, message) in [
        ("/callCatchUp/r1?roomName=r2", "The room in the path and roomName in the query differ."),
        ("/callCatchUp/r1?roomName=R1", "The room in the path and roomName in the query differ."),
        ("/callCatchUp/r1?roomName=", "Room name required in query param."),
        ("/callCatchUp?roomName=r1&roomName=r2", "roomName must be given once."),
        ("/callCatchUp?roomName=r2&roomName=r1", "roomName must be given once."),
        ("/callCatchUp?roomName=r1&roomName=r1", "roomName must be given once."),
        ("/callCatchUp?roomName=r1&room%4eame=r2", "roomName must be given once."),
    ] {
        for token in [tokens::user(), tokens::guest("r1")] {
            server.client().get(target, Some(&token)).assert_error(400, message, target);
        }
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn guest_is_403_for_any_other_room() {
    let server = TestServer::start();
    let guest = tokens::guest("r1");
    server.client().get("/callCatchUp/r1", Some(&guest)).assert_success(r#""r1""#);
    server.client().get("/callCatchUp?roomName=r1", Some(&guest)).assert_success(r#""r1""#);
    assert_eq!(server.calls(), 2);
    for other in [
        "r2",
        "R1",
        "r1%20",
        "%20r1",
        "r1%3b",
        "r1;",
        "%EF%BD%92%EF%BC%91",
        "r1%E2%80%8B",
        "r1%CC%81",
        "r",
        "r11",
        "r1.",
        "**",
        "%25",
        "r1&r2",
    ] {
        server.client().get(&format!("/callCatchUp/{other}"), Some(&guest)).assert_error(403, "Forbidden", other);
    }
    for other in ["r1+", "r1%20", "+r1"] {
        server.client().get(&format!("/callCatchUp?roomName={other}"), Some(&guest)).assert_error(403, "Forbidden", other);
    }
    assert_eq!(server.calls(), 2);
}

#[test]
fn guest_of_an_unusual_room_name_is_admitted() {
    let server = TestServer::start();
    for (name, segment) in
        [("комната 1", "%D0%BA%D0%BE%D0%BC%D0%BD%D0%B0%D1%82%D0%B0%201"), ("a+b", "a+b"), ("100%", "100%25")]
    {
        let response = server.client().get(&format!("/callCatchUp/{segment}"), Some(&tokens::guest(name)));
        assert_eq!(response.data(), name);
    }
}

#[test]
fn client_headers_are_not_forwarded() {
    let server = TestServer::with(&[("APP_ADMIN_CONTROL__AUTHORIZATION", "Key of this deployment")]);
    let request = format!(
        "GET /callCatchUp/r1?secret=canary HTTP/1.1\r\nHost: canary.example\r\nAuthorization: Bearer {}\r\nCookie: c=canary\r\n\
         X-Forwarded-For: canary\r\nX-Custom: canary\r\ntraceparent: canary\r\ntracestate: canary=1\r\nX-Request-Id: a canary\r\nUser-Agent: canary\r\nAccept-Encoding: canary\r\n\r\n",
        tokens::user(),
    );
    server.client().request(request.as_bytes()).assert_success(r#""r1""#);
    let [call] = server.script.requests().try_into().expect("one call");
    assert_eq!((call.method.as_str(), call.target.as_str()), ("GET", "/api/call-catchup/r1"));
    let header = |name: &str| call.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str());
    assert_eq!(header("authorization"), Some("Key of this deployment"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("accept-encoding"), Some("identity"));
    assert!(!format!("{call:?}").contains("canary"), "{call:?}");
    // The server replaces values that are not valid.
    assert_eq!(header("traceparent").unwrap().len(), 55);
    let mut names: Vec<&str> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "date",
            "host",
            "traceparent",
            "user-agent",
            "x-request-id"
        ]
    );
}

#[test]
fn slow_catch_up_within_the_timeout_is_returned() {
    let server = TestServer::start();
    server.script.catch_up("r1", Reply::data(r#""late""#).after(Duration::from_millis(700)));
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""late""#);
}

/// The status for `r1` and its reason.
fn reason(server: &TestServer) -> (u16, Option<String>) {
    let response = server.client().get("/callCatchUp/r1", Some(&tokens::guest("r1")));
    if response.status == 404 {
        response.assert_error(404, "Not found", "as the contract says");
    }
    (response.status, response.header("x-catch-up-reason").map(str::to_owned))
}

#[test]
fn absent_catch_up_has_a_reason_header() {
    let server = TestServer::start();
    let said = |reason: &str| Some(reason.to_owned());
    let off = Reply::data(r#"{"transcript_status":false,"recording_status":true}"#);
    let on = Reply::data(r#"{"transcript_status":true,"recording_status":false}"#);
    let ended = Reply::data(r#"[{"room_name":"r0"},{"room_name":"r1","unique_id":"r1_1"}]"#);
    let malformed = Reply::data(r#"[null,7,{"room_name":1},{"room_name":"a","room_name":"b"},{"room_name":"r1"}]"#);
    for (none, status) in [(Reply::not_found(), 404), (Reply::data("null"), 200), (Reply::data(r#""""#), 200)] {
        server.script.catch_up("r1", none);
        for (call, meetings, expected) in [
            (&off, &Reply::data("[]"), "transcription-off"),
            (&off, &ended, "transcription-off"),
            (&on, &ended, "none-yet"),
            (&Reply::not_found(), &ended, "meeting-ended"),
            (&Reply::not_found(), &malformed, "meeting-ended"),
            (&Reply::not_found(), &Reply::data("[]"), "none-yet"),
            (&Reply::not_found(), &Reply::data("null"), "none-yet"),
            (&Reply::not_found(), &Reply::data(r#"[{"room_name":"r10"},{"room_name":"R1"}]"#), "none-yet"),
            (&Reply::body(500, "x"), &ended, "none-yet"),
            (&Reply::data("[]"), &ended, "none-yet"),
            (&Reply::not_found(), &Reply::data("{}"), "none-yet"),
        ] {
            server.script.set("sessions-status", "r1", call.clone());
            server.script.set("meetings", "", meetings.clone());
            assert_eq!(reason(&server), (status, said(expected)), "{call:?} {meetings:?}");
        }
    }
    server.script.catch_up("r1", Reply::data(r#""text""#));
    assert_eq!(reason(&server), (200, None));
    server.script.catch_up("r1", Reply::not_found());
    server.script.set("sessions-status", "r1", Reply::hang());
    assert_eq!(reason(&server), (404, said("none-yet")), "it is not waited for until the timeout");
    server.script.catch_up("r1", Reply::body(500, "x"));
    assert_eq!(reason(&server), (500, None));
}

#[test]
fn reason_is_cached_and_can_be_disabled() {
    let server = TestServer::with(&[("APP_CATCH_UP__FRESH_FOR", "5s")]);
    server.script.catch_up("r1", Reply::not_found());
    server.script.set("sessions-status", "r1", Reply::data(r#"{"transcript_status":false}"#));
    for _ in 0..20 {
        assert_eq!(reason(&server).1.as_deref(), Some("transcription-off"));
    }
    let calls = server.script.requests();
    let of_status = calls.iter().filter(|call| call.target.contains("sessions-status")).count();
    assert!(calls.len() == 20 + of_status && of_status < 10, "{of_status}");

    let off = TestServer::with(&[("APP_CATCH_UP__EXPLAIN_ABSENCE", "false")]);
    off.script.catch_up("r1", Reply::not_found());
    assert_eq!((reason(&off), off.calls()), ((404, None), 1));
}

#[test]
fn valid_request_id_and_trace_are_forwarded() {
    let server = TestServer::start();
    let fetch = |headers: &str| {
        let token = tokens::user();
        let head = format!("GET /callCatchUp/r1 HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n{headers}\r\n");
        server.client().request(head.as_bytes()).assert_success(r#""r1""#);
        let call = server.script.requests().pop().unwrap();
        let header = |name: &str| call.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone());
        (header("x-request-id").unwrap(), header("traceparent").unwrap(), header("tracestate"))
    };
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let (id, trace, state) =
        fetch(&format!("X-Request-Id: mine\r\ntraceparent: {parent}\r\ntracestate: a=1\r\ntracestate: b=2\r\n"));
    assert_eq!((id.as_str(), state.as_deref()), ("mine", Some("a=1,b=2")));
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace.ends_with("-00"), "{trace}");
    assert!(!trace.contains("00f067aa0ba902b7"), "a part of its own");
    let (id, trace, state) = fetch("tracestate: a=1\r\n");
    assert!(trace.contains(&id) && state.is_none(), "{id} {trace}: a trace that begins here");
}
