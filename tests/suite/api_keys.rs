//! API keys of the team's own backend: each opens the routes of its scope, until it expires or is revoked.

use std::time::Duration;

use proconf_app_server::routes::{Access, TABLE};
use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::client::request;

const INVITATIONS: &str = "/auth/invitations";
const DAY: Duration = Duration::from_hours(24);

fn invite(server: &TestServer, key: &str) -> crate::support::response::Response {
    server.client().post_with(INVITATIONS, key, r#"{"room": "r1"}"#)
}

/// Revokes the keys with this name, as `api-key revoke` does.
fn revoke(server: &TestServer, name: &str) {
    server.manage(async |database, clock| {
        let revoked = database.revoke_api_keys(name.to_owned(), String::new(), clock.unix_milliseconds()).await?;
        assert!(revoked > 0);
        Ok(())
    });
}

#[test]
fn unknown_expired_or_revoked_key_is_401_on_every_route() {
    let server = TestServer::start();
    let unknown = format!("pas_{}", "A".repeat(43));
    let (expired, revoked) = (server.add_api_key("short", Some(DAY)), server.add_api_key("bad", None));
    invite(&server, &expired).data();
    invite(&server, &revoked).data();
    revoke(&server, "bad");
    server.clock.advance(DAY);
    for key in [&unknown, &expired, &revoked, "pas_", "pas_%00", &format!("{unknown}.{unknown}")] {
        for row in TABLE.iter().filter(|row| row.access != Access::Public) {
            let target = row.paths[0].replace("{roomName}", "r1").replace("{id}", "i1");
            let answer = server.client().request(&request(row.method.as_str(), target.as_bytes(), Some(key)));
            answer.assert_unauthorized(&format!("{key} on {target}"));
            assert_eq!(answer.challenge(), Some(r#"Bearer error="invalid_token""#));
        }
    }
    assert_eq!((server.calls(), server.rows("invitations")), (0, 2));
}

#[test]
fn key_is_403_outside_its_scope_once_the_input_is_valid() {
    let server = TestServer::start();
    let key = server.add_api_key("backend", None);
    let ask = |method: &str, target: &str| server.client().request(&request(method, target.as_bytes(), Some(&key)));
    let mut asked = 0;
    for row in TABLE.iter().filter(|row| !matches!(row.access, Access::Public | Access::TokenOrApiKey)) {
        for path in row.paths {
            let has_input = !["/callConfig", "/meetings"].contains(path);
            for (room, is_valid) in [("r1", true), ("%2a", false)] {
                let target = if path.contains("{roomName}") {
                    path.replace("{roomName}", room)
                } else {
                    format!("{path}?roomName={room}")
                };
                let body = json!({"room": room.replace("%2a", "*"), "role": "member", "participantName": "Ann"}).to_string();
                let answer = match row.method.as_str() {
                    "POST" => server.client().post_with(&target, &key, &body),
                    method => ask(method, &target),
                };
                if has_input && !is_valid {
                    answer.assert_error(400, "Room name is not valid.", &target);
                } else {
                    answer.assert_error(403, "Forbidden", &target);
                }
                asked += 1;
            }
        }
    }
    assert!(asked >= 16, "{asked}");
    ask("GET", &format!("/callCatchUp/r1/live?ticket={key}")).assert_unauthorized("a key and a ticket");
    server.client().get(&format!("/callCatchUp/r1/live?ticket={key}"), None).assert_unauthorized("a key as a ticket");
    server
        .client()
        .get(&format!("/auth/joinmember?roomName=r1&invitation={key}"), None)
        .assert_unauthorized("an invitation");
    server.client().post("/auth/refresh", &json!({"refreshToken": key}).to_string()).assert_unauthorized("a refresh token");
    let made = invite(&server, &key).data();
    server.execute_sql("UPDATE api_keys SET scope = 'another'");
    server.client().post_with(INVITATIONS, &key, "{}").assert_error(400, "Room name required in query param.", "no room");
    invite(&server, &key).assert_error(403, "Forbidden", "another scope");
    let target = format!("{INVITATIONS}/{}", made["id"].as_str().unwrap());
    ask("DELETE", &target).assert_error(403, "Forbidden", "another scope");
    assert_eq!((server.calls(), server.rows("invitations")), (0, 1));
}

#[test]
fn key_invites_to_any_room_and_revokes_any_invitation() {
    let server = TestServer::with_session(&[]);
    let (key, other) = (server.add_api_key("backend", Some(DAY)), server.add_api_key("other", None));
    let by_user = server.client().post_with(INVITATIONS, &crate::support::tokens::user(), r#"{"room": "r1"}"#).data();
    for invitation in [invite(&server, &key).data(), by_user] {
        let join = format!("/auth/joinmember?roomName=r1&invitation={}", invitation["invitation"].as_str().unwrap());
        server.client().get(&join, None).data();
        let target = format!("{INVITATIONS}/{}", invitation["id"].as_str().unwrap());
        server.client().request(&request("DELETE", target.as_bytes(), Some(&other))).assert_success("null");
        server.client().get(&join, None).assert_unauthorized("revoked");
    }
    assert_eq!(server.rows("invitations"), 0);
}

#[test]
fn keys_of_one_name_work_and_are_revoked_at_once_everywhere() {
    let server = TestServer::start();
    let replica = server.replica(&[]);
    let (old, new) = (server.add_api_key("backend", None), server.add_api_key("backend", None));
    assert_ne!(old, new);
    for (server, key) in [(&server, &old), (&replica, &old), (&server, &new), (&replica, &new)] {
        invite(server, key).data();
    }
    revoke(&server, "backend");
    for (server, key) in [(&server, &old), (&replica, &old), (&server, &new), (&replica, &new)] {
        invite(server, key).assert_unauthorized("revoked");
    }
}

#[test]
fn key_is_stored_as_its_hash_with_the_day_of_its_last_use() {
    let server = TestServer::start();
    let key = server.add_api_key("backend", None);
    assert!(key.len() == 47 && key.starts_with("pas_"), "32 random bytes");
    let stored = || {
        let mut stored = Vec::new();
        server.manage(async |database, _| {
            stored = database.api_keys().await?;
            Ok(())
        });
        stored.pop().unwrap()
    };
    let record = stored();
    assert_eq!((record.hash.len(), record.last_used_at), (64, None));
    assert!(!record.hash.contains(&key) && !key.contains(&record.hash));
    let day = i64::try_from(DAY.as_millis()).unwrap();
    invite(&server, &key).data();
    let first = stored().last_used_at.unwrap();
    assert_eq!(first % day, 0, "the time of day is not recorded");
    server.clock.advance(DAY);
    // Also where it opens nothing.
    server.client().get("/callConfig", Some(&key)).assert_error(403, "Forbidden", "another scope");
    let second = stored().last_used_at.unwrap();
    assert!(second > first && second % day == 0, "{first} {second}");
}

#[test]
fn malformed_key_is_401_without_a_database_lookup() {
    let server = TestServer::start();
    server.execute_sql("ALTER TABLE api_keys RENAME TO elsewhere");
    let (short, long, padded) = ("A".repeat(42), "A".repeat(44), format!("{}=", "A".repeat(43)));
    // Not in the alphabet; and the other spelling of a last character.
    let (other, noncanonical) = (format!("{}+", "A".repeat(42)), format!("{}B", "A".repeat(42)));
    for secret in ["", &short, &long, &padded, &other, &noncanonical, &"A".repeat(8000)] {
        invite(&server, &format!("pas_{secret}")).assert_unauthorized(secret);
    }
    invite(&server, &format!("pas_{}", "A".repeat(43))).assert_error(500, "Internal server error", "looked up");
}

#[test]
fn unreachable_database_is_500_for_keys() {
    let server = TestServer::start();
    let key = server.add_api_key("backend", None);
    server.execute_sql("ALTER TABLE api_keys RENAME TO elsewhere");
    invite(&server, &key).assert_error(500, "Internal server error", "not verified");
    let ask: Value = server.client().get("/callConfig", Some(&crate::support::tokens::user())).data();
    assert!(ask.is_object(), "tokens need no database");
}
