//! `GET /auth/joinmember`: guests.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::support::{TestServer, tokens};

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn guest_token_opens_its_own_room_only() {
    let server = TestServer::start();
    let token = server.client().get("/auth/joinmember?roomName=my+room%2B", None).data();
    let token = token.as_str().unwrap();
    server.client().get("/callCatchUp/my%20room+", Some(token)).assert_success(r#""my room+""#);
    server.client().get("/callCatchUp/my%20room", Some(token)).assert_error(403, "Forbidden", "another room");
    assert_eq!(server.calls(), 1);
}

#[test]
fn guest_token_has_the_documented_claims() {
    let server =
        TestServer::with(&[("APP_GUESTS__TOKEN_TTL", "90s"), ("APP_AUTH__ISSUER", "us"), ("APP_AUTH__AUDIENCE", "them")]);
    let token = server.client().get("/auth/joinmember?roomName=r1", None).data();
    let claims = claims(token.as_str().unwrap());
    let names: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "kind", "roomName", "sub", "userId"]);
    assert_eq!((&claims["kind"], &claims["roomName"]), (&"guest".into(), &"r1".into()));
    assert_eq!((&claims["iss"], &claims["aud"], &claims["sub"]), (&"us".into(), &"them".into(), &claims["userId"]));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 90);
    assert!((claims["iat"].as_i64().unwrap() - tokens::now()).abs() <= 5);
}

#[test]
fn guest_ids_are_unique() {
    let server = TestServer::start();
    let mut connection = server.client().connect();
    let guests: HashSet<String> = (0..500)
        .map(|_| {
            let response = connection.request(b"GET /auth/joinmember?roomName=r1 HTTP/1.1\r\nHost: t\r\n\r\n");
            claims(response.data().as_str().unwrap())["userId"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(guests.len(), 500);
    assert!(guests.iter().all(|id| id.len() == 22));
}

#[test]
fn invalid_room_is_400() {
    let server = TestServer::start();
    for target in
        ["/auth/joinmember", "/auth/joinmember?roomName=", "/auth/joinmember?roomName=+", "/auth/joinmember?room=r1"]
    {
        server.client().get(target, None).assert_error(400, "Room name required in query param.", target);
    }
    for room in ["..", "%2e", "a%2Fb", "%252F", "a%00", "%ff", "%", "%0d%0aX:y", &"a".repeat(256)] {
        let target = format!("/auth/joinmember?roomName={room}");
        server.client().get(&target, None).assert_error(400, "Room name is not valid.", room);
    }
    server.client().get("/auth/joinmember?roomName=r1&roomName=r2", None).assert_error(
        400,
        "roomName must be given once.",
        "two",
    );
}

#[test]
fn disabled_guests_cannot_join() {
    let server = TestServer::with(&[("APP_GUESTS__ENABLED", "false")]);
    server.client().get("/auth/joinmember?roomName=r1", None).assert_error(403, "Forbidden", "guests are off");
    server.client().get("/auth/joinmember", None).assert_error(
        400,
        "Room name required in query param.",
        "input comes first",
    );
}

#[test]
fn disabled_guests_lose_their_earlier_tokens() {
    let before = TestServer::start();
    let guest = before.client().get("/auth/joinmember?roomName=r1", None).data();
    let guest = guest.as_str().unwrap();
    let ticket = before.client().post_with("/auth/streamticket", guest, r#"{"room": "r1"}"#).data();
    let ticket = format!("/callCatchUp/r1/live?ticket={}", ticket.as_str().unwrap());
    let off = before.replica(&[("APP_GUESTS__ENABLED", "false")]);
    for target in
        ["/callConfig", "/callStatus/r1", "/callCatchUp/r1", "/callCatchUp/r1/live", "/callSummary/r1", "/meetings"]
    {
        off.client().get(target, Some(guest)).assert_unauthorized(target);
    }
    off.client().get(&ticket, None).assert_unauthorized("a ticket of a guest's");
    let body = r#"{"role": "member", "room": "r1", "participantName": "Ann"}"#;
    off.client().post_with("/proconfToken", guest, body).assert_unauthorized("/proconfToken");
    off.client().post_with("/auth/streamticket", guest, r#"{"room": "r1"}"#).assert_unauthorized("/auth/streamticket");
    assert_eq!(off.calls(), 0);
    // Users are not affected, nor is the replica with guests enabled.
    off.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
    before.client().get("/callCatchUp/r1", Some(guest)).assert_success(r#""r1""#);
}
