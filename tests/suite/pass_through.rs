//! `/callConfig`, `/callStatus` and `/meetings`: Admin Control's responses, passed through to permitted clients.

use crate::support::{TestServer, tokens};
use proconf_app_server::sandbox::Reply;

/// Route, endpoint, room.
const ROUTES: [(&str, &str, &str); 4] = [
    ("/callConfig", "configuration", ""),
    ("/callStatus?roomName=r1", "sessions-status", "r1"),
    ("/callStatus/r1", "sessions-status", "r1"),
    ("/meetings", "meetings", ""),
];

#[test]
fn documented_objects_are_passed_through() {
    let server = TestServer::start();
    let get = |target: &str| server.client().get(target, Some(&tokens::user())).data();
    assert_eq!(get("/callConfig")["features"]["waiting_room"], true);
    assert_eq!(get("/callStatus?roomName=r1")["transcript_status"], true);
    assert!(get("/meetings").is_array());
    let targets: Vec<String> = server.script.requests().into_iter().map(|call| call.target).collect();
    assert_eq!(targets, ["/api/configuration", "/api/sessions-status/r1", "/api/meetings"]);
}

#[test]
fn data_is_passed_through_byte_for_byte() {
    let server = TestServer::start();
    for (target, endpoint, room) in ROUTES.into_iter().chain([("/callCatchUp/r1", "call-catchup", "r1")]) {
        for data in [
            "null",
            "true",
            "-0.0",
            "[]",
            r#""""#,
            r#"{"z":1,  "a":123456789012345678901234567890.5,"z2":[1e400]}"#,
            r#""\ud83c\udfa5 \u0000 \/ \ud800\u2028""#,
            "\"\u{2028}комната🎥\u{7f}\"",
            r#"{"a":1,"a":2}"#,
        ] {
            server.script.set(endpoint, room, Reply::data(data));
            server.client().get(target, Some(&tokens::user())).assert_success(data);
        }
    }
}

#[test]
fn guest_reads_configuration_and_its_own_status_only() {
    let server = TestServer::start();
    let guest = tokens::guest("r1");
    for target in ["/callConfig", "/callStatus?roomName=r1", "/callStatus/r1"] {
        server.client().get(target, Some(&guest)).data();
    }
    assert_eq!(server.calls(), 3);
    for target in ["/callStatus?roomName=r2", "/callStatus/R1", "/callStatus/r1%20", "/meetings", "/meetings?roomName=r1"] {
        server.client().get(target, Some(&guest)).assert_error(403, "Forbidden", target);
    }
    assert_eq!(server.calls(), 3);
}

#[test]
fn status_without_a_valid_room_is_400() {
    let server = TestServer::start();
    let user = tokens::user();
    for target in ["/callStatus", "/callStatus/", "/callStatus?roomName=", "/callStatus/%20"] {
        server.client().get(target, Some(&user)).assert_error(400, "Room name required in query param.", target);
    }
    for target in
        ["/callStatus?roomName=..", "/callStatus/%2e%2e%2fconfiguration", "/callStatus/%252e", "/callStatus/a%0d%0ab"]
    {
        server.client().get(target, Some(&user)).assert_error(400, "Room name is not valid.", target);
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn hanging_endpoint_uses_no_permit_of_another() {
    let server = TestServer::with(&[("APP_ADMIN_CONTROL__MAX_IN_FLIGHT", "2")]);
    let slow = server.start_hanging_requests(2);
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_error(503, "Service unavailable", "the third");
    for (target, ..) in ROUTES {
        server.client().get(target, Some(&tokens::user())).data();
    }
    for slow in slow {
        slow.join().unwrap().assert_error(500, "Internal server error", "timeout");
    }
}
