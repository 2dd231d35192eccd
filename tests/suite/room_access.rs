//! Access to rooms: the modes `all`, `claim` and `webhook`, and the decisions of a webhook.

mod matrix;

use std::io::{Read, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proconf_app_server::sandbox::{Reply, Script, WEBHOOK_SECRET};
use serde_json::{Value, json};

use crate::support::check_config::check_config;
use crate::support::client::{Client, request};
use crate::support::events::Events;
use crate::support::fake_upstream::{FakeUpstream, drip, http, read_head};
use crate::support::response::Response;
use crate::support::tls::{Authority, Certificate, TlsStream, TlsUpstream, end, expired};
use crate::support::{SandboxServer, TestServer, tokens, wait_until};

/// The first argument of a call in the record of a webhook.
const ENDPOINT: &str = "room-access";

/// A server in the mode `webhook`, and the sandbox whose webhook it asks.
struct Fixture {
    server: TestServer,
    webhook: Script,
    _sandbox: SandboxServer,
}

impl Fixture {
    fn start(settings: &[(&str, &str)]) -> Self {
        let webhook = Script::echo();
        let sandbox = SandboxServer::start(webhook.clone());
        let url = format!("http://{}/room-access", sandbox.address);
        let server = server_with_webhook(&url, settings);
        Self { server, webhook, _sandbox: sandbox }
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    /// Sets the response of the webhook for all rooms.
    fn respond(&self, body: &str) {
        self.webhook.set(ENDPOINT, "", Reply::body(200, body));
    }

    fn get(&self, target: &str) -> Response {
        self.client().get(target, Some(&tokens::user()))
    }

    /// The bodies of all calls.
    fn calls(&self) -> Vec<Value> {
        self.webhook.requests().iter().map(|call| serde_json::from_slice(&call.body).unwrap()).collect()
    }
}

/// A server whose webhook is at `url`.
fn server_with_webhook(url: &str, settings: &[(&str, &str)]) -> TestServer {
    let webhook = [
        ("APP_ROOMS__ACCESS", "webhook"),
        ("APP_ROOMS__WEBHOOK_URL", url),
        ("APP_ROOMS__WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("APP_CATCH_UP__FRESH_FOR", "60s"),
    ];
    TestServer::with(&[&webhook, settings].concat())
}

fn assert_failed(response: &Response, why: &str) {
    response.assert_error(500, "Internal server error", why);
}

fn assert_refused(response: &Response, why: &str) {
    response.assert_error(403, "Forbidden", why);
}

/// Reads the body of a call whose head was read.
fn read_body(stream: &mut impl Read, head: &str) -> Value {
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn webhook_response_that_is_no_decision_is_500() {
    let fixture = Fixture::start(&[]);
    let ok = r#"{"allow":true}"#;
    let large = format!("{ok}{}", " ".repeat(16 * 1024));
    let bodies = [
        "",
        "null",
        "true",
        "[]",
        "[true]",
        "[true,30]",
        "{}",
        "\"allow\"",
        r#"{"allow":"true"}"#,
        r#"{"allow":1}"#,
        r#"{"allow":null}"#,
        r#"{"Allow":true}"#,
        r#"{"ttl":30}"#,
        r#"{"allow":true,"ttl":"30"}"#,
        r#"{"allow":true,"ttl":1.5}"#,
        r#"{"allow":true,"ttl":1e1}"#,
        r#"{"allow":true,"ttl":-1}"#,
        r#"{"allow":true,"ttl":301}"#,
        r#"{"allow":true,"ttl":null}"#,
        r#"{"allow":true,"ttl":true}"#,
        r#"{"allow":false,"ttl":"30"}"#,
        r#"{"allow":true,"TTL":0}"#,
        r#"{"allow":true,"allow":true}"#,
        r#"{"allow":true}{"allow":true}"#,
        r#"{"allow":true"#,
        r#"{"error":null,"data":{"allow":true}}"#,
        "<html>{\"allow\":true}</html>",
        &large,
    ];
    let mut replies: Vec<(String, Reply)> =
        bodies.map(|body| (body.chars().take(60).collect(), Reply::body(200, body))).into();
    for status in [201, 202, 204, 206, 301, 302, 307, 400, 401, 403, 404, 429, 500, 503] {
        replies.push((status.to_string(), Reply::body(status, ok)));
    }
    replies.push(("truncated".to_owned(), Reply::body(200, ok).truncated()));
    replies.push(("no response".to_owned(), Reply::hang()));
    replies.push(("late".to_owned(), Reply::body(200, ok).after(Duration::from_secs(5))));
    let room = tokens::guest("r1");
    let etag = fixture.client().get("/callCatchUp/r1", Some(&room)).header("etag").unwrap().to_owned();
    let conditional = request("GET", b"/callCatchUp/r1", Some(&tokens::user()));
    let conditional =
        String::from_utf8(conditional).unwrap().replace("\r\n\r\n", &format!("\r\nIf-None-Match: {etag}\r\n\r\n"));
    let number = replies.len();
    for (name, reply) in replies {
        fixture.webhook.set(ENDPOINT, "", reply);
        assert_failed(&fixture.client().request(conditional.as_bytes()), &name);
    }
    assert_eq!(fixture.calls().len(), number, "no failure is kept");
    let metrics = fixture.server.management_client().get("/metrics", None).text().to_owned();
    assert!(metrics.contains(&format!("proconf_room_webhook_calls_total{{outcome=\"failed\"}} {number}\n")), "{metrics}");
    assert!(metrics.contains(&format!("proconf_room_webhook_call_duration_seconds_count {number}\n")), "{metrics}");
    fixture.respond(ok);
    fixture.get("/callCatchUp/r1").assert_success("\"r1\"");
}

#[test]
fn webhook_that_cannot_be_reached_is_500() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let canary = FakeUpstream::canary();
    let redirect = format!("Location: http://127.0.0.1:{}/\r\n", canary.port);
    let redirecting = |status: &str| {
        FakeUpstream::with_response(format!("HTTP/1.1 {status}\r\n{redirect}Content-Length: 14\r\n\r\n{{\"allow\":true}}"))
    };
    let slow_body = FakeUpstream::serving(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 14000\r\n\r\n");
        drip(&mut stream, b" ");
    });
    let endless = FakeUpstream::serving(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"1000\r\n").and_then(|()| stream.write_all(&[b' '; 0x1000])).is_ok() {
            if stream.write_all(b"\r\n").is_err() {
                break;
            }
        }
    });
    let upstreams = [
        FakeUpstream::with_response(""),
        FakeUpstream::with_response("no HTTP\r\n\r\n"),
        FakeUpstream::with_response("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"allow\":true}"),
        FakeUpstream::with_response("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
        redirecting("301 Moved Permanently"),
        redirecting("302 Found"),
        redirecting("307 Temporary Redirect"),
        redirecting("308 Permanent Redirect"),
        slow_body,
        endless,
    ];
    let ports = upstreams.iter().map(|upstream| upstream.port).chain([closed.port()]);
    for (number, port) in ports.enumerate() {
        let server = server_with_webhook(&format!("http://127.0.0.1:{port}/"), &[]);
        assert_failed(&server.client().get("/callCatchUp/r1", Some(&tokens::user())), &format!("upstream {number}"));
        assert_eq!(server.calls(), 0, "Admin Control is not called");
    }
    assert_eq!(canary.connections(), 0, "redirects are not followed");
}

#[test]
fn webhook_over_tls_needs_a_trusted_certificate() {
    let authority = Authority::new();
    let allow = |mut tls: TlsStream| {
        if let Some(head) = read_head(&mut tls) {
            read_body(&mut tls, &head);
            let _ = tls.write_all(http("200 OK", r#"{"allow":true}"#).as_bytes());
            end(tls);
        }
    };
    for (certificate, status) in [
        (authority.sign(&["127.0.0.1"]), 200),
        (authority.sign(&["127.0.0.2"]), 500),
        (authority.sign_with(&["127.0.0.1"], expired), 500),
        (Certificate::self_signed(&["127.0.0.1"]), 500),
    ] {
        let webhook = TlsUpstream::serving(certificate.config(), allow);
        let server = server_with_webhook(&webhook.url("127.0.0.1", "/"), &[("SSL_CERT_FILE", &authority.file())]);
        assert_eq!(server.client().get("/callCatchUp/r1", Some(&tokens::user())).status, status);
        assert_eq!(webhook.trusted(), usize::from(status == 200), "nothing is sent to another server");
    }
}

#[test]
fn webhook_is_asked_for_user_room_and_action() {
    let fixture = Fixture::start(&[("APP_AUTH__ISSUER", "proconf-app-server")]);
    let token = tokens::user();
    let body = json!({"role": "member", "room": "a room", "participantName": "Ann"}).to_string();
    fixture.get("/callCatchUp/a%20room").assert_success("\"a room\"");
    fixture.get("/callStatus?roomName=a+room").data();
    assert_eq!(fixture.get("/callSummary/a%20room").status, 404);
    fixture.client().post_with("/proconfToken", &token, &body).data();
    fixture.client().post_with("/auth/streamticket", &token, r#"{"room":"a room"}"#).data();
    fixture.get("/meetings").data();
    fixture.get("/callConfig").data();
    let call = |room: Value, action: &str| json!({"subject": "u1", "issuer": "proconf-app-server", "room": room, "action": action, "roles": []});
    let room = json!("a room");
    let expected = [
        call(room.clone(), "catch-up"),
        call(room.clone(), "status"),
        call(room.clone(), "summary"),
        call(room, "join"),
        call(Value::Null, "meetings"),
    ];
    assert_eq!(fixture.calls(), expected, "a stream ticket has the action of the catch-up");
}

#[test]
fn webhook_call_is_signed_as_standard_webhooks_say() {
    let fixture = Fixture::start(&[]);
    fixture.get("/callCatchUp/r1").data();
    fixture.get("/callCatchUp/r2").data();
    let calls = fixture.webhook.requests();
    let ids: Vec<String> = calls
        .iter()
        .map(|call| {
            let header = |name: &str| {
                let mut values = call.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
                let value = values.next().unwrap_or_else(|| panic!("{name} in {:?}", call.headers));
                assert_eq!(values.next(), None, "{name}");
                value.to_owned()
            };
            let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
            assert!(timestamp.parse::<i64>().unwrap().abs_diff(tokens::now()) < 60, "{timestamp}");
            let message = [format!("{id}.{timestamp}.").as_bytes(), &call.body].concat();
            let key = STANDARD.decode(WEBHOOK_SECRET.strip_prefix("whsec_").unwrap()).unwrap();
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message);
            assert_eq!(header("webhook-signature"), format!("v1,{}", STANDARD.encode(tag)));
            assert_eq!((call.method.as_str(), header("content-type").as_str()), ("POST", "application/json"));
            assert!(!call.headers.iter().any(|(name, _)| name == "authorization"));
            id
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn sandbox_webhook_rejects_a_wrong_secret() {
    let other = format!("whsec_{}", STANDARD.encode([7; 32]));
    let fixture = Fixture::start(&[("APP_ROOMS__WEBHOOK_SECRET", &other)]);
    assert_failed(&fixture.get("/callCatchUp/r1"), "the sandbox responds 401");
    assert_eq!(fixture.calls().len(), 1);
}

#[test]
fn refused_user_gets_403_and_guests_are_never_asked_about() {
    let fixture = Fixture::start(&[]);
    fixture.respond(r#"{"allow":false}"#);
    let (user, guest) = (tokens::user(), tokens::guest("r1"));
    for target in ["/callCatchUp/r1", "/callStatus/r1", "/callSummary/r1", "/callCatchUp/r1/live", "/meetings"] {
        assert_refused(&fixture.client().get(target, Some(&user)), target);
    }
    let calls = fixture.calls().len();
    assert_eq!(calls, 4, "the stream has the action of the catch-up");
    fixture.client().get("/callCatchUp/r1", Some(&guest)).assert_success("\"r1\"");
    assert_refused(&fixture.client().get("/callCatchUp/r2", Some(&guest)), "another room");
    assert_refused(&fixture.client().get("/meetings", Some(&guest)), "guests");
    fixture.webhook.set(ENDPOINT, "", Reply::hang());
    fixture.client().get("/callStatus/r1", Some(&guest)).data();
    fixture.client().get("/callConfig", Some(&user)).data();
    assert_eq!(fixture.calls().len(), calls);
}

#[test]
fn invalid_input_is_400_before_the_webhook_is_asked() {
    let fixture = Fixture::start(&[]);
    fixture.respond(r#"{"allow":false}"#);
    for target in ["/callCatchUp/", "/callCatchUp/a%2Fb", "/callStatus?roomName=*"] {
        assert_eq!(fixture.get(target).status, 400, "{target}");
    }
    let token = tokens::user();
    assert_eq!(fixture.client().post_with("/auth/streamticket", &token, r#"{"room":"*"}"#).status, 400);
    assert_eq!(fixture.client().post_with("/proconfToken", &token, r#"{"role":"member","room":"r1"}"#).status, 400);
    assert_eq!(fixture.client().get("/callCatchUp/r1", None).status, 401);
    assert_eq!(fixture.calls().len(), 0);
}

#[test]
fn fifty_concurrent_requests_make_one_call() {
    let fixture = Fixture::start(&[]);
    for (body, status) in [(r#"{"allow":true}"#, 200), (r#"{"allow":false}"#, 403)] {
        let before = fixture.calls().len();
        fixture.webhook.set(ENDPOINT, "", Reply::body(200, body).after(Duration::from_millis(400)));
        let target = format!("/callCatchUp/room{status}");
        std::thread::scope(|scope| {
            let requests: Vec<_> = (0..50).map(|_| scope.spawn(|| fixture.get(&target).status)).collect();
            for request in requests {
                assert_eq!(request.join().unwrap(), status);
            }
        });
        assert_eq!(fixture.calls().len() - before, 1, "{body}");
    }
}

#[test]
fn requests_that_wait_share_a_failure() {
    let fixture = Fixture::start(&[]);
    fixture.webhook.set(ENDPOINT, "", Reply::hang());
    std::thread::scope(|scope| {
        let requests: Vec<_> = (0..30).map(|_| scope.spawn(|| fixture.get("/callCatchUp/r1").status)).collect();
        for request in requests {
            assert_eq!(request.join().unwrap(), 500);
        }
    });
    // Requests that a slow machine begins after the first failure make calls of their own.
    assert!(fixture.calls().len() < 15, "{}", fixture.calls().len());
}

#[test]
fn user_has_sixteen_calls_in_flight_and_delays_no_other_user() {
    // By attempt: the number of calls that wait, and whether they are released.
    let attempts: Arc<[(AtomicUsize, AtomicBool); 10]> = Arc::default();
    let of_upstream = Arc::clone(&attempts);
    let webhook = FakeUpstream::serving(move |mut stream, _| {
        let Some(head) = read_head(&mut stream) else { return };
        let call = read_body(&mut stream, &head);
        if call["subject"] == "u1" {
            let attempt: usize = call["room"].as_str().unwrap().split('-').nth(1).unwrap().parse().unwrap();
            let (waiting, is_released) = &of_upstream[attempt];
            waiting.fetch_add(1, Ordering::SeqCst);
            wait_until("the calls are released", || is_released.load(Ordering::SeqCst));
        }
        let _ = stream.write_all(http("200 OK", r#"{"allow":true}"#).as_bytes());
    });
    let server = server_with_webhook(&format!("http://127.0.0.1:{}/", webhook.port), &[]);
    let get = |room: &str, user: &str| {
        server.client().get(&format!("/callCatchUp/{room}"), Some(&tokens::user_with_id(user))).status
    };
    for (attempt, (waiting, is_released)) in attempts.iter().enumerate() {
        let started = Instant::now();
        let (other, in_flight, statuses) = std::thread::scope(|scope| {
            let ask = |number| scope.spawn(move || get(&format!("room-{attempt}-{number}"), "u1"));
            let requests: Vec<_> = (0..30).map(ask).collect();
            wait_until("calls wait", || waiting.load(Ordering::SeqCst) >= 16);
            let (other, in_flight) = (get(&format!("room-{attempt}"), "u2"), waiting.load(Ordering::SeqCst));
            is_released.store(true, Ordering::SeqCst);
            (other, in_flight, requests.into_iter().map(|request| request.join().unwrap()).collect::<Vec<_>>())
        });
        // On a slow machine, calls time out after a second: try again.
        if started.elapsed() < Duration::from_secs(1) {
            assert_eq!((other, in_flight), (200, 16));
            assert_eq!(statuses, [200; 30], "the others wait for their turn");
            return;
        }
    }
    panic!("no attempt took less than a second");
}

#[test]
fn call_goes_on_when_its_first_client_leaves() {
    let fixture = Fixture::start(&[]);
    fixture.webhook.set(ENDPOINT, "", Reply::body(200, r#"{"allow":true}"#).after(Duration::from_millis(500)));
    let mut first = fixture.client().connect();
    first.send(&request("GET", b"/callCatchUp/r1", Some(&tokens::user())));
    wait_until("the call has begun", || fixture.calls().len() == 1);
    first.reset();
    assert_eq!(fixture.get("/callCatchUp/r1").status, 200);
    assert_eq!(fixture.calls().len(), 1);
}

#[test]
fn decision_with_ttl_0_is_for_one_request() {
    let fixture = Fixture::start(&[]);
    fixture.respond(r#"{"allow":true,"ttl":0}"#);
    for calls in 1..=3 {
        assert_eq!(fixture.get("/callCatchUp/r1").status, 200);
        assert_eq!(fixture.calls().len(), calls);
    }
    fixture.respond(r#"{"allow":false,"ttl":0}"#);
    assert_refused(&fixture.get("/callCatchUp/r1"), "the next request is refused");
}

#[test]
fn decision_is_kept_by_user_provider_room_and_action() {
    let fixture = Fixture::start(&[]);
    fixture.respond(r#"{"allow":true,"ttl":300}"#);
    let get = |target: &str, id: &str| fixture.client().get(target, Some(&tokens::user_with_id(id))).status;
    for _ in 0..3 {
        let statuses = [get("/callCatchUp/r1", "u1"), get("/callCatchUp/r2", "u1"), get("/callCatchUp/r1", "u2")];
        assert_eq!((statuses, get("/callStatus/r1", "u1")), ([200; 3], 200));
    }
    assert_eq!(fixture.calls().len(), 4);
}

#[test]
fn permission_that_ran_out_is_not_extended() {
    let fixture = Fixture::start(&[]);
    for (reply, status) in [(Reply::body(200, r#"{"allow":false}"#), 403), (Reply::body(503, ""), 500)] {
        fixture.respond(r#"{"allow":true,"ttl":1}"#);
        // A refusal is kept for five seconds.
        wait_until("the user may enter", || fixture.get("/callCatchUp/r1").status == 200);
        fixture.webhook.set(ENDPOINT, "", reply);
        wait_until("the permission has run out", || fixture.get("/callCatchUp/r1").status == status);
        assert_eq!(fixture.get("/callCatchUp/r1").status, status);
    }
}

/// Opens a stream of `r1` with a token, or with a ticket.
fn open_stream(fixture: &Fixture, by_ticket: &str) -> Events {
    let (address, token) = (fixture.server.address, tokens::user());
    if by_ticket == "token" {
        return Events::subscribe(address, "r1", &token);
    }
    let ticket = fixture.client().post_with("/auth/streamticket", &token, r#"{"room":"r1"}"#).data();
    Events::open(address, &format!("/callCatchUp/r1/live?ticket={}", ticket.as_str().unwrap()), "")
}

fn assert_stream_ends(ttl: u8, credential: &str, reply: Reply) {
    let fixture = Fixture::start(&[("APP_LIVE__POLL_INTERVAL", "100ms"), ("APP_CATCH_UP__FRESH_FOR", "0s")]);
    fixture.respond(&json!({"allow": true, "ttl": ttl}).to_string());
    let mut events = open_stream(&fixture, credential);
    assert!(events.next().is_some());
    let opened = fixture.calls().len();
    wait_until("the permission is renewed", || fixture.calls().len() > opened + 1);
    fixture.server.script.catch_up("r1", Reply::data("\"more\""));
    assert_eq!(events.next().unwrap().data.as_deref(), Some(r#"{"error":null,"data":"more"}"#), "it goes on");
    fixture.webhook.set(ENDPOINT, "", reply);
    while let Some(event) = events.next() {
        assert_eq!(event.name, None, "the stream ends as for a revoked session");
    }
}

#[test]
fn stream_ends_when_its_permission_is_not_renewed() {
    let replies = [Reply::body(200, r#"{"allow":false}"#), Reply::body(500, ""), Reply::hang()];
    std::thread::scope(|scope| {
        for reply in &replies {
            for (ttl, credential) in [(0, "token"), (1, "ticket"), (1, "token")] {
                scope.spawn(move || assert_stream_ends(ttl, credential, reply.clone()));
            }
        }
    });
}

#[test]
fn stream_of_a_guest_or_in_the_mode_all_is_never_asked_about() {
    let fixture = Fixture::start(&[]);
    fixture.webhook.set(ENDPOINT, "", Reply::hang());
    let mut events = Events::subscribe(fixture.server.address, "r1", &tokens::guest("r1"));
    assert!(events.next().is_some());
    let server = TestServer::with(&[
        ("APP_ROOMS__WEBHOOK_URL", fixture.server.sandbox_url().as_str()),
        ("APP_ROOMS__WEBHOOK_SECRET", WEBHOOK_SECRET),
    ]);
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success("\"r1\"");
    assert_eq!(fixture.calls().len(), 0);
}

#[test]
fn ticket_of_a_user_that_was_refused_since_opens_no_stream() {
    let fixture = Fixture::start(&[]);
    fixture.respond(r#"{"allow":true,"ttl":0}"#);
    let ticket = fixture.client().post_with("/auth/streamticket", &tokens::user(), r#"{"room":"r1"}"#).data();
    let target = format!("/callCatchUp/r1/live?ticket={}", ticket.as_str().unwrap());
    fixture.webhook.set(ENDPOINT, "", Reply::body(500, ""));
    assert_failed(&fixture.client().get(&target, None), "no decision");
    fixture.respond(r#"{"allow":true}"#);
    // The failed attempt has not redeemed the ticket.
    assert!(Events::open(fixture.server.address, &target, "").next().is_some());
}

#[test]
fn connection_that_the_webhook_closed_is_no_failure() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let upstream = FakeUpstream::serving(move |mut stream, _| {
        let Some(head) = read_head(&mut stream) else { return };
        read_body(&mut stream, &head);
        let _ = stream.write_all(http("200 OK", r#"{"allow":true}"#).as_bytes());
        // Closed, although the response does not say so.
        drop(stream);
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let server = server_with_webhook(&format!("http://127.0.0.1:{}/", upstream.port), &[]);
    for number in 0..20 {
        let target = format!("/callCatchUp/r{number}");
        assert_eq!(server.client().get(&target, Some(&tokens::user())).status, 200, "{number}");
        wait_until("the connection is closed", || calls.load(Ordering::SeqCst) > number);
    }
}

#[test]
fn check_config_requires_what_the_mode_needs() {
    let (url, secret) =
        (("APP_ROOMS__WEBHOOK_URL", "https://app.example.com/access"), ("APP_ROOMS__WEBHOOK_SECRET", WEBHOOK_SECRET));
    let webhook = ("APP_ROOMS__ACCESS", "webhook");
    let short = format!("whsec_{}", STANDARD.encode([7; 23]));
    let must_be_a_url = "APP_ROOMS__WEBHOOK_URL must be an https:// URL, or http:// to a loopback address";
    let must_be_a_secret = "APP_ROOMS__WEBHOOK_SECRET must be whsec_ and 24 to 64 random bytes in base64";
    for (settings, message) in [
        (vec![webhook, secret], "APP_ROOMS__WEBHOOK_URL is required with APP_ROOMS__ACCESS=webhook"),
        (vec![webhook, url], "APP_ROOMS__WEBHOOK_SECRET is required with APP_ROOMS__ACCESS=webhook"),
        (vec![("APP_ROOMS__ACCESS", "claim")], "APP_OIDC__ROOMS_CLAIM is required with APP_ROOMS__ACCESS=claim"),
        (
            vec![("APP_ROOMS__ACCESS", "claim"), ("APP_OIDC__ROOMS_CLAIM", "rooms")],
            "APP_OIDC__ISSUER is required with APP_ROOMS__ACCESS=claim",
        ),
        (vec![("APP_ROOMS__ACCESS", "some")], "APP_ROOMS__ACCESS "),
        (vec![webhook, secret, (url.0, "http://app.example.com/access")], must_be_a_url),
        (vec![webhook, secret, (url.0, "http://127.0.0.1.example.com/")], must_be_a_url),
        (vec![webhook, secret, (url.0, "https://ann:canary-of-a-url@app.example.com/")], must_be_a_url),
        (vec![webhook, secret, (url.0, "file:///etc/passwd")], must_be_a_url),
        (vec![webhook, secret, (url.0, "/access")], must_be_a_url),
        (vec![webhook, url, (secret.0, "canary of a webhook secret, 32 bytes")], must_be_a_secret),
        (vec![webhook, url, (secret.0, "whsec_canary!")], must_be_a_secret),
        (vec![webhook, url, (secret.0, short.as_str())], must_be_a_secret),
    ] {
        let (code, text) = check_config(&settings);
        assert!(code == 78 && text.contains(message), "{settings:?}: {text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn check_config_shows_no_secret_and_calls_no_webhook() {
    let canary = FakeUpstream::canary();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), WEBHOOK_SECRET).unwrap();
    let url = format!("http://localhost:{}/access?key=canary", canary.port);
    let settings = [
        ("APP_ROOMS__ACCESS", "webhook"),
        ("APP_ROOMS__WEBHOOK_URL", url.as_str()),
        ("APP_ROOMS__WEBHOOK_SECRET_FILE", file.path().to_str().unwrap()),
    ];
    let (_, text) = check_config(&settings);
    assert!(text.contains("APP_ROOMS__WEBHOOK_SECRET=[redacted]"), "{text}");
    assert!(text.contains("/access?[redacted]") && !text.contains("canary") && !text.contains(WEBHOOK_SECRET), "{text}");
    assert_eq!(canary.connections(), 0);
}
