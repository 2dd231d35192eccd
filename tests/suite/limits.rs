//! Limits on what one client may use: time, bytes and connections.

use std::time::{Duration, Instant};

use crate::support::client::{Connection, request};
use crate::support::{TestServer, tokens};
use proconf_app_server::sandbox::Reply;

/// The head deadline is 5 s; it is checked twice a second, and a busy machine is later still.
const HEAD: std::ops::Range<Duration> = Duration::from_millis(4_500)..Duration::from_secs(7);
const LOGIN: &str = "POST /auth/login HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";

#[test]
fn incomplete_head_times_out_on_every_request() {
    let server = TestServer::start();
    let head = request("GET", b"/callConfig", Some(&tokens::user()));
    let started = "GET /callConfig HTTP/1.1\r\nHost: t\r\n";
    std::thread::scope(|scope| {
        for (case, requests_before, piece) in [
            ("first, dripping lines", 0, "X: y\r\n"),
            ("second, silent", 1, ""),
            ("second, dripping lines", 1, "X: y\r\n"),
            ("third, dripping bytes", 2, "x"),
        ] {
            let (server, head) = (&server, &head);
            scope.spawn(move || {
                let mut connection = server.client().connect();
                for _ in 0..requests_before {
                    assert_eq!(connection.request(head).status, 200, "{case}");
                }
                connection.send(started.as_bytes());
                let (response, took) = connection.drip(piece.as_bytes());
                assert!(HEAD.contains(&took), "{case}: {took:?}");
                assert!(response.is_none_or(|response| response.status == 408), "{case}");
            });
        }
    });
    assert_eq!(server.client().request(&head).status, 200);
}

#[test]
fn incomplete_body_is_rejected_at_the_request_timeout() {
    let server = TestServer::with(&[("APP_SERVER__REQUEST_TIMEOUT", "1s")]);
    let unauthorized = "POST /proconfToken HTTP/1.1\r\nHost: t\r\n";
    std::thread::scope(|scope| {
        for (case, head, piece, status) in [
            ("silence", format!("{LOGIN}Content-Length: 100\r\n\r\n"), "", 408),
            ("bytes", format!("{LOGIN}Content-Length: 1000\r\n\r\n"), " ", 408),
            ("chunks", format!("{LOGIN}Transfer-Encoding: chunked\r\n\r\n"), "1\r\n \r\n", 408),
            ("a chunk's extension", format!("{LOGIN}Transfer-Encoding: chunked\r\n\r\n1;"), "x", 408),
            ("trailers", format!("{LOGIN}Transfer-Encoding: chunked\r\n\r\n0\r\n"), "X: y\r\n", 408),
            ("chunks of a rejected body", format!("{unauthorized}Transfer-Encoding: chunked\r\n\r\n"), "1\r\n \r\n", 401),
            ("a rejected body", format!("{unauthorized}Content-Length: 1000\r\n\r\n"), " ", 401),
        ] {
            let server = &server;
            scope.spawn(move || {
                let mut connection = server.client().connect();
                connection.send(head.as_bytes());
                let (response, took) = connection.drip(piece.as_bytes());
                assert_eq!(response.map(|response| response.status), Some(status), "{case}");
                assert!(took < Duration::from_millis(2_600), "{case}: {took:?}");
            });
        }
    });
}

#[test]
fn upgrade_header_does_not_change_the_response() {
    let server = TestServer::start();
    let body = r#"{"email":"unknown@example.com","password":"wrong"}"#;
    let token = tokens::user();
    for upgrade in ["websocket", "WebSocket", "h2c", "websocket, h2c"] {
        let upgrade = format!("Connection: Upgrade\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Version: 13\r\n");
        for (line, headers, body) in [
            ("GET /callConfig", format!("Authorization: Bearer {token}\r\n"), ""),
            ("GET /callConfig", String::new(), ""),
            ("GET /nowhere", String::new(), ""),
            ("POST /auth/login", format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()), body),
            ("POST /auth/login", "Content-Type: application/json\r\n".to_owned(), ""),
            ("POST /auth/logout", format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()), body),
        ] {
            let fetch = |more: &str| {
                let bytes = format!("{line} HTTP/1.1\r\nHost: t\r\n{headers}{more}\r\n{body}");
                let started = Instant::now();
                let response = server.client().request(bytes.as_bytes());
                (response.status, response.body, started.elapsed())
            };
            let (status, expected, _) = fetch("");
            assert_eq!(status == 200, headers.contains("Bearer"), "{line}: {status}");
            let (with, got, took) = fetch(&upgrade);
            assert_eq!((with, &got), (status, &expected), "{line} {upgrade}");
            assert!(took < Duration::from_secs(1), "{line} {upgrade}: {took:?}");
        }
    }
}

#[test]
fn upgrade_is_never_confirmed_and_closes_the_connection() {
    let server = TestServer::start();
    for headers in [
        "Connection: upgrade",
        "Connection: keep-alive, Upgrade",
        "Connection: Upgrade\r\nUpgrade: h2c",
        "Connection: Upgrade\r\nUpgrade: websocket",
        "Upgrade: websocket",
        "Upgrade: h2c",
    ] {
        for target in ["/health/live", "/nowhere", "/callConfig"] {
            let mut connection = server.client().connect();
            let response = connection.request(format!("GET {target} HTTP/1.1\r\nHost: t\r\n{headers}\r\n\r\n").as_bytes());
            assert_eq!(response.header("connection"), Some("close"), "{target} {headers}");
            assert_eq!(response.header("upgrade"), None, "{target} {headers}");
            assert_ne!(response.status, 101, "{target} {headers}");
            assert!(connection.read().is_none(), "{target} {headers}");
        }
    }
}

#[test]
fn head_over_the_limit_is_rejected_at_once() {
    let server = TestServer::start();
    for (case, head) in [
        ("a header of 200 KB", format!("GET /callConfig HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "x".repeat(200 << 10))),
        ("a head without an end", format!("GET /callConfig HTTP/1.1\r\nHost: t\r\n{}", "X: y\r\n".repeat(50_000))),
        ("120 headers", format!("GET /callConfig HTTP/1.1\r\nHost: t\r\n{}\r\n", "X: y\r\n".repeat(120))),
    ] {
        let mut connection = server.client().connect();
        let started = Instant::now();
        // The request behind it must be ignored.
        connection.send(&[head.as_bytes(), b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"].concat());
        let response = connection.read().unwrap_or_else(|| panic!("{case}: no response"));
        assert!([400, 431].contains(&response.status), "{case}: {response:?}");
        assert!(connection.read().is_none(), "{case}: the connection stays open");
        assert!(started.elapsed() < Duration::from_secs(2), "{case}");
    }
    let most = format!("GET /callConfig HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "x".repeat(16_000));
    server.client().request(most.as_bytes()).assert_unauthorized("a long head that is allowed");
}

#[test]
fn rejected_body_behind_expect_is_never_a_request() {
    let server = TestServer::start();
    let expect = "Expect: 100-continue\r\n";
    for (status, head) in [
        (413, format!("{LOGIN}{expect}Content-Length: 100000\r\n\r\n")),
        (413, format!("{LOGIN}{expect}Content-Length: 9223372036854775808\r\n\r\n")),
        (400, format!("POST /auth/login HTTP/1.1\r\nHost: t\r\n{expect}Content-Length: 10\r\n\r\n")),
        (401, format!("POST /proconfToken HTTP/1.1\r\nHost: t\r\n{expect}Content-Length: 10\r\n\r\n")),
        (404, format!("POST /nowhere HTTP/1.1\r\nHost: t\r\n{expect}Content-Length: 10\r\n\r\n")),
    ] {
        let mut connection = server.client().connect();
        connection.send(head.as_bytes());
        let response = connection.read().unwrap();
        let response = if response.status == 100 { connection.read().unwrap() } else { response };
        assert_eq!((response.status, response.header("connection")), (status, Some("close")), "{head}");
        assert!(connection.read().is_none(), "what was not read must not become a request: {head}");
    }
    let odd = "GET /callConfig HTTP/1.1\r\nHost: t\r\nExpect: the-unexpected\r\n\r\n";
    server.client().request(odd.as_bytes()).assert_unauthorized("an unknown expectation");
}

#[test]
fn body_over_the_limit_is_413_and_closes_the_connection() {
    let server = TestServer::start();
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    for (case, body) in [
        ("by its length", "Content-Length: 65537\r\n\r\n".to_owned()),
        ("by the largest length", "Content-Length: 9223372036854775808\r\n\r\n".to_owned()),
        ("in chunks", format!("Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}1\r\n")),
    ] {
        let mut connection = server.client().connect();
        connection.send(format!("{LOGIN}{body} ").as_bytes());
        let started = Instant::now();
        let response = connection.read().unwrap();
        // Much less than the request timeout of 30 s.
        assert!(started.elapsed() < Duration::from_secs(2), "{case}: {:?}", started.elapsed());
        response.assert_error(413, "Payload too large", case);
        assert!(connection.read().is_none(), "{case}");
    }
    // A body of exactly the limit is read.
    let mut connection = server.client().connect();
    for _ in 0..3 {
        connection.send(format!("{LOGIN}Transfer-Encoding: chunked\r\n\r\n{chunk}").as_bytes());
        connection.send(format!("{chunk}0\r\n\r\n").as_bytes());
        assert_eq!(connection.read().unwrap().status, 400);
    }
}

#[test]
fn unread_body_is_never_parsed_as_a_request() {
    let server = TestServer::start();
    let marker = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
    let length = marker.len();
    for (case, head) in [
        ("404", format!("POST /nowhere HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n")),
        ("401", format!("POST /proconfToken HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n")),
        ("GET", format!("GET /callConfig HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n")),
        ("huge", "GET /callConfig HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000000\r\n\r\n".to_owned()),
        (
            "upgrade",
            format!("GET /callConfig HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nContent-Length: {length}\r\n\r\n"),
        ),
        ("CONNECT", "CONNECT /callConfig HTTP/1.1\r\nHost: t\r\n\r\n".to_owned()),
    ] {
        let mut connection = server.client().connect();
        connection.send(&[head.as_bytes(), marker.as_bytes()].concat());
        assert!(connection.read().is_some(), "{case}");
        assert!(connection.read().is_none(), "{case}: the marker was served");
    }
    // An incomplete body is not waited for.
    for (case, target, length) in [
        ("404", "POST /nowhere", "Content-Length: 9"),
        ("GET", "GET /callConfig", "Content-Length: 9"),
        ("404, in chunks", "POST /nowhere", "Transfer-Encoding: chunked"),
        ("401, in chunks", "POST /proconfToken", "Transfer-Encoding: chunked"),
        ("GET, in chunks", "GET /callConfig", "Transfer-Encoding: chunked"),
    ] {
        let (mut connection, started) = (server.client().connect(), Instant::now());
        connection.send(format!("{target} HTTP/1.1\r\nHost: t\r\n{length}\r\n\r\n5\r\nhel").as_bytes());
        assert!(connection.read().is_some() && connection.read().is_none(), "{case}");
        assert!(started.elapsed() < Duration::from_secs(3), "{case}: {:?}", started.elapsed());
    }
}
#[test]
fn short_keep_alive_still_delivers_the_response() {
    let server = TestServer::with(&[("APP_SERVER__KEEP_ALIVE", "100ms")]);
    let token = tokens::user();
    for _ in 0..50 {
        let response = server.client().connect().request(&request("GET", b"/callConfig", Some(&token)));
        assert_eq!(response.status, 200);
    }
}

#[test]
fn requests_over_max_in_flight_are_503_without_work() {
    let server = TestServer::with(&[("APP_SERVER__MAX_IN_FLIGHT", "1")]);
    server.script.catch_up("slow", Reply::hang());
    // Requests that wait for their body do not count.
    let waiting: Vec<Connection> = (0..5)
        .map(|_| {
            let mut connection = server.client().connect();
            connection.send(format!("{LOGIN}Expect: 100-continue\r\nContent-Length: 10\r\n\r\n").as_bytes());
            assert_eq!(connection.read().unwrap().status, 100, "from here on it waits");
            connection
        })
        .collect();
    assert_eq!(server.client().get("/callConfig", Some(&tokens::user())).status, 200);
    let before = server.calls();
    let mut slow = server.client().connect();
    slow.send(&request("GET", b"/callCatchUp/slow", Some(&tokens::user())));
    while server.calls() == before {
        std::thread::yield_now();
    }
    for target in ["/callConfig", "/nowhere", "/callCatchUp/r1"] {
        let response = server.client().get(target, Some(&tokens::user()));
        response.assert_error(503, "Service unavailable", target);
        assert_eq!(response.header("retry-after"), Some("1"), "{target}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{target}");
    }
    assert_eq!(server.calls(), before + 1, "no call was made for them");
    slow.read().unwrap().assert_error(500, "Internal server error", "the request in flight");
    assert_eq!(server.client().get("/callConfig", Some(&tokens::user())).status, 200);
    drop(waiting);
}
