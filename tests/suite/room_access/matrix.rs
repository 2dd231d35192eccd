//! The property: without a positive decision no route responds 200 or 304, for any mode, principal and room.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::net::TcpStream;

use proconf_app_server::sandbox::WEBHOOK_SECRET;
use serde_json::{Value, json};

use super::read_body;
use crate::support::TestServer;
use crate::support::client::request;
use crate::support::fake_upstream::{FakeUpstream, http, read_head};
use crate::support::identity_provider::{IdentityProvider, SigningKey};
use crate::support::{secrets, tokens};

const MODES: [&str; 3] = ["all", "claim", "webhook"];
const ROOMS: [&str; 2] = ["r1", "r2"];
const OWN_ISSUER: &str = "proconf-app-server";

/// A credential, and what it may enter beside what the webhook allows.
struct Credential {
    name: &'static str,
    /// A bearer token, or the query of a ticket.
    token: String,
    kind: Kind,
    /// The subject and the issuer that the webhook gets.
    identity: Option<(&'static str, String)>,
    /// The rooms of the claim.
    claim: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    User,
    Guest(&'static str),
    UserTicket(&'static str),
    GuestTicket(&'static str),
}

impl Credential {
    fn room_of_ticket(&self) -> Option<&'static str> {
        match self.kind {
            Kind::UserTicket(room) | Kind::GuestTicket(room) => Some(room),
            Kind::User | Kind::Guest(_) => None,
        }
    }

    /// Returns whether the contract permits `action` in `room`; `None` is for all rooms.
    fn is_permitted(&self, mode: &str, seed: u64, room: Option<&str>, action: &str) -> bool {
        if self.room_of_ticket().is_some_and(|own| room != Some(own)) {
            return false;
        }
        match (self.kind, &self.identity) {
            (Kind::Guest(own) | Kind::GuestTicket(own), _) => room == Some(own),
            (_, Some((subject, issuer))) => match mode {
                "all" => true,
                "claim" => room.is_some_and(|room| self.claim.contains(&room)),
                _ => decide(seed, subject, issuer, room, action),
            },
            (_, None) => false,
        }
    }
}

/// The decision of the webhook: arbitrary, and the same for the same arguments.
fn decide(seed: u64, subject: &str, issuer: &str, room: Option<&str>, action: &str) -> bool {
    let mut hasher = DefaultHasher::new();
    (seed, subject, issuer == OWN_ISSUER, room, action).hash(&mut hasher);
    hasher.finish().is_multiple_of(2)
}

fn serve_decisions(mut stream: TcpStream, seed: u64) {
    while let Some(head) = read_head(&mut stream) {
        let call = read_body(&mut stream, &head);
        let text = |name: &str| call[name].as_str().unwrap();
        let allow = decide(seed, text("subject"), text("issuer"), call["room"].as_str(), text("action"));
        if stream.write_all(http("200 OK", &json!({"allow": allow, "ttl": 300}).to_string()).as_bytes()).is_err() {
            return;
        }
    }
}

fn ticket(kind: &str, subject: &str, room: &str, specific: &Value) -> String {
    let mut claims = json!({
        "iss": OWN_ISSUER, "aud": OWN_ISSUER, "sub": subject, "kind": kind, "roomName": room, "iat": tokens::now(),
        "exp": tokens::now() + 600, "until": tokens::now() + 600, "jti": format!("{subject}-{kind}-{room}"),
    });
    claims.as_object_mut().unwrap().extend(specific.as_object().unwrap().clone());
    tokens::signed(tokens::HEADER, &claims.to_string())
}

fn credentials(provider: &IdentityProvider, key: &SigningKey) -> Vec<Credential> {
    let of_provider = |subject: &str, rooms: Value| {
        let mut claims = provider.claims();
        (claims["sub"], claims["rooms"]) = (subject.into(), rooms);
        key.sign(&claims)
    };
    let own = |subject| Some((subject, OWN_ISSUER.to_owned()));
    let foreign = |subject| Some((subject, provider.issuer.clone()));
    let new = |name, token, kind, identity, claim| Credential { name, token, kind, identity, claim };
    let mut all = vec![
        new("own user", tokens::user(), Kind::User, own("u1"), &[]),
        new("user with a claim", of_provider("ann", json!(["r1", "R2"])), Kind::User, foreign("ann"), &["r1"]),
        // The id of the own user.
        new("user with an empty claim", of_provider("u1", json!([])), Kind::User, foreign("u1"), &[]),
        new("user without a claim", of_provider("bob", Value::Null), Kind::User, foreign("bob"), &[]),
        new("user with a claim of another type", of_provider("eve", json!("r1")), Kind::User, foreign("eve"), &[]),
        new("guest of r1", tokens::guest("r1"), Kind::Guest("r1"), None, &[]),
        new("guest of another room", tokens::guest("r3"), Kind::Guest("r3"), None, &[]),
    ];
    for room in ROOMS {
        let identity = json!({"issuer": provider.issuer, "name": null, "roles": null});
        // A ticket is issued for a room that was permitted: it is the claim.
        let claim: &'static [&'static str] = if room == "r1" { &["r1"] } else { &["r2"] };
        let kind = Kind::UserTicket(room);
        all.push(new("user's ticket", ticket("user-ticket", "u1", room, &json!({"sid": "s1"})), kind, own("u1"), &[]));
        let token = ticket("identity-ticket", "ann", room, &identity);
        all.push(new("provider's user's ticket", token, kind, foreign("ann"), claim));
        let token = ticket("guest-ticket", "g1", room, &json!({}));
        all.push(new("guest's ticket", token, Kind::GuestTicket(room), None, &[]));
    }
    for credential in &all {
        secrets::register_token(&credential.token);
    }
    all
}

/// Sends a request with the credential and these further header lines.
fn status(server: &TestServer, method: &str, target: &str, credential: &Credential, headers: &str, body: &str) -> u16 {
    let (target, authorization) = match credential.room_of_ticket() {
        Some(_) => {
            (format!("{target}{}ticket={}", if target.contains('?') { '&' } else { '?' }, credential.token), String::new())
        }
        None => (target.to_owned(), format!("Authorization: Bearer {}\r\n", credential.token)),
    };
    let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{authorization}{headers}{json}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = server.client().connect();
    connection.send(head.as_bytes());
    // A stream has no end: its status is enough.
    let text = connection.read_raw(|text| text.contains("\r\n\r\n"));
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The routes of a room: method, target, body and action.
fn routes(room: &str) -> Vec<(&'static str, String, String, &'static str)> {
    let get = |target: String, action| ("GET", target, String::new(), action);
    let post = |target: &str, body: Value, action| ("POST", target.to_owned(), body.to_string(), action);
    vec![
        get(format!("/callCatchUp/{room}"), "catch-up"),
        get(format!("/callCatchUp?roomName={room}"), "catch-up"),
        get(format!("/callStatus/{room}"), "status"),
        get(format!("/callSummary/{room}"), "summary"),
        post("/auth/streamticket", json!({"room": room}), "catch-up"),
        post("/proconfToken", json!({"role": "member", "room": room, "participantName": "Ann"}), "join"),
    ]
}

fn check_server(server: &TestServer, mode: &str, seed: u64, credentials: &[Credential]) -> BTreeMap<bool, usize> {
    let mut counts = BTreeMap::new();
    for room in ROOMS {
        server.put_summary(&format!("{room}_1718871014/summary.txt"), "A summary.");
        for credential in credentials {
            let is_ticket = credential.room_of_ticket().is_some();
            let mut check = |method, target: &str, headers: &str, body: &str, room, action| {
                let expected =
                    credential.is_permitted(mode, seed, room, action) && (!is_ticket || target.ends_with("/live"));
                let status = status(server, method, target, credential, headers, body);
                let rejection = if is_ticket && !target.ends_with("/live") { 401 } else { 403 };
                let case = format!("{mode} {seed}: {} {method} {target} {headers}", credential.name);
                if expected {
                    assert!(matches!(status, 200 | 304), "{case}: {status}");
                } else {
                    assert_eq!(status, rejection, "{case}");
                }
                *counts.entry(expected).or_default() += 1;
            };
            for (method, target, body, action) in routes(room) {
                check(method, &target, "", &body, Some(room), action);
                if method == "GET" {
                    // A guest of the room fills the cache, and gets the tag.
                    let etag = server.client().get(&target, Some(&tokens::guest(room))).header("etag").unwrap().to_owned();
                    for tag in [&etag, "*"] {
                        check(method, &target, &format!("If-None-Match: {tag}\r\n"), "", Some(room), action);
                    }
                }
            }
            check("GET", "/meetings", "", "", None, "meetings");
            check("GET", "/meetings", "If-None-Match: *\r\n", "", None, "meetings");
            // Last: it redeems the ticket.
            check("GET", &format!("/callCatchUp/{room}/live"), "", "", Some(room), "catch-up");
        }
    }
    counts
}

#[test]
fn no_room_is_entered_without_a_positive_decision() {
    let key = SigningKey::p256("k1");
    let provider = IdentityProvider::start(&[&key]);
    std::thread::scope(|scope| {
        for (mode, seed) in MODES.into_iter().zip(0..).chain([("webhook", 3), ("webhook", 4)]) {
            let (provider, key) = (&provider, &key);
            scope.spawn(move || {
                let webhook = FakeUpstream::serving(move |stream, _| serve_decisions(stream, seed));
                let url = format!("http://127.0.0.1:{}/", webhook.port);
                let server = provider.server(&[
                    ("APP_ROOMS__ACCESS", mode),
                    ("APP_ROOMS__WEBHOOK_URL", &url),
                    ("APP_ROOMS__WEBHOOK_SECRET", WEBHOOK_SECRET),
                    ("APP_OIDC__ROOMS_CLAIM", "rooms"),
                    ("APP_CATCH_UP__FRESH_FOR", "60s"),
                    ("APP_LIVE__MAX_PER_CALLER", "1000"),
                ]);
                crate::support::wait_until("the keys are there", || {
                    let token = key.sign(&provider.claims());
                    server.client().request(&request("GET", b"/callConfig", Some(&token))).status == 200
                });
                let counts = check_server(&server, mode, seed, &credentials(provider, key));
                assert!(counts[&true] > 30 && counts[&false] > 30, "{mode}: {counts:?}");
            });
        }
    });
}
