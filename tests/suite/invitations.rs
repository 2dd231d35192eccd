//! Invitations for guests: which principals make and revoke them, and what they admit to.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proconf_app_server::accounts::admin;
use proconf_app_server::db::Credential;
use proconf_app_server::sandbox::Script;
use serde_json::{Value, json};

use crate::support::client::{Client, request};
use crate::support::process::ServerProcess;
use crate::support::response::Response;
use crate::support::{EMAIL, PASSWORD, SECRET, SandboxServer, TestServer, tokens};

const INVITATIONS: &str = "/auth/invitations";
/// An id of no invitation.
const UNKNOWN_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

fn invite(client: Client, token: &str, body: &Value) -> Value {
    client.post_with(INVITATIONS, token, &body.to_string()).data()
}

/// Makes an invitation to `r1` as a user, with these further members; returns its id and itself.
fn invitation(client: Client, more: &Value) -> (String, String) {
    let mut body = json!({"room": "r1"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = invite(client, &tokens::user(), &body);
    (made["id"].as_str().unwrap().to_owned(), made["invitation"].as_str().unwrap().to_owned())
}

fn join(client: Client, room: &str, invitation: &str) -> Response {
    client.get(&format!("/auth/joinmember?roomName={room}&invitation={invitation}"), None)
}

fn revoke(client: Client, token: &str, id: &str) -> Response {
    client.request(&request("DELETE", format!("{INVITATIONS}/{id}").as_bytes(), Some(token)))
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn invalid_body_is_400_and_names_the_field() {
    let server = TestServer::with_session(&[]);
    let (expires, uses) =
        ("expiresIn must be a whole number from 1 to 2592000.", "uses must be a whole number from 1 to 1000000.");
    for (body, sentence) in [
        (json!({}), "Room name required in query param."),
        (json!({"room": " "}), "Room name required in query param."),
        (json!({"room": ["r1"]}), "room must be a string."),
        (json!({"room": "*"}), "Room name is not valid."),
        (json!({"room": "r1", "expiresIn": 0}), expires),
        (json!({"room": "r1", "expiresIn": -1}), expires),
        (json!({"room": "r1", "expiresIn": 2_592_001}), expires),
        (json!({"room": "r1", "expiresIn": u64::MAX}), expires),
        (json!({"room": "r1", "expiresIn": 4_294_967_297_u64}), expires),
        (json!({"room": "r1", "expiresIn": 1.5}), expires),
        (json!({"room": "r1", "expiresIn": "60"}), expires),
        (json!({"room": "r1", "expiresIn": true}), expires),
        (json!({"room": "r1", "uses": 0}), uses),
        (json!({"room": "r1", "uses": 1_000_001}), uses),
        (json!({"room": "r1", "uses": [1]}), uses),
        (json!([]), "The body must be one JSON object with each member once."),
    ] {
        for token in [tokens::user(), tokens::guest("r1")] {
            let answer = server.client().post_with(INVITATIONS, &token, &body.to_string());
            answer.assert_error(400, sentence, &body.to_string());
        }
    }
    let twice = r#"{"room": "r1", "uses": 1, "uses": 2}"#;
    let answer = server.client().post_with(INVITATIONS, &tokens::user(), twice);
    answer.assert_error(400, "The body must be one JSON object with each member once.", twice);
    assert_eq!(server.rows("invitations"), 0);
}

#[test]
fn guest_or_anonymous_client_cannot_invite_or_revoke() {
    let server = TestServer::with_session(&[]);
    let (client, guest) = (server.client(), tokens::guest("r1"));
    let (id, made) = invitation(client, &json!({}));
    client.post(INVITATIONS, r#"{"room": "r1"}"#).assert_unauthorized("no token");
    client.post_with(INVITATIONS, &made, r#"{"room": "r1"}"#).assert_unauthorized("an invitation as a token");
    client.post_with(INVITATIONS, &guest, r#"{"room": "r1"}"#).assert_error(403, "Forbidden", "a guest");
    client.request(&request("DELETE", format!("{INVITATIONS}/{id}").as_bytes(), None)).assert_unauthorized("no token");
    revoke(client, &guest, &id).assert_error(403, "Forbidden", "a guest");
    revoke(client, &guest, UNKNOWN_ID).assert_error(403, "Forbidden", "a guest, and no such invitation");
    join(client, "r1", &made).data();
    assert_eq!(server.rows("invitations"), 1);
}

#[test]
fn invalid_invitations_get_one_and_the_same_401() {
    let server = TestServer::with_session(&[]);
    let client = server.client();
    let (_, expired) = invitation(client, &json!({"expiresIn": 1}));
    server.clock.advance(Duration::from_secs(2));
    let (revoked_id, revoked) = invitation(client, &json!({}));
    revoke(client, &tokens::user(), &revoked_id).assert_success("null");
    let (_, used_up) = invitation(client, &json!({"uses": 1}));
    join(client, "r1", &used_up).data();
    let (_, valid) = invitation(client, &json!({}));
    let mut other_claims = claims(&valid);
    other_claims["exp"] = json!(tokens::now() + 900_000);
    let forged = tokens::signed_with(
        aws_lc_rs::hmac::HMAC_SHA256,
        b"another secret of 32 bytes or more",
        tokens::HEADER.as_bytes(),
        other_claims.to_string().as_bytes(),
    );
    other_claims["sub"] = json!("unknown");
    let unknown = tokens::signed(tokens::HEADER, &other_claims.to_string());
    let cut = &valid[..valid.len() - 1];
    let first = join(client, "r1", &expired);
    first.assert_unauthorized("expired");
    assert_eq!(first.challenge(), Some(r#"Bearer error="invalid_token""#));
    let cases = [&revoked, &used_up, &forged, &unknown, cut, &format!("{valid}A"), &format!("{valid}%ff"), "%", "x", "."];
    for case in cases {
        let answer = join(client, "r1", case);
        answer.assert_unauthorized(case);
        assert_eq!((&answer.body, answer.challenge()), (&first.body, first.challenge()), "{case}");
    }
    join(client, "r1", &valid).data();
    join(client, "r1", &valid.replace('.', "%2E")).data();
}

#[test]
fn token_of_another_kind_is_no_invitation_and_the_reverse() {
    let server = TestServer::with_session(&[]);
    let client = server.client();
    let (_, made) = invitation(client, &json!({}));
    let ticket = client.post_with("/auth/streamticket", &tokens::user(), r#"{"room": "r1"}"#).data();
    for other in [tokens::user(), tokens::guest("r1"), ticket.as_str().unwrap().to_owned()] {
        join(client, "r1", &other).assert_unauthorized("another kind");
    }
    for kind in [json!("guest"), json!("guest-ticket"), json!("Invitation"), Value::Null] {
        let mut claims = claims(&made);
        claims["kind"] = kind;
        join(client, "r1", &tokens::signed(tokens::HEADER, &claims.to_string())).assert_unauthorized("with its id");
    }
    for target in ["/callCatchUp/r1", "/callConfig", "/meetings", "/callCatchUp/r1/live"] {
        client.get(target, Some(&made)).assert_unauthorized(target);
    }
    client.get(&format!("/callCatchUp/r1/live?ticket={made}"), None).assert_unauthorized("as a ticket");
    assert_eq!(server.calls(), 0);
}

#[test]
fn invitation_to_another_room_is_403_and_counts_no_use() {
    let server = TestServer::with_session(&[]);
    let client = server.client();
    let (_, made) = invitation(client, &json!({"uses": 1}));
    join(client, "r2", &made).assert_error(403, "Forbidden", "another room");
    join(client, "R1", &made).assert_error(403, "Forbidden", "compared byte for byte");
    join(client, "", &made).assert_error(400, "Room name required in query param.", "no room");
    join(client, "r1", &format!("{made}&invitation={made}")).assert_error(400, "invitation must be given once.", "two");
    let folding = server.replica(&[("APP_ROOMS__NAMES", "jitsi")]);
    assert_eq!(claims(join(folding.client(), "R1", &made).data().as_str().unwrap())["roomName"], "R1");
    join(client, "r1", &made).assert_unauthorized("used up by now");
}

#[test]
fn required_invitation_keeps_guests_without_one_out() {
    let server = TestServer::with_session(&[]);
    let required = server.replica(&[("APP_GUESTS__INVITATIONS", "required")]);
    let client = required.client();
    for (target, of) in [("", "none"), ("&invitation", "no value"), ("&invitation=", "empty")] {
        let target = format!("/auth/joinmember?roomName=r1{target}");
        client.get(&target, None).assert_error(403, "Forbidden", of);
        client.get(&target, Some(&tokens::user())).assert_error(403, "Forbidden", "a token is not looked at");
        server.client().get(&target, None).data();
    }
    client.get("/auth/joinmember", None).assert_error(400, "Room name required in query param.", "input comes first");
    join(client, "r1", "x").assert_unauthorized("not valid");
    let (_, made) = invitation(client, &json!({}));
    let guest = join(client, "r1", &made).data();
    client.get("/callCatchUp/r1", guest.as_str()).assert_success(r#""r1""#);
    client.get("/callCatchUp/r2", guest.as_str()).assert_error(403, "Forbidden", "another room");
    // Where an invitation is optional, an invalid one is still rejected.
    join(server.client(), "r1", "x").assert_unauthorized("not valid");
}

#[test]
fn disabled_guests_cannot_be_invited() {
    let server = TestServer::with_session(&[]);
    let (id, made) = invitation(server.client(), &json!({"uses": 1}));
    let disabled = server.replica(&[("APP_GUESTS__ENABLED", "false")]);
    let answer = disabled.client().post_with(INVITATIONS, &tokens::user(), r#"{"room": "r1"}"#);
    answer.assert_error(403, "Forbidden", "guests are disabled");
    join(disabled.client(), "r1", &made).assert_error(403, "Forbidden", "guests are disabled");
    join(disabled.client(), "r1", "x").assert_error(403, "Forbidden", "guests are disabled");
    join(server.client(), "r1", &made).data();
    revoke(disabled.client(), &tokens::user(), &id).assert_success("null");
    assert_eq!(server.rows("invitations"), 0);
}

#[test]
fn fifty_guests_at_once_take_exactly_the_uses_over_two_replicas() {
    let server = TestServer::with_session(&[]);
    let replica = server.replica(&[]);
    for uses in [1, 7] {
        let (_, made) = invitation(server.client(), &json!({"uses": uses}));
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let joining: Vec<_> = (0..50)
                .map(|number| {
                    let (client, made) = (if number % 2 == 0 { &server } else { &replica }.client(), &made);
                    scope.spawn(move || join(client, "r1", made).status)
                })
                .collect();
            joining.into_iter().map(|joining| joining.join().unwrap()).collect()
        });
        let count = |status: u16| statuses.iter().filter(|other| **other == status).count();
        assert_eq!((count(200), count(401)), (uses, 50 - uses), "{statuses:?}");
    }
    assert_eq!(server.rows("invitations WHERE uses_left = 0"), 2);
}

#[test]
fn unlimited_invitation_admits_any_number_of_guests() {
    let server = TestServer::with_session(&[]);
    let (_, made) = invitation(server.client(), &json!({"uses": null, "expiresIn": null}));
    let guests: std::collections::HashSet<String> = (0..20)
        .map(|_| claims(join(server.client(), "r1", &made).data().as_str().unwrap())["sub"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((guests.len(), server.rows("invitations WHERE uses_left IS NULL")), (20, 1));
}

#[test]
fn guest_token_never_outlives_its_invitation() {
    let server = TestServer::with_session(&[("APP_GUESTS__TOKEN_TTL", "1h")]);
    for (lifetime, is_shorter) in [(60, true), (86_400, false)] {
        let made = invite(server.client(), &tokens::user(), &json!({"room": "r1", "expiresIn": lifetime}));
        let end = humantime::parse_rfc3339(made["expiresAt"].as_str().unwrap()).unwrap();
        let end = i64::try_from(end.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let guest = join(server.client(), "r1", made["invitation"].as_str().unwrap()).data();
        let guest = claims(guest.as_str().unwrap());
        let (issued, expires) = (guest["iat"].as_i64().unwrap(), guest["exp"].as_i64().unwrap());
        assert_eq!(expires, if is_shorter { end } else { issued + 3600 }, "{guest} {made}");
    }
}

#[test]
fn only_the_maker_revokes_an_invitation_on_all_replicas() {
    let server = TestServer::with_session(&[]);
    let replica = server.replica(&[]);
    let (user, client) = (tokens::user(), server.client());
    let (id, made) = invitation(client, &json!({}));
    revoke(client, &tokens::user_with_id("u2"), &id).assert_error(403, "Forbidden", "another user");
    join(replica.client(), "r1", &made).data();
    let guest = join(client, "r1", &made).data();
    revoke(replica.client(), &user, &id).assert_success("null");
    for server in [&server, &replica] {
        join(server.client(), "r1", &made).assert_unauthorized("revoked");
    }
    client.get("/callCatchUp/r1", guest.as_str()).assert_success(r#""r1""#);
    // A client that lost the response repeats the request.
    for id in [id.as_str(), UNKNOWN_ID] {
        revoke(client, &user, id).assert_success("null");
    }
    for id in ["unknown", "%ff", "%00", "a%2fb", "AAAAAAAAAAAAAAAAAAAAAB", &"A".repeat(1000), made.as_str()] {
        revoke(client, &user, id).assert_error(400, "The id of the invitation is not valid.", id);
    }
    revoke(client, &user, "").assert_error(404, "Not found", "no id");
}

#[test]
fn url_is_the_consoles_page_and_never_of_the_host_header() {
    let server = TestServer::with_session(&[]);
    let public = server.replica(&[("APP_SERVER__PUBLIC_URL", "https://app.example.com")]);
    let body = json!({"room": "a room & #1"}).to_string();
    for (server, origin) in [(&server, ""), (&public, "https://app.example.com")] {
        let head = format!(
            "POST {INVITATIONS} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nContent-Type: \
             application/json\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            tokens::user(),
            body.len()
        );
        let made = server.client().request(head.as_bytes()).data();
        let invitation = made["invitation"].as_str().unwrap();
        assert_eq!(made["url"], format!("{origin}/?room=a%20room%20%26%20%231#invitation={invitation}"));
        let members: Vec<_> = made.as_object().unwrap().keys().collect();
        assert_eq!(members, ["expiresAt", "id", "invitation", "url"]);
        join(server.client(), "a%20room%20%26%20%231", invitation).data();
    }
}

#[test]
fn invitation_survives_a_change_of_the_secret() {
    let server = TestServer::with_session(&[]);
    let (_, made) = invitation(server.client(), &json!({}));
    let (new, old) = ("a new secret: q8Zr0k9mEYHl0oAPyQm3nJ8zKq1e", SECRET);
    let after = server.replica(&[("APP_AUTH__JWT_SECRET", new), ("APP_AUTH__PREVIOUS_JWT_SECRETS", old)]);
    join(after.client(), "r1", &made).data();
    let later = server.replica(&[("APP_AUTH__JWT_SECRET", new)]);
    join(later.client(), "r1", &made).assert_unauthorized("the old secret is not accepted any more");
}

#[test]
fn invitations_of_a_disabled_or_deleted_account_are_revoked() {
    for deletes in [false, true] {
        let server = TestServer::with_session(&[]);
        server.add_user(EMAIL, PASSWORD);
        let token = server.log_in().data()["token"].as_str().unwrap().to_owned();
        let made = invite(server.client(), &token, &json!({"room": "r1"}));
        let (_, other) = invitation(server.client(), &json!({}));
        server.manage(async |database, clock| {
            if deletes {
                admin::delete(&database, EMAIL, &clock).await.map(drop)
            } else {
                admin::set_password(&database, EMAIL, "another horse canary 🐎", 1, &clock).await
            }
        });
        join(server.client(), "r1", made["invitation"].as_str().unwrap()).assert_unauthorized("its maker is gone");
        join(server.client(), "r1", &other).data();
    }
    let server = TestServer::with_account(&[]);
    let token = server.log_in().data()["token"].as_str().unwrap().to_owned();
    let made = invite(server.client(), &token, &json!({"room": "r1"}));
    server.manage(async |database, clock| admin::disable(&database, EMAIL, &clock).await);
    join(server.client(), "r1", made["invitation"].as_str().unwrap()).assert_unauthorized("its maker is disabled");
}

#[test]
fn session_revoked_by_another_process_makes_no_invitation() {
    for disables in [false, true] {
        let server = TestServer::with_account(&[]);
        let replica = server.replica(&[]);
        let session = server.log_in().data();
        // This server learns of it up to two seconds later.
        if disables {
            server.manage(async |database, clock| admin::disable(&database, EMAIL, &clock).await);
        } else {
            let body = json!({"refreshToken": session["refreshToken"]}).to_string();
            replica.client().post("/auth/logout", &body).assert_success("null");
        }
        let answer = server.client().post_with(INVITATIONS, session["token"].as_str().unwrap(), r#"{"room": "r1"}"#);
        answer.assert_unauthorized("revoked");
        assert_eq!(answer.challenge(), Some(r#"Bearer error="invalid_token""#));
        assert_eq!(server.rows("invitations"), 0);
    }
}

#[test]
fn revocation_since_the_verification_prevents_an_invitation() {
    let server = TestServer::with_session(&[]);
    server.add_api_key("backend", None);
    // Beyond the reach of housekeeping, which begins with the server.
    let expires_at = 9_000_000_000_000_000;
    let insert = |expected: bool| {
        server.manage(async |database, _| {
            let hash = database.api_keys().await?.pop().unwrap().hash;
            for (number, credential) in [Credential::Session("s1".into()), Credential::ApiKey(hash)].into_iter().enumerate()
            {
                let id = format!("{expected} {number}");
                let is_added = database.insert_invitation(id, String::new(), None, expires_at, Some(credential)).await?;
                assert_eq!(is_added, expected, "{number}");
            }
            let unknown = Some(Credential::Session("unknown".into()));
            assert!(!database.insert_invitation("unknown".into(), String::new(), None, expires_at, unknown).await?);
            Ok(())
        });
    };
    insert(true);
    server.execute_sql("UPDATE sessions SET revoked_at = 1; UPDATE api_keys SET revoked_at = created_at");
    insert(false);
    assert_eq!(server.rows("invitations"), 2);
}

#[test]
fn acknowledged_invitations_revocations_and_uses_survive_a_kill() {
    let sandbox = SandboxServer::start(Script::echo());
    let database = Arc::clone(&TestServer::with_session(&[]).database);
    let start = || ServerProcess::on(Arc::clone(&database), &sandbox.base_url, &[]);
    let server = start();
    let (_, kept) = invitation(server.client(), &json!({"uses": 2}));
    let (revoked_id, revoked) = invitation(server.client(), &json!({}));
    join(server.client(), "r1", &kept).data();
    revoke(server.client(), &tokens::user(), &revoked_id).assert_success("null");
    // Killed, not stopped.
    drop(server);
    let server = start();
    join(server.client(), "r1", &revoked).assert_unauthorized("revoked before");
    join(server.client(), "r1", &kept).data();
    join(server.client(), "r1", &kept).assert_unauthorized("used up");
}

#[test]
fn log_names_the_maker_and_the_invitation_but_never_the_secrets() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = TestServer::with_session(&[]);
    let key = server.add_api_key("the backend", None);
    let process = ServerProcess::on(Arc::clone(&server.database), &sandbox.base_url, &[]);
    let by_key = invite(process.client(), &key, &json!({"room": "r1"}));
    let (id, made) = invitation(process.client(), &json!({"uses": 1}));
    join(process.client(), "r1", &made).data();
    join(process.client(), "r1", &made).assert_unauthorized("used up");
    revoke(process.client(), &key, &made).assert_error(400, "The id of the invitation is not valid.", "no id");
    process.line(0, |line| line["path"] == "/auth/invitations/[redacted]");
    revoke(process.client(), &key, &id).assert_success("null");
    process.client().get("/callConfig", Some(&key)).assert_error(403, "Forbidden", "another scope");
    let event =
        |event: &str, invitation: &str| process.line(0, |line| line["event"] == event && line["invitation"] == invitation);
    assert_eq!(event("invitation-created", by_key["id"].as_str().unwrap())["api_key"], "the backend");
    assert_eq!(event("invitation-created", &id)["user"], "u1");
    let line = event("invitation-revoked", &id);
    assert_eq!((&line["api_key"], &line["message"]), (&"the backend".into(), &"invitation revoked".into()));
    assert!(line["client"].is_string() && line["request_id"].is_string(), "{line}");
    let line = process.line(0, |line| line["reason"] == "invitation not valid");
    assert_eq!(line["event"], "token-rejected");
    process.line(0, |line| line["event"] == "access-denied" && line["api_key"] == "the backend");
    let text = process.lines(0, |_| true).iter().map(Value::to_string).collect::<String>();
    for secret in [key.as_str(), &made, by_key["invitation"].as_str().unwrap(), PASSWORD] {
        assert!(!text.contains(secret.rsplit('.').next().unwrap()), "a secret is in the log");
    }
}
