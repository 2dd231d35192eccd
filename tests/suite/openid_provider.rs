//! Tokens of a real `OpenID` provider: log in with it, rotate its keys under load, stop it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::TestServer;
use crate::support::client::request;
use crate::support::events::Events;
use crate::support::openid_provider::{AUDIENCE, OpenIdProvider};
use crate::support::tokens;

/// Longer than the pause between fetches of the keys for an unknown key id.
const COOLDOWN: Duration = Duration::from_secs(31);

const ROOM: &str = "testRoom";

/// A server that accepts the provider's tokens.
fn server_of(provider: &OpenIdProvider, settings: &[(&str, &str)]) -> TestServer {
    let issuer = provider.issuer();
    let oidc = [("APP_OIDC__ISSUER", issuer.as_str()), ("APP_OIDC__AUDIENCE", AUDIENCE)];
    TestServer::with(&[&oidc, settings].concat())
}

fn status(server: &TestServer, token: &str) -> u16 {
    server.client().get("/callConfig", Some(token)).status
}

/// Polls until the server answers a request with this token with `expected`. Allows for one pause between fetches.
#[track_caller]
fn wait_for_status(server: &TestServer, token: &str, expected: u16) {
    let started = Instant::now();
    loop {
        let found = status(server, token);
        if found == expected {
            return;
        }
        assert!(started.elapsed() < Duration::from_mins(1), "{found} in place of {expected}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A token of the provider whose key id no key has; it makes the server fetch the keys.
fn token_of_an_unknown_key(provider: &OpenIdProvider) -> String {
    let claims = json!({"iss": provider.issuer(), "aud": AUDIENCE, "sub": "ann", "exp": tokens::now() + 600});
    let signature = tokens::b64([7; 256]);
    let message = tokens::message(br#"{"alg":"RS256","typ":"at+jwt","kid":"unknown"}"#, claims.to_string().as_bytes());
    format!("{message}.{signature}")
}

fn role_request(role: &str) -> String {
    json!({"role": role, "room": ROOM, "participantName": "Ann Lee"}).to_string()
}

#[test]
fn user_of_the_provider_uses_every_route() {
    let provider = OpenIdProvider::start();
    let roles = [("APP_OIDC__ROLES_CLAIM", "realm_access.roles"), ("APP_OIDC__ROLES_MAP", "host=moderator")];
    let server = server_of(&provider, &roles);
    let client = server.client();
    let (ann, bob) = (provider.log_in("ann"), provider.log_in("bob"));
    wait_for_status(&server, &ann, 200);

    let first = client.get(&format!("/callCatchUp/{ROOM}"), Some(&ann));
    first.assert_success(&format!("{ROOM:?}"));
    let etag = first.header("etag").unwrap();
    let again = format!(
        "GET /callCatchUp/{ROOM} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {ann}\r\nIf-None-Match: {etag}\r\n\r\n"
    );
    assert_eq!(client.request(again.as_bytes()).status, 304);
    for target in [format!("/callStatus/{ROOM}"), "/meetings".to_owned()] {
        client.get(&target, Some(&ann)).data();
    }

    let event = Events::subscribe(server.address, ROOM, &ann).next().unwrap();
    assert_eq!(event.id.as_deref(), Some(etag));
    let ticket = client.post_with("/auth/streamticket", &ann, &json!({"room": ROOM}).to_string()).data();
    let target = format!("/callCatchUp/{ROOM}/live?ticket={}", ticket.as_str().unwrap());
    assert_eq!(Events::open(server.address, &target, "").next().unwrap(), event);

    for (user, role, status) in [
        (&ann, "moderator", 200),
        (&ann, "member", 200),
        (&ann, "owner", 403),
        (&bob, "member", 200),
        (&bob, "moderator", 403),
    ] {
        assert_eq!(client.post_with("/proconfToken", user, &role_request(role)).status, status, "{role}");
    }
}

#[test]
fn id_token_is_rejected() {
    let provider = OpenIdProvider::start();
    // Its audience is the app, so that the nonce alone gives it away.
    let server = server_of(&provider, &[("APP_OIDC__AUDIENCE", "https://proconf.example,app")]);
    wait_for_status(&server, &provider.log_in("ann"), 200);
    server.client().get("/callConfig", Some(&provider.id_token("ann"))).assert_unauthorized("an ID token");
}

#[test]
fn configured_algorithms_are_accepted() {
    let mut provider = OpenIdProvider::start();
    let all = server_of(&provider, &[("APP_OIDC__ALGORITHMS", "RS256,PS256,ES256,ES384,EdDSA")]);
    let default = server_of(&provider, &[]);
    for server in [&all, &default] {
        wait_for_status(server, &provider.log_in("ann"), 200);
    }
    for (algorithm, by_default) in [("ES256", 200), ("PS256", 401), ("ES384", 401), ("EdDSA", 401)] {
        provider.command(&format!("sign {algorithm}"));
        let token = provider.log_in("ann");
        assert_eq!((status(&all, &token), status(&default, &token)), (200, by_default), "{algorithm}");
    }
}

#[test]
fn rotated_keys_serve_under_load_and_removed_ones_are_rejected() {
    let mut provider = OpenIdProvider::start();
    let server = server_of(&provider, &[]);
    let old = provider.log_in("ann");
    wait_for_status(&server, &old, 200);
    let (is_retired, is_over) = (&AtomicBool::new(false), &AtomicBool::new(false));
    // Sends requests until the test is over, or `until`; returns how many were answered.
    let load = |token: String, until: &AtomicBool| {
        let (mut connection, mut accepted) = (server.client().connect(), 0);
        loop {
            let answer = connection.request(&request("GET", b"/callConfig", Some(&token)));
            if until.load(Ordering::SeqCst) || is_over.load(Ordering::SeqCst) {
                return accepted;
            }
            assert_eq!(answer.status, 200, "a token of a published key");
            accepted += 1;
        }
    };
    std::thread::scope(|scope| {
        // Ends the load if the test fails, so that the scope ends.
        let _over = SetOnDrop(is_over);
        let with_old = scope.spawn(|| load(old.clone(), is_retired));
        provider.command("rotate");
        let new = provider.log_in("ann");
        server.clock.advance(COOLDOWN);
        wait_for_status(&server, &new, 200);
        assert_eq!(status(&server, &provider.log_in("bob")), 200, "the new key is known");
        let with_new = scope.spawn(move || load(new, is_over));

        is_retired.store(true, Ordering::SeqCst);
        assert!(with_old.join().unwrap() > 0);
        provider.command("retire");
        server.clock.advance(COOLDOWN);
        assert_eq!(status(&server, &token_of_an_unknown_key(&provider)), 401);
        wait_for_status(&server, &old, 401);
        is_over.store(true, Ordering::SeqCst);
        assert!(with_new.join().unwrap() > 0);
    });
}

/// Sets a flag when it is dropped.
struct SetOnDrop<'flag>(&'flag AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn known_keys_serve_while_the_provider_is_down() {
    let mut provider = OpenIdProvider::start();
    let server = server_of(&provider, &[]);
    let (cached, new) = (provider.log_in("ann"), provider.log_in("bob"));
    wait_for_status(&server, &cached, 200);
    let unknown = token_of_an_unknown_key(&provider);
    provider.kill();
    server.clock.advance(COOLDOWN);
    for token in [&cached, &new] {
        assert_eq!(status(&server, &unknown), 401);
        assert_eq!(status(&server, token), 200, "an unknown key delays no known one");
    }
}

#[test]
fn server_starts_without_the_provider_and_recovers() {
    let mut provider = OpenIdProvider::stopped();
    let server = server_of(&provider, &[]);
    assert_eq!(status(&server, &token_of_an_unknown_key(&provider)), 401);
    assert_eq!(status(&server, &tokens::user()), 200, "the server's own tokens");
    provider.run();
    let token = provider.log_in("ann");
    server.clock.advance(COOLDOWN);
    wait_for_status(&server, &token, 200);
}

#[test]
fn server_starts_while_the_provider_hangs_and_recovers() {
    let provider = OpenIdProvider::start();
    let token = provider.log_in("ann");
    provider.signal("STOP");
    let server = server_of(&provider, &[]);
    assert_eq!(status(&server, &token), 401, "no key is known");
    assert_eq!(status(&server, &tokens::user()), 200, "the server's own tokens");
    provider.signal("CONT");
    server.clock.advance(COOLDOWN);
    wait_for_status(&server, &token, 200);
}
