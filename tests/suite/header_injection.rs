//! Header injection and response splitting by line breaks, from a client or from Admin Control.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use crate::support::fake_upstream::{FakeUpstream, http, read_head};
use crate::support::{TestServer, tokens};

/// The header that a line break would inject.
const INJECTED: &str = "X-Injected: 1";
/// Line breaks, bytes that some parsers take for one, and encoded ones.
const BREAKS: [&[u8]; 19] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\t",
    b"\r\r\n",
    b"\n\n",
    b"\x0b",
    b"\x0c",
    b"\t",
    b"%0d%0a",
    b"%0D%0A%09",
    b"%250d%250a",
    b"%00",
    b"\\r\\n",
    "\u{560d}\u{560a}".as_bytes(),
    "\u{2028}\u{85}".as_bytes(),
    b"%E5%98%8D%E5%98%8A",
    b"\xff\xc0\x8a",
];
/// The header names that a response may have.
const KNOWN: [&str; 26] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "age",
    "cache-control",
    "connection",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "etag",
    "referrer-policy",
    "retry-after",
    "transfer-encoding",
    "vary",
    "x-accel-buffering",
    "x-catch-up-reason",
    "x-content-type-options",
    "x-request-id",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-max-age",
    "strict-transport-security",
    "www-authenticate",
    "x-not-found",
];

/// Asserts that a head has only known names, and no control characters in values.
fn assert_clean_head(case: &str, head: &str, known: &[&str]) {
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{case}: {line:?} in {head:?}"));
        assert!(known.contains(&name.to_ascii_lowercase().as_str()), "{case}: {line:?}");
        assert!(!value.contains(|c: char| c.is_control()), "{case}: {line:?}");
    }
}

/// Asserts one response with nothing after it, or the head of a stream; returns the status.
fn assert_one_response(case: &str, text: &str) -> u16 {
    let text = text.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{case}: {text:?}"));
    assert_clean_head(case, head, &KNOWN);
    assert!(!head.to_lowercase().contains("injected"), "{case}: {head}");
    let status = head.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{case}: {head}"));
    if !head.contains("\r\ntransfer-encoding: chunked") {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let (_, rest) = body.split_at(length.parse().unwrap());
        // Bytes after two line feeds are no request; actix-web rejects them.
        let rejected = |text: &str| text.starts_with("HTTP/1.1 400 Bad Request\r\n") && text.ends_with("\r\n\r\n");
        assert!(rest.is_empty() || rejected(rest), "{case}: {text:?}");
    }
    status[..3].parse().unwrap()
}

/// Sends these bytes; returns all that comes back, or the beginning of a stream.
fn exchange(server: &TestServer, bytes: &[u8]) -> String {
    let mut connection = server.client().connect();
    connection.send(bytes);
    connection.read_raw(|text| {
        text.split_once("\r\n\r\n").is_some_and(|(head, _)| head.contains("\r\ntransfer-encoding: chunked"))
            || text.contains("\r\nconnection: close\r\n") && text.contains("\r\n\r\n")
    });
    let received = connection.read_raw(|_| true);
    if received.contains("\r\ntransfer-encoding: chunked") { received } else { received + &connection.read_to_end() }
}

/// Starts an Admin Control that records the request heads.
fn recording_admin_control() -> (FakeUpstream, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&heads);
    let peer = FakeUpstream::serving(move |mut stream, _| {
        if let Some(head) = read_head(&mut stream) {
            recorder.lock().unwrap().push(head);
            let body = r#"{"error":null,"data":{"token":"x"}}"#;
            let _ = stream.write_all(http("200 OK\r\nConnection: close", body).as_bytes());
        }
    });
    (peer, heads)
}

#[test]
fn line_break_from_a_client_injects_nothing() {
    let (admin_control, heads) = recording_admin_control();
    let server = TestServer::with(&[
        ("APP_ADMIN_CONTROL__BASE_URL", &admin_control.base_url()),
        ("APP_SERVER__CORS_ORIGINS", "https://good.example"),
        ("APP_SERVER__TRUSTED_PROXIES", "127.0.0.0/8"),
        ("APP_ADMIN_CONTROL__AUTHORIZATION", "Bearer of-the-server"),
    ]);
    let token = tokens::user();
    let etag = server.client().get("/callCatchUp/r1", Some(&token)).header("etag").unwrap().to_owned();
    let headers = [
        ("X-Request-Id", "abc"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "vendor=value"),
        ("Origin", "https://good.example"),
        ("Host", "t"),
        ("If-None-Match", etag.as_str()),
        ("Last-Event-ID", etag.as_str()),
        ("Authorization", "Bearer abc"),
        ("Accept", "application/json"),
        ("User-Agent", "a"),
        ("Cookie", "a=b"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "t"),
        ("Access-Control-Request-Method", "GET"),
        ("Content-Type", "application/json"),
        ("Expect", "100-continue"),
        ("Connection", "close"),
    ];
    let targets = [
        "/",
        "/nowhere/",
        "/callCatchUp/r1",
        "/callCatchUp?roomName=r1",
        "/callStatus?roomName=",
        "/callSummary/r1",
        "/auth/joinmember?roomName=r1",
        "/callCatchUp/r1/live?ticket=",
        "/callConfig?x=",
        "/callCatchUp/r1/live?lastEventId=",
    ];
    let mut statuses = BTreeSet::new();
    let mut check = |case: &str, bytes: &[u8]| {
        statuses.insert(assert_one_response(case, &exchange(&server, bytes)));
    };
    for line_break in BREAKS {
        let tail = [line_break, INJECTED.as_bytes()].concat();
        let shown = tail.escape_ascii();
        for target in ["/callCatchUp/r1", "/callCatchUp/r1/live", "/nowhere", "/openapi.json"] {
            for (name, good) in headers {
                let head = format!("GET {target} HTTP/1.1\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n");
                let host = if name == "Host" { "" } else { "Host: t\r\n" };
                let all =
                    [head.as_bytes(), host.as_bytes(), name.as_bytes(), b": ", good.as_bytes(), &tail, b"\r\n\r\n"].concat();
                check(&format!("{name}{shown} of {target}"), &all);
            }
        }
        for target in targets {
            let head = format!(" HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
            let all = [b"GET ", target.as_bytes(), &tail, head.as_bytes()].concat();
            check(&format!("{target}{shown}"), &all);
        }
        for (target, body) in [
            ("/proconfToken", r#"{"role":"member","room":"r1","participantName":"Ann@"}"#),
            ("/proconfToken", r#"{"role":"member","room":"r1@","participantName":"Ann"}"#),
            ("/proconfToken", r#"{"role":"member@","room":"r1","participantName":"Ann"}"#),
            ("/auth/login", r#"{"email":"a@","password":"wrong"}"#),
            ("/auth/refresh", r#"{"refreshToken":"x@"}"#),
        ] {
            // Raw, and escaped as JSON.
            for tail in [String::from_utf8_lossy(&tail).into_owned(), format!("\\r\\n{INJECTED}\\u000d\\u000a\\u0000")] {
                let body = body.replace('@', &tail);
                let head = format!(
                    "POST {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                check(&format!("{target} {body:?}"), &[head.as_bytes(), body.as_bytes()].concat());
            }
        }
    }
    // The requests reached different outcomes.
    for status in [200, 304, 400, 401, 404] {
        assert!(statuses.contains(&status), "{statuses:?}");
    }
    let heads = heads.lock().unwrap();
    assert!(heads.len() > 100, "{}", heads.len());
    for head in heads.iter() {
        let known = [
            "host",
            "accept",
            "authorization",
            "x-request-id",
            "traceparent",
            "tracestate",
            "content-type",
            "content-length",
            "user-agent",
            "date",
            "accept-encoding",
            "connection",
            "x-injected",
        ];
        // No header of the client is forwarded.
        assert_clean_head("to Admin Control", head.trim_end(), &known[..known.len() - 1]);
        assert!(head.starts_with("GET /api/") || head.starts_with("POST /api/"), "{head}");
    }
}

#[test]
fn line_break_from_admin_control_injects_nothing() {
    let reply = Arc::new(Mutex::new(Vec::new()));
    let current = Arc::clone(&reply);
    let good = http("200 OK\r\nConnection: close", r#"{"error":null,"data":"good"}"#);
    let admin_control = FakeUpstream::serving(move |mut stream, _| {
        let Some(head) = read_head(&mut stream) else { return };
        let bytes = if head.contains("/good") { good.clone().into_bytes() } else { current.lock().unwrap().clone() };
        let _ = stream.write_all(&bytes);
    });
    let server = TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", &admin_control.base_url())]);
    let token = tokens::user();
    let fetch = |room: &str| {
        let head = format!("GET /callCatchUp/{room} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n");
        exchange(&server, format!("{head}Authorization: Bearer {token}\r\n\r\n").as_bytes())
    };
    let body = r#"{"error":null,"data":"text"}"#;
    let mut number = 0;
    let mut statuses = BTreeSet::new();
    let mut check = |case: &str, bytes: Vec<u8>| {
        *reply.lock().unwrap() = bytes;
        number += 1;
        statuses.insert(assert_one_response(case, &fetch(&format!("r{number}"))));
        // A success keeps the circuit closed.
        assert_eq!(assert_one_response(case, &fetch("good")), 200, "after {case}");
    };
    for line_break in BREAKS {
        let tail = [line_break, INJECTED.as_bytes()].concat();
        let shown = tail.escape_ascii();
        for status in ["200 OK", "302 Found", "404 Not Found", "503 Service Unavailable"] {
            let around = |head: &[u8]| {
                let end = format!("\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                [b"HTTP/1.1 ", status.as_bytes(), head, end.as_bytes()].concat()
            };
            check(&format!("{status}{shown}"), around(&tail));
            for (name, value) in [
                ("ETag", "\"abc\""),
                ("Location", "/elsewhere"),
                ("Set-Cookie", "a=b"),
                ("Content-Type", "application/json"),
                ("Retry-After", "1"),
                ("X-Request-Id", "abc"),
                ("X-Catch-Up-Reason", "none-yet"),
                ("Access-Control-Allow-Origin", "*"),
                (INJECTED, "1"),
            ] {
                let line = [b"\r\n", name.as_bytes(), b": ", value.as_bytes(), &tail].concat();
                check(&format!("{status}, {name}{shown}"), around(&line));
            }
        }
        // In the data that is passed through, which stays inside the body.
        let text = format!("text{}HTTP/1.1 200 OK\r\n{INJECTED}\r\n\r\n", String::from_utf8_lossy(line_break));
        for data in [serde_json::to_string(&text).unwrap(), format!("\"{text}\""), format!("{{\r\n\"{INJECTED}\":\n1}}")] {
            let response = http("200 OK\r\nConnection: close", &format!(r#"{{"error":null,"data":{data}}}"#));
            check(&format!("{data:?}"), response.into_bytes());
        }
    }
    assert_eq!(statuses, BTreeSet::from([200, 404, 500]));
}
