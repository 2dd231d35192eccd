//! `POST /proconfToken`: the roles in which a client may join a call.

use std::io::Write as _;

use crate::support::fake_upstream::{FakeUpstream, read_head};
use crate::support::{TestServer, tokens};
use proconf_app_server::sandbox::Reply;
use serde_json::{Value, json};

fn body(role: &str, room: &str) -> String {
    json!({"role": role, "room": room, "participantName": "Ann 🎥"}).to_string()
}

#[test]
fn user_gets_the_issued_token_for_each_role() {
    let server = TestServer::start();
    for role in ["owner", "moderator", "member"] {
        let token = server.client().post_with("/proconfToken", &tokens::user(), &body(role, "r 1")).data();
        assert_eq!(token.as_str().unwrap().split('.').count(), 3);
    }
    let calls = server.script.requests();
    assert_eq!((calls[0].method.as_str(), calls[0].target.as_str()), ("POST", "/api/proconf-token"));
    let sent: Value = serde_json::from_slice(&calls[0].body).unwrap();
    assert_eq!(sent, json!({"role": "owner", "room": "r 1", "participantName": "Ann 🎥"}));
    assert!(!format!("{calls:?}").contains(&tokens::user()));
    server.script.set("proconf-token", "", Reply::data(r#"{"any": 1e400}"#));
    server.client().post_with("/proconfToken", &tokens::user(), &body("owner", "r1")).assert_success(r#"{"any": 1e400}"#);
}

#[test]
fn guest_gets_a_token_for_its_room_and_guest_roles_only() {
    let server = TestServer::start();
    let guest = tokens::guest("r1");
    server.client().post_with("/proconfToken", &guest, &body("member", "r1")).data();
    for (role, room) in [
        ("owner", "r1"),
        ("moderator", "r1"),
        ("Member", "r1"),
        ("MEMBER", "r1"),
        ("member ", "r1"),
        ("admin", "r1"),
        ("member", "r2"),
        ("member", "R1"),
        ("member", "r1 "),
        ("member", "r１"),
    ] {
        let response = server.client().post_with("/proconfToken", &guest, &body(role, room));
        response.assert_error(403, "Forbidden", &format!("{role} in {room}"));
    }
    server.client().post_with("/proconfToken", &tokens::user(), &body("admin", "r1")).assert_error(
        403,
        "Forbidden",
        "not a role of users",
    );
    assert_eq!(server.calls(), 1);
}

#[test]
fn configured_roles_replace_the_default_roles() {
    let server = TestServer::with(&[("APP_GUESTS__ROLES", "listener, speaker"), ("APP_USERS__ROLES", "host")]);
    let status = |token: &str, role: &str| server.client().post_with("/proconfToken", token, &body(role, "r1")).status;
    let (user, guest) = (tokens::user(), tokens::guest("r1"));
    assert_eq!((status(&guest, "listener"), status(&guest, "speaker"), status(&guest, "member")), (200, 200, 403));
    assert_eq!((status(&user, "host"), status(&user, "owner"), status(&user, "listener")), (200, 403, 403));
}

#[test]
fn malformed_input_is_400_and_names_the_field() {
    let server = TestServer::start();
    let too_long = "x".repeat(256);
    for (sent, message) in [
        (json!({"room": "r1", "participantName": "Ann"}), "role is required."),
        (json!({"role": "", "room": "r1", "participantName": "Ann"}), "role must not be empty."),
        (json!({"role": ["member"], "room": "r1", "participantName": "Ann"}), "role must be a string."),
        (json!({"role": "member", "participantName": "Ann"}), "Room name required in query param."),
        (json!({"role": "member", "room": " ", "participantName": "Ann"}), "Room name required in query param."),
        (json!({"role": "member", "room": null, "participantName": "Ann"}), "Room name required in query param."),
        (json!({"role": "member", "room": ["r1"], "participantName": "Ann"}), "room must be a string."),
        (json!({"role": "member", "room": "../x", "participantName": "Ann"}), "Room name is not valid."),
        (json!({"role": "member", "room": "%2e%2e", "participantName": "Ann"}), "Room name is not valid."),
        (json!({"role": "member", "room": "a\u{0}", "participantName": "Ann"}), "Room name is not valid."),
        (json!({"role": "member", "room": "r1"}), "participantName is required."),
        (json!({"role": "member", "room": "r1", "participantName": " \u{3000}"}), "participantName must not be blank."),
        (
            json!({"role": "member", "room": "r1", "participantName": "a\nb"}),
            "participantName must be at most 255 bytes, without control characters.",
        ),
        (
            json!({"role": "member", "room": "r1", "participantName": "a\u{202e}b"}),
            "participantName must be at most 255 bytes, without control characters.",
        ),
        (
            json!({"role": "member", "room": "r1", "participantName": too_long}),
            "participantName must be at most 255 bytes, without control characters.",
        ),
        (json!([]), "The body must be one JSON object with each member once."),
    ] {
        for token in [tokens::user(), tokens::guest("r1")] {
            let response = server.client().post_with("/proconfToken", &token, &sent.to_string());
            response.assert_error(400, message, &sent.to_string());
        }
    }
    for twice in [
        r#"{"role":"member","room":"r1","room":"r2","participantName":"Ann"}"#,
        r#"{"role":"member","room":"r2","room":"r1","participantName":"Ann"}"#,
        r#"{"role":"member","room":"r1","\u0072oom":"r2","participantName":"Ann"}"#,
        r#"{"role":"member","role":"owner","room":"r1","participantName":"Ann"}"#,
    ] {
        let response = server.client().post_with("/proconfToken", &tokens::guest("r1"), twice);
        response.assert_error(400, "The body must be one JSON object with each member once.", twice);
    }
    let form = format!("Authorization: Bearer {}\r\nContent-Type: application/x-www-form-urlencoded\r\n", tokens::user());
    let response = server.client().post_as("/proconfToken", &form, b"role=member&room=r1&participantName=Ann");
    response.assert_error(400, "Content-Type must be application/json.", "a form");
    assert_eq!(server.calls(), 0);
}

#[test]
fn unknown_body_member_is_not_forwarded() {
    let server = TestServer::start();
    let sent = r#"{"role":"member","room":"r1","participantName":"Ann","isAdmin":true,"userId":"u2","exp":0}"#;
    server.client().post_with("/proconfToken", &tokens::user(), sent).data();
    let sent: Value = serde_json::from_slice(&server.script.requests()[0].body).unwrap();
    assert_eq!(sent.as_object().unwrap().len(), 3);
}

#[test]
fn broken_post_is_not_retried() {
    let broken = FakeUpstream::serving(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-");
    });
    let server = TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", &broken.base_url())]);
    let response = server.client().post_with("/proconfToken", &tokens::user(), &body("member", "r1"));
    response.assert_error(500, "Internal server error", "a token may have been issued");
    assert_eq!(broken.connections(), 1);
}

#[test]
fn name_that_reorders_text_is_400_and_other_marks_are_not() {
    let server = TestServer::start();
    let status = |name: String| {
        let sent = json!({"role": "member", "room": "r1", "participantName": name});
        server.client().post_with("/proconfToken", &tokens::guest("r1"), &sent.to_string()).status
    };
    for forbidden in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain(['\0', '\t', '\u{7f}', '\u{85}']) {
        assert_eq!(status(format!("Ann{forbidden}")), 400, "{:04x}", u32::from(forbidden));
    }
    // Right-to-left text has marks, and family emoji have joiners.
    for name in ["\u{2065}Ann", "\u{206a}Ann", "\u{2029}Ann", "\u{202f}Ann", "\u{200f}דנה", "👩\u{200d}👧"] {
        assert_eq!(status(name.to_owned()), 200, "{name:?}");
    }
}

#[test]
fn account_name_replaces_what_a_user_sends() {
    let server = TestServer::with_account(&[("APP_USERS__DISPLAY_NAME", "account")]);
    let token = server.log_in().data()["token"].as_str().unwrap().to_owned();
    let client = server.client();
    client.post_with("/proconfToken", &token, &body("member", "r1")).data();
    client.post_with("/proconfToken", &tokens::guest("r1"), &body("member", "r1")).data();
    let names: Vec<Value> = server
        .script
        .requests()
        .iter()
        .map(|call| serde_json::from_slice::<Value>(&call.body).unwrap()["participantName"].take())
        .collect();
    assert_eq!(names, ["A User", "Ann 🎥"], "guests choose their own");
    // The field is required and checked as ever.
    let sent = json!({"role": "member", "room": "r1"}).to_string();
    client.post_with("/proconfToken", &token, &sent).assert_error(400, "participantName is required.", "no name");
    let unknown = client.post_with("/proconfToken", &tokens::user(), &body("member", "r1"));
    unknown.assert_error(403, "Forbidden", "a token whose account is gone");
    // Names of before that rule, and those of identity providers, are cleaned.
    server.execute_sql("UPDATE users SET name = ' \u{202e}B\u{7}o\t '");
    client.post_with("/proconfToken", &token, &body("member", "r1")).data();
    let last: Value = serde_json::from_slice(&server.script.requests().last().unwrap().body).unwrap();
    assert_eq!(last["participantName"], "Bo");
    server.execute_sql("UPDATE users SET name = ' \u{202e} '");
    client.post_with("/proconfToken", &token, &body("member", "r1")).assert_error(403, "Forbidden", "no name is left");
}
