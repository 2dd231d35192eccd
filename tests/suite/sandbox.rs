//! The control interface of the sandbox: configured replies and recorded requests.

use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::response::Response;
use crate::support::{SandboxServer, TestServer, tokens};
use proconf_app_server::clock::Clock;
use proconf_app_server::sandbox::Script;
use serde_json::{Value, json};

/// A sandbox with the sample rooms, and a server in front of it.
struct Fixture {
    sandbox: SandboxServer,
    server: TestServer,
}

impl Fixture {
    fn start() -> Self {
        let sandbox = SandboxServer::start(Script::samples(Clock::system()));
        let server = TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", &sandbox.base_url)]);
        Self { sandbox, server }
    }

    fn fetch(&self, method: &str, path: &str, body: &str) -> Response {
        let request =
            format!("{method} /sandbox{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        Client::new(self.sandbox.address).request(request.as_bytes())
    }

    fn control(&self, method: &str, path: &str, body: &str) -> Value {
        let response = self.fetch(method, path, body);
        assert_eq!(response.status, 200, "{method} {path} {body}: {}", response.text());
        serde_json::from_slice::<Value>(&response.body).unwrap()["data"].take()
    }

    fn rejected(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let response = self.fetch(method, path, body);
        let failure: Value = serde_json::from_slice(&response.body).unwrap();
        (response.status, failure["error"]["message"].as_str().unwrap().to_owned())
    }

    fn catch_up(&self, room: &str) -> Response {
        self.server.client().get(&format!("/callCatchUp/{room}"), Some(&tokens::user()))
    }
}

#[test]
fn configured_value_is_served_for_that_room_only() {
    let fixture = Fixture::start();
    fixture.control("PUT", "/replies/call-catchup/testRoom", r#"{"data": {"n": 1.00, "b": [], "a": null}}"#);
    fixture.catch_up("testRoom").assert_success(r#"{"n": 1.00, "b": [], "a": null}"#);
    fixture.catch_up("quietRoom").assert_success("\"\"");
    fixture.control("PUT", "/replies/call-catchup/testRoom", r#"{"data": null}"#);
    fixture.catch_up("testRoom").assert_success("null");
    fixture.control("DELETE", "/replies/call-catchup/testRoom", "");
    assert!(fixture.catch_up("testRoom").data().as_str().unwrap().starts_with("Ann opened the call"));
}

#[test]
fn reply_over_the_documented_size_is_413() {
    let fixture = Fixture::start();
    let set = |bytes: usize| format!(r#"{{"data": "{}"}}"#, "x".repeat(bytes));
    for kilobytes in [255, 257, 500, 3 * 1024] {
        fixture.control("PUT", &format!("/replies/call-catchup/large{kilobytes}"), &set(kilobytes * 1024));
        let read = fixture.catch_up(&format!("large{kilobytes}"));
        assert_eq!(read.data().as_str().map(str::len), Some(kilobytes * 1024));
    }
    fixture.control("PUT", "/replies/call-catchup/tooLarge", &set(5 * 1024 * 1024));
    fixture.catch_up("tooLarge").assert_error(500, "Internal server error", "over APP_ADMIN_CONTROL__MAX_BODY_BYTES");
    let rejected = fixture.rejected("PUT", "/replies/call-catchup/tooLarge", &set(9 * 1024 * 1024));
    assert_eq!(rejected, (413, "A reply may have at most 8 MiB.".to_owned()));
    let guide = include_str!("../../docs/QA.md");
    assert!(guide.contains("at most 8 MiB"), "documented in the guide");
}

#[test]
fn reply_for_one_room_overrides_the_reply_for_all_rooms() {
    let fixture = Fixture::start();
    fixture.control("PUT", "/replies/call-catchup", r#"{"data": "any"}"#);
    fixture.control("PUT", "/replies/call-catchup/a%20room%20%F0%9F%8E%A5", r#"{"data": "one room"}"#);
    fixture.catch_up("nowhere").assert_success("\"any\"");
    fixture.catch_up("a%20room%20%F0%9F%8E%A5").assert_success("\"one room\"");
    let set = fixture.control("GET", "/replies", "");
    assert_eq!(set.as_array().unwrap().len(), 2);
    assert_eq!((&set[1]["room"], &set[1]["status"]), (&json!("a room 🎥"), &json!(200)));
    fixture.control("DELETE", "/replies", "");
    fixture.catch_up("nowhere").assert_error(404, "Not found", "the sample reply again");
}

#[test]
fn each_endpoint_fails_as_configured() {
    let fixture = Fixture::start();
    let user = tokens::user();
    for (endpoint, path) in [
        ("call-catchup/testRoom", "/callCatchUp/testRoom"),
        ("sessions-status/testRoom", "/callStatus/testRoom"),
        ("call-summary/endedRoom", "/callSummary/endedRoom"),
        ("configuration", "/callConfig"),
        ("meetings", "/meetings"),
    ] {
        for (reply, status, message) in [
            (r#"{"status": 503}"#, 500, "Internal server error"),
            (r#"{"status": 404}"#, 404, "Not found"),
            (r#"{"status": 302, "body": ""}"#, 500, "Internal server error"),
            (r#"{"body": "<html>not the envelope</html>"}"#, 500, "Internal server error"),
            (r#"{"truncate": true}"#, 500, "Internal server error"),
            (r#"{"truncate": true, "data": "half of this is lost"}"#, 500, "Internal server error"),
        ] {
            fixture.control("PUT", &format!("/replies/{endpoint}"), reply);
            fixture.server.client().get(path, Some(&user)).assert_error(status, message, &format!("{endpoint} {reply}"));
        }
    }
    fixture.control("PUT", "/replies/proconf-token", r#"{"status": 500}"#);
    let body = r#"{"role":"member","room":"testRoom","participantName":"Ann"}"#;
    fixture.server.client().post_with("/proconfToken", &user, body).assert_error(
        500,
        "Internal server error",
        "proconf-token",
    );
}

#[test]
fn hanging_reply_ends_at_the_deadline_and_a_delayed_one_in_time() {
    let fixture = Fixture::start();
    fixture.control("PUT", "/replies/call-catchup/testRoom", r#"{"hang": true}"#);
    let started = Instant::now();
    fixture.catch_up("testRoom").assert_error(500, "Internal server error", "it hangs");
    assert!(started.elapsed() >= Duration::from_millis(1900), "the deadline of the tests");
    fixture.control("PUT", "/replies/call-catchup/testRoom", r#"{"delay": "400ms"}"#);
    let started = Instant::now();
    assert!(fixture.catch_up("testRoom").data().as_str().unwrap().starts_with("Ann opened"), "late, with the sample reply");
    assert!(started.elapsed() >= Duration::from_millis(400));
}

#[test]
fn fault_with_times_expires_after_that_many_calls() {
    let fixture = Fixture::start();
    fixture.control("PUT", "/replies/call-catchup/testRoom", r#"{"status": 500, "times": 2}"#);
    for _ in 0..2 {
        fixture.catch_up("testRoom").assert_error(500, "Internal server error", "as configured");
    }
    assert!(fixture.catch_up("testRoom").data().is_string());
    assert_eq!(fixture.control("GET", "/replies", ""), json!([]));
}

#[test]
fn recorded_requests_are_redacted_and_can_be_cleared() {
    let fixture = Fixture::start();
    fixture.control("DELETE", "/requests", "");
    fixture.catch_up("testRoom");
    fixture.server.client().get("/callStatus/quietRoom", Some(&tokens::user()));
    let record = fixture.control("GET", "/requests", "");
    let targets: Vec<&str> =
        record["requests"].as_array().unwrap().iter().map(|one| one["target"].as_str().unwrap()).collect();
    assert_eq!(
        (&record["total"], targets),
        (&json!(2), vec!["/api/call-catchup/testRoom", "/api/sessions-status/quietRoom"])
    );
    assert_eq!(record["requests"][0]["headers"]["content-type"], "application/json");
    assert!(record["requests"][1]["seconds"].as_f64() >= record["requests"][0]["seconds"].as_f64());

    let call = b"GET /api/configuration HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer canary\r\n\r\n";
    Client::new(fixture.sandbox.address).request(call);
    let record = fixture.control("GET", "/requests", "");
    assert_eq!(record["requests"][2]["headers"]["authorization"], "[redacted]");
    assert!(!record.to_string().contains("canary"));
    fixture.control("DELETE", "/requests", "");
    assert_eq!(fixture.control("GET", "/requests", ""), json!({"total": 0, "requests": []}));
}

#[test]
fn invalid_reply_is_rejected_with_its_reason() {
    let fixture = Fixture::start();
    for (path, body, text) in [
        ("/replies/call-catchup/r", "{", "Not a reply"),
        ("/replies/call-catchup/r", r#"{"stauts": 500}"#, "unknown field"),
        ("/replies/call-catchup/r", r#"{"status": 99}"#, "status must be from 200 to 599."),
        ("/replies/call-catchup/r", r#"{"status": 200}"#, "a status below 400 needs data or body."),
        ("/replies/call-catchup/r", r#"{"data": 1, "body": "x"}"#, "data or body, not both."),
        ("/replies/call-catchup/r", r#"{"hang": true, "status": 500}"#, "hang goes with delay and times only."),
        ("/replies/call-catchup/r", r#"{"delay": "soon"}"#, "delay must be a duration"),
        ("/replies/call-catchup/r", r#"{"times": 0}"#, "times must be 1 or more."),
        ("/replies/call-catchup/%FF", "{}", "The room is not UTF-8."),
        ("/replies/configuration/r", "{}", "configuration has no room."),
    ] {
        let (status, message) = fixture.rejected("PUT", path, body);
        assert!(status == 400 && message.contains(text), "{path} {body}: {status} {message}");
    }
    assert_eq!(fixture.rejected("PUT", "/replies/call-catchups/r", "{}").0, 404);
    assert_eq!(fixture.rejected("DELETE", "/replies/meetings", "").0, 404);
    assert_eq!(fixture.rejected("POST", "/replies", "").0, 404);
    assert_eq!(fixture.rejected("GET", "/nothing", "").0, 404);
    assert_eq!(fixture.control("GET", "/replies", ""), json!([]));
    assert!(fixture.control("GET", "", "")["routes"].is_array());
}

#[test]
fn control_interface_is_separate_and_not_recorded() {
    let fixture = Fixture::start();
    for target in ["/api/sandbox/requests", "/api/replies/testRooms", "/sandboxes", "/sandbox2/requests"] {
        let response = Client::new(fixture.sandbox.address).get(target, None);
        assert_eq!(response.status, 404, "{target}");
    }
    fixture.control("DELETE", "/requests", "");
    fixture.control("GET", "/replies", "");
    assert_eq!(fixture.control("GET", "/requests", "")["total"], 0);
}

#[test]
fn control_interface_refuses_a_foreign_host_or_origin() {
    let fixture = Fixture::start();
    let body = r#"{"data": "planted"}"#;
    let put = |headers: &str| {
        let request = format!(
            "PUT /sandbox/replies/call-catchup HTTP/1.1\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        Client::new(fixture.sandbox.address).request(request.as_bytes()).status
    };
    let own = fixture.sandbox.address;
    for host in ["rebind.example", "rebind.example:80", "localhost.rebind.example", "0.0.0.0", "192.0.2.1:8081", ""] {
        assert_eq!(put(&format!("Host: {host}\r\n")), 421, "{host}");
    }
    for origin in ["http://evil.example", "null", "http://localhost:1", "http://rebind.example"] {
        assert_eq!(put(&format!("Host: {own}\r\nOrigin: {origin}\r\n")), 403, "{origin}");
    }
    assert_eq!(put(&format!("Host: {own}\r\nOrigin: http://{own}\r\nOrigin: http://evil.example\r\n")), 403, "one of two");
    let absolute = b"GET http://rebind.example/sandbox/requests HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(Client::new(own).request(absolute).status, 421);
    let read = b"GET /sandbox/requests HTTP/1.1\r\nHost: rebind.example\r\nConnection: close\r\n\r\n";
    let rejected: Value = serde_json::from_slice(&Client::new(own).request(read).body).unwrap();
    assert_eq!((&rejected["data"], &rejected["error"]["code"]), (&Value::Null, &json!(421)));
    assert_eq!(fixture.control("GET", "/replies", ""), json!([]), "no reply was set");

    let port = own.port();
    for host in ["localhost", "127.0.0.1", "127.0.0.2:80", "[::1]:8081", "app.localhost", &format!("LocalHost:{port}")] {
        assert_eq!(put(&format!("Host: {host}\r\n")), 200, "{host}");
    }
    assert_eq!(put(&format!("Host: localhost:{port}\r\nOrigin: http://{own}\r\n")), 200, "its own origin");
    let api = b"GET /api/configuration HTTP/1.1\r\nHost: admin.example\r\n\r\n";
    assert_eq!(Client::new(own).request(api).status, 200, "the API accepts any host");
}

#[test]
fn foreign_request_is_rejected_before_its_body() {
    let fixture = Fixture::start();
    let head = b"PUT /sandbox/replies/call-catchup HTTP/1.1\r\nHost: rebind.example\r\nContent-Length: 8000000\r\n\r\n";
    assert_eq!(Client::new(fixture.sandbox.address).request(head).status, 421);
}

#[test]
fn allow_list_over_the_documented_size_is_413() {
    let fixture = Fixture::start();
    let list = |rules: usize| format!(r#"{{"allow":[{}]}}"#, vec!["{}"; rules].join(","));
    fixture.control("PUT", "/room-access", &list(340_000));
    let rejected = fixture.rejected("PUT", "/room-access", &list(350_000));
    assert_eq!(rejected, (413, "An allow list may have at most 1 MiB.".to_owned()));
    assert!(include_str!("../../docs/QA.md").contains("and the list 1 MiB"), "documented in the guide");
}

#[test]
fn sandbox_confirms_no_upgrade() {
    let fixture = Fixture::start();
    for target in ["/sandbox", "/api/configuration", "/nowhere"] {
        for header in ["upgrade", "keep-alive, Upgrade"] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: {header}\r\n\r\n");
            let response = Client::new(fixture.sandbox.address).request(request.as_bytes());
            assert_eq!(response.header("connection"), Some("close"), "{target}: {header}");
        }
    }
}

#[test]
fn replies_over_64_mib_in_total_are_rejected() {
    let fixture = Fixture::start();
    let large = format!(r#"{{"body": "{}"}}"#, "x".repeat(7 * 1024 * 1024));
    for number in 0..9 {
        fixture.control("PUT", &format!("/replies/call-catchup/large{number}"), &large);
    }
    for target in ["/replies/call-catchup/large9", "/replies/meetings"] {
        let rejected = fixture.rejected("PUT", target, &large);
        assert_eq!(rejected, (507, "All replies together may take 64 MiB: DELETE some.".to_owned()), "{target}");
    }
    fixture.control("PUT", "/replies/call-catchup/large0", &large);
    fixture.control("PUT", "/replies/call-catchup/small", r#"{"data": "a small one"}"#);
    let first = Client::new(fixture.sandbox.address).get("/api/call-catchup/large0", None);
    assert_eq!((first.status, first.body.len()), (200, 7 * 1024 * 1024), "not evicted");
    fixture.control("DELETE", "/replies/call-catchup/large8", "");
    fixture.control("PUT", "/replies/call-catchup/large9", &large);
    assert!(include_str!("../../docs/QA.md").contains("64 MiB"), "documented in the guide");
}
