//! The property: without a positive decision no route responds 200 or 304, for any mode, principal and room.
//!
//! The routes are those of `TABLE`. The OpenAPI document, which a unit test compares with it, tells where each takes a room.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proconf_app_server::routes::{Access, TABLE};
use proconf_app_server::sandbox::WEBHOOK_SECRET;
use serde_json::{Value, json};

use super::read_body;
use crate::support::fake_upstream::{FakeUpstream, http, read_head};
use crate::support::identity_provider::{IdentityProvider, SigningKey};
use crate::support::{TestServer, secrets, tokens, wait_until};

const DOCUMENT: &str = include_str!("../../../docs/openapi.json");
const ROOMS: [&str; 2] = ["r1", "r2"];
const OWN_ISSUER: &str = "proconf-app-server";
const INVITATIONS: &str = "/auth/invitations";

static NEXT_TICKET: AtomicUsize = AtomicUsize::new(1);

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
    ApiKey,
    UserTicket(&'static str),
    GuestTicket(&'static str),
}

/// A decision on a room; a failure is one of the webhook.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Decision {
    Allowed,
    Refused,
    Failed,
}

/// How the webhook decides: arbitrarily, and the same for the same arguments.
#[derive(Clone, Copy)]
enum Policy {
    /// Allows, refuses or fails.
    Mixed(u64),
    /// Allows everything, for a second.
    ShortTtl,
    /// Refuses or fails, after everything was allowed.
    Expired,
    /// Fails.
    Down,
}

impl Policy {
    fn decide(self, subject: &str, issuer: &str, room: Option<&str>, action: &str) -> Decision {
        let mut hasher = DefaultHasher::new();
        (subject, issuer == OWN_ISSUER, room, action).hash(&mut hasher);
        if let Self::Mixed(seed) = self {
            seed.hash(&mut hasher);
        }
        match (self, hasher.finish() % 4) {
            (Self::ShortTtl, _) | (Self::Mixed(_), 0 | 1) => Decision::Allowed,
            (Self::Mixed(_), 2) | (Self::Expired, 0 | 1) => Decision::Refused,
            _ => Decision::Failed,
        }
    }
}

/// A request to a route.
struct Case {
    method: &'static str,
    target: String,
    body: String,
    /// The action that the webhook gets; `None` for a route whose response depends on no room.
    action: Option<&'static str>,
    /// The room; `None` for all of them.
    room: Option<&'static str>,
    access: Access,
}

impl Credential {
    fn room_of_ticket(&self) -> Option<&'static str> {
        match self.kind {
            Kind::UserTicket(room) | Kind::GuestTicket(room) => Some(room),
            Kind::User | Kind::Guest(_) | Kind::ApiKey => None,
        }
    }

    /// Returns the decision of the contract on `action` in `room`; `None` is for all rooms.
    fn decide(&self, mode: &str, policy: Policy, room: Option<&str>, action: &str) -> Decision {
        let refuse_unless = |is_allowed| if is_allowed { Decision::Allowed } else { Decision::Refused };
        if self.room_of_ticket().is_some_and(|own| room != Some(own)) {
            return Decision::Refused;
        }
        match (self.kind, &self.identity) {
            (Kind::ApiKey, _) => refuse_unless(action == "invite"),
            (Kind::Guest(own) | Kind::GuestTicket(own), _) => refuse_unless(room == Some(own) && action != "invite"),
            (_, Some((subject, issuer))) => match mode {
                "all" => Decision::Allowed,
                "claim" => refuse_unless(room.is_some_and(|room| self.claim.contains(&room))),
                _ => policy.decide(subject, issuer, room, action),
            },
            (_, None) => Decision::Refused,
        }
    }

    /// Returns the decision on a request, and the status without a permission.
    fn expect(&self, mode: &str, policy: Policy, case: &Case) -> (Decision, u16) {
        if self.room_of_ticket().is_some() && case.access != Access::TokenOrTicket {
            return (Decision::Refused, 401);
        }
        let decision = match case.action {
            Some(action) => self.decide(mode, policy, case.room, action),
            None if self.kind == Kind::ApiKey => Decision::Refused,
            None => Decision::Allowed,
        };
        (decision, if decision == Decision::Failed { 500 } else { 403 })
    }
}

fn serve_decisions(mut stream: TcpStream, policy: &Mutex<Policy>) {
    while let Some(head) = read_head(&mut stream) {
        let call = read_body(&mut stream, &head);
        let text = |name: &str| call[name].as_str().unwrap();
        let policy = *policy.lock().unwrap();
        let decision = policy.decide(text("subject"), text("issuer"), call["room"].as_str(), text("action"));
        let ttl = if matches!(policy, Policy::ShortTtl) { 1 } else { 300 };
        let body = json!({"allow": decision == Decision::Allowed, "ttl": ttl}).to_string();
        // A webhook that is down closes the connection.
        if decision == Decision::Failed || stream.write_all(http("200 OK", &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn ticket(kind: &str, subject: &str, room: &str, specific: &Value) -> String {
    let mut claims = json!({
        "iss": OWN_ISSUER, "aud": OWN_ISSUER, "sub": subject, "kind": kind, "roomName": room, "iat": tokens::now(),
        "exp": tokens::now() + 600, "until": tokens::now() + 600, "jti": NEXT_TICKET.fetch_add(1, Ordering::SeqCst).to_string(),
    });
    claims.as_object_mut().unwrap().extend(specific.as_object().unwrap().clone());
    tokens::signed(tokens::HEADER, &claims.to_string())
}

/// Joins as a guest of `room`, by an invitation that the API key makes.
fn join_by_invitation(server: &TestServer, key: &str, room: &str) -> String {
    let made = server.client().post_with(INVITATIONS, key, &json!({"room": room}).to_string()).data();
    let invitation = made["invitation"].as_str().unwrap();
    let guest = server.client().get(&format!("/auth/joinmember?roomName={room}&invitation={invitation}"), None).data();
    guest.as_str().unwrap().to_owned()
}

fn credentials(fixture: &Fixture<'_>) -> Vec<Credential> {
    let Fixture { server, provider, key, api_key, .. } = fixture;
    let of_provider = |subject: &str, rooms: Value| {
        let mut claims = provider.claims();
        (claims["sub"], claims["rooms"]) = (subject.into(), rooms);
        key.sign(&claims)
    };
    let own = |subject| Some((subject, OWN_ISSUER.to_owned()));
    let foreign = |subject| Some((subject, provider.issuer.clone()));
    let new = |name, token, kind, identity, claim| Credential { name, token, kind, identity, claim };
    let invited = join_by_invitation(server, api_key, "r1");
    let mut all = vec![
        new("own user", tokens::user(), Kind::User, own("u1"), &[]),
        new("user with a claim", of_provider("ann", json!(["r1", "R2"])), Kind::User, foreign("ann"), &["r1"]),
        // The id of the own user.
        new("user with an empty claim", of_provider("u1", json!([])), Kind::User, foreign("u1"), &[]),
        new("user without a claim", of_provider("bob", Value::Null), Kind::User, foreign("bob"), &[]),
        new("user with a claim of another type", of_provider("eve", json!("r1")), Kind::User, foreign("eve"), &[]),
        new("guest of r1", tokens::guest("r1"), Kind::Guest("r1"), None, &[]),
        new("guest of another room", tokens::guest("r3"), Kind::Guest("r3"), None, &[]),
        new("invited guest of r1", invited, Kind::Guest("r1"), None, &[]),
        new("API key", api_key.clone(), Kind::ApiKey, None, &[]),
    ];
    for room in ROOMS {
        let identity = json!({"issuer": provider.issuer, "key": key.thumbprint(), "name": null, "roles": null});
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

/// Sends a request with the credential and these further header lines; returns the status and what arrived of the response.
fn send(server: &TestServer, case: &Case, credential: &Credential, headers: &str) -> (u16, String) {
    let Case { method, target, body, .. } = case;
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
    if case.access != Access::TokenOrTicket {
        let response = connection.request(head.as_bytes());
        return (response.status, response.text().to_owned());
    }
    connection.send(head.as_bytes());
    // A stream has no end: its status is enough.
    let text = connection.read_raw(|text| text.contains("\r\n\r\n"));
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

/// The action that a webhook is asked about for a route with a room.
fn action_of(method: &str, path: &str) -> &'static str {
    match path.trim_end_matches("/{roomName}") {
        "/callCatchUp" | "/callCatchUp/{roomName}/live" | "/auth/streamticket" => "catch-up",
        "/callStatus" => "status",
        "/callSummary" => "summary",
        "/proconfToken" => "join",
        INVITATIONS => "invite",
        _ => panic!("{method} {path} takes a room: for which action?"),
    }
}

/// The requests to all routes that need credentials, for a room.
fn cases(room: &'static str) -> Vec<Case> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut cases = Vec::new();
    for row in TABLE {
        for path in row.paths {
            let method = row.method.as_str();
            let operation = &document["paths"][path][method.to_lowercase()];
            let (text, mut body) =
                (operation.to_string(), operation["requestBody"]["content"]["application/json"]["example"].clone());
            let is_in_query = text.contains("/RoomInQuery");
            let takes_room = path.contains("{roomName}") || is_in_query || body.get("room").is_some();
            if row.access == Access::Public {
                assert!(!takes_room || *path == "/auth/joinmember", "{method} {path} is public and takes a room");
                continue;
            }
            let (action, room) = match (method, *path) {
                _ if takes_room => (Some(action_of(method, path)), Some(room)),
                ("GET", "/meetings") => (Some("meetings"), None),
                ("GET", "/callConfig") => (None, None),
                // By its maker only: see below.
                ("DELETE", "/auth/invitations/{id}") => continue,
                _ => panic!("{method} {path}: which decision does it need?"),
            };
            let mut target = path.replace("{roomName}", room.unwrap_or_default());
            if is_in_query {
                target = format!("{target}?roomName={}", room.unwrap());
            }
            if body.get("room").is_some() {
                body["room"] = room.into();
            }
            let body = if body.is_null() { String::new() } else { body.to_string() };
            cases.push(Case { method, target, body, action, room, access: row.access });
        }
    }
    // Streams are last: they redeem the tickets.
    cases.sort_by_key(|case| case.access == Access::TokenOrTicket);
    cases
}

fn revocation(id: &str) -> Case {
    let target = format!("{INVITATIONS}/{id}");
    Case { method: "DELETE", target, body: String::new(), action: None, room: None, access: Access::TokenOrApiKey }
}

/// Checks that a credential revokes what it made, and nothing else unless it is an API key.
fn check_revocations(fixture: &Fixture<'_>, made: Option<&str>, credential: &Credential, case: &str) {
    let server = &fixture.server;
    let of_key = server.client().post_with(INVITATIONS, &fixture.api_key, r#"{"room": "r1"}"#).data();
    let expected = match credential.kind {
        Kind::ApiKey => 200,
        Kind::User | Kind::Guest(_) => 403,
        Kind::UserTicket(_) | Kind::GuestTicket(_) => 401,
    };
    let (status, _) = send(server, &revocation(of_key["id"].as_str().unwrap()), credential, "");
    assert_eq!(status, expected, "{case}: the invitation of a backend");
    if let Some(id) = made {
        assert_eq!(send(server, &revocation(id), credential, "").0, 200, "{case}: its own invitation");
    }
}

/// Checks all requests of a credential for a room, and counts their decisions.
fn check_credential(
    fixture: &Fixture<'_>,
    credential: &Credential,
    (room, cases): (&str, &[Case]),
    counts: &mut BTreeMap<Decision, usize>,
) {
    let (server, mode, policy) = (&fixture.server, fixture.mode, *fixture.policy.lock().unwrap());
    let mut invitation = None;
    for case in cases {
        let (decision, rejection) = credential.expect(mode, policy, case);
        let mut headers = vec![String::new()];
        if case.method == "GET" && case.access != Access::TokenOrTicket {
            headers.push("If-None-Match: *\r\n".to_owned());
            // A guest of the room fills the cache, and gets the tag.
            let guest = tokens::guest(case.room.unwrap_or(room));
            let etag = server.client().get(&case.target, Some(&guest)).header("etag").map(str::to_owned);
            headers.extend(etag.map(|etag| format!("If-None-Match: {etag}\r\n")));
        }
        for headers in headers {
            let (status, text) = send(server, case, credential, &headers);
            let name = format!("{mode}: {} {} {} {headers}", credential.name, case.method, case.target);
            if decision == Decision::Allowed {
                assert!(matches!(status, 200 | 304), "{name}: {status}");
            } else {
                assert_eq!(status, rejection, "{name}");
            }
            if decision == Decision::Allowed && case.target == INVITATIONS {
                let response: Value = serde_json::from_str(&text).unwrap();
                invitation = Some(response["data"]["id"].as_str().unwrap().to_owned());
            }
            *counts.entry(decision).or_default() += 1;
        }
    }
    check_revocations(fixture, invitation.as_deref(), credential, &format!("{mode}: {} in {room}", credential.name));
}

/// A server in a mode, the policy of its webhook, and what its credentials are made with.
struct Fixture<'a> {
    server: TestServer,
    mode: &'static str,
    policy: Arc<Mutex<Policy>>,
    provider: &'a IdentityProvider,
    key: &'a SigningKey,
    api_key: String,
}

impl<'a> Fixture<'a> {
    fn start(mode: &'static str, policy: Policy, provider: &'a IdentityProvider, key: &'a SigningKey) -> Self {
        let policy = Arc::new(Mutex::new(policy));
        let current = Arc::clone(&policy);
        let webhook = FakeUpstream::serving(move |stream, _| serve_decisions(stream, &current));
        let url = format!("http://127.0.0.1:{}/", webhook.port);
        let server = provider.server(&[
            ("APP_ROOMS__ACCESS", mode),
            ("APP_ROOMS__WEBHOOK_URL", &url),
            ("APP_ROOMS__WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("APP_OIDC__ROOMS_CLAIM", "rooms"),
            ("APP_GUESTS__INVITATIONS", "required"),
            ("APP_CATCH_UP__FRESH_FOR", "60s"),
            ("APP_LIVE__MAX_PER_CALLER", "1000"),
        ]);
        wait_until("the keys are there", || {
            server.client().get("/callConfig", Some(&key.sign(&provider.claims()))).status == 200
        });
        for room in ROOMS {
            server.put_summary(&format!("{room}_1718871014/summary.txt"), "A summary.");
        }
        // Of the own user.
        server.add_session();
        let api_key = server.add_api_key("backend", None);
        Self { server, mode, policy, provider, key, api_key }
    }

    /// Checks all requests of all credentials; returns how many of them had each decision.
    fn check(&self) -> BTreeMap<Decision, usize> {
        let mut counts = BTreeMap::from([(Decision::Allowed, 0), (Decision::Refused, 0), (Decision::Failed, 0)]);
        let credentials = credentials(self);
        for room in ROOMS {
            let target = format!("/auth/joinmember?roomName={room}");
            self.server.client().get(&target, None).assert_error(403, "Forbidden", "no invitation");
            let cases = cases(room);
            for credential in &credentials {
                check_credential(self, credential, (room, &cases), &mut counts);
            }
        }
        counts
    }
}

#[test]
fn no_room_is_entered_without_a_positive_decision() {
    let key = SigningKey::p256("k1");
    let provider = IdentityProvider::start(&[&key]);
    std::thread::scope(|scope| {
        let webhook = [Policy::Mixed(1), Policy::Mixed(2), Policy::Down].map(|policy| ("webhook", policy));
        for (mode, policy) in [("all", Policy::Down), ("claim", Policy::Down)].into_iter().chain(webhook) {
            let (provider, key) = (&provider, &key);
            scope.spawn(move || {
                let counts = Fixture::start(mode, policy, provider, key).check();
                assert!(counts[&Decision::Allowed] > 50 && counts[&Decision::Refused] > 50, "{mode}: {counts:?}");
                assert_eq!(counts[&Decision::Failed] > 20, mode == "webhook", "{mode}: {counts:?}");
            });
        }
    });
}

#[test]
fn no_room_is_entered_after_the_permissions_have_expired() {
    let key = SigningKey::p256("k1");
    let provider = IdentityProvider::start(&[&key]);
    let fixture = Fixture::start("webhook", Policy::ShortTtl, &provider, &key);
    let before = fixture.check();
    // The last permission: when it has expired, all others have.
    let ask = || fixture.server.client().get("/callStatus/last", Some(&tokens::user())).status;
    assert_eq!(ask(), 200);
    *fixture.policy.lock().unwrap() = Policy::Expired;
    wait_until("it has expired", || ask() != 200);
    let after = fixture.check();
    assert_eq!(before[&Decision::Failed], 0, "{before:?}");
    assert!(after[&Decision::Allowed] * 2 < before[&Decision::Allowed], "only guests and the API key: {before:?} {after:?}");
    assert!(after[&Decision::Refused] > before[&Decision::Refused], "{before:?} {after:?}");
    assert!(after[&Decision::Failed] > 50, "{after:?}");
}
