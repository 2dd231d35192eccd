//! Calls to Admin Control: redirects, retries, limits and encodings. `faults` has the table of faults.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::support::fake_upstream::{FakeUpstream, GOOD_DATA, GOOD_ENVELOPE, http, read_head};
use crate::support::response::Response;
use crate::support::{TestServer, tokens};
use proconf_app_server::sandbox::Reply;

/// `APP_ADMIN_CONTROL__TIMEOUT` of the test servers, with tolerance for a busy machine.
const DEADLINE: Duration = Duration::from_millis(2_300);

fn in_front_of(base_url: &str) -> TestServer {
    TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", base_url)])
}

fn fetch(server: &TestServer) -> Response {
    server.client().get("/callCatchUp/r1", Some(&tokens::user()))
}

#[track_caller]
fn assert_500(server: &TestServer, within: Duration, case: &str) {
    let started = Instant::now();
    fetch(server).assert_error(500, "Internal server error", case);
    let took = started.elapsed();
    assert!(took <= within, "{case}: {took:?}");
}

#[test]
fn timeout_is_not_retried() {
    let silent = FakeUpstream::serving(|mut stream, _| while read_head(&mut stream).is_some() {});
    assert_500(&in_front_of(&silent.base_url()), DEADLINE, "no response");
    assert_eq!(silent.connections(), 1);
}

#[test]
fn request_timeout_is_a_500_even_if_the_request_has_a_body() {
    let server = TestServer::with(&[("APP_SERVER__REQUEST_TIMEOUT", "300ms")]);
    server.script.catch_up("r1", Reply::hang());
    let request = format!(
        "GET /callCatchUp/r1 HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\n\r\nab",
        tokens::user()
    );
    server.client().request(request.as_bytes()).assert_error(500, "Internal server error", "with a body");
}

#[test]
fn redirects_are_not_followed() {
    let canary = FakeUpstream::canary();
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        for location in [
            format!("http://127.0.0.1:{}/x", canary.port),
            "/api/call-catchup/r1".to_owned(),
            "file:///etc/passwd".to_owned(),
        ] {
            let peer = FakeUpstream::with_response(format!(
                "HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            ));
            assert_500(&in_front_of(&peer.base_url()), Duration::from_secs(1), status);
            assert_eq!(peer.connections(), 1, "{status} to {location}");
        }
    }
    assert_eq!(canary.connections(), 0);
}

#[test]
fn body_over_the_limit_is_an_error() {
    let settings = [("APP_ADMIN_CONTROL__MAX_BODY_BYTES", "100")];
    let server = TestServer::with(&settings);
    let of_length = |length: usize| format!("{:?}", "x".repeat(length - r#"{"error":null,"data":""}"#.len()));
    server.script.catch_up("r1", Reply::data(&of_length(100)));
    fetch(&server).data();
    server.script.catch_up("r1", Reply::data(&of_length(101)));
    assert_500(&server, DEADLINE, "one byte too many");
}

#[test]
fn encoded_body_is_an_error() {
    // GOOD_ENVELOPE, compressed by gzip.
    let gzip = [
        0x1f, 0x8b, 0x8, 0x0, 0x0, 0x0, 0x0, 0x0, 0x2, 0x3, 0xab, 0x56, 0x4a, 0x2d, 0x2a, 0xca, 0x2f, 0x52, 0xb2, 0xca,
        0x2b, 0xcd, 0xc9, 0xd1, 0x51, 0x4a, 0x49, 0x2c, 0x49, 0x54, 0xb2, 0x52, 0x4a, 0xcf, 0xcf, 0x4f, 0x51, 0xaa, 0x5,
        0x0, 0x87, 0xfa, 0x39, 0xf2, 0x1c, 0x0, 0x0, 0x0,
    ];
    for (encoding, body) in [
        ("gzip", gzip.as_slice()),
        ("gzip", GOOD_ENVELOPE.as_bytes()),
        ("br", GOOD_ENVELOPE.as_bytes()),
        ("x", GOOD_ENVELOPE.as_bytes()),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n", body.len());
        let peer = FakeUpstream::with_response([head.as_bytes(), body].concat());
        assert_500(&in_front_of(&peer.base_url()), Duration::from_secs(1), encoding);
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: {}\r\n\r\n{GOOD_ENVELOPE}",
        GOOD_ENVELOPE.len()
    );
    fetch(&in_front_of(&FakeUpstream::with_response(head).base_url())).assert_success(GOOD_DATA);
}

#[test]
fn status_404_is_a_404_whatever_its_body() {
    for rest in [
        "Content-Length: 1000\r\n\r\nx",
        "Transfer-Encoding: chunked\r\n\r\nzz",
        "\r\n<html>",
        "Content-Length: 5000000\r\n\r\n",
    ] {
        let server = in_front_of(&FakeUpstream::with_response(format!("HTTP/1.1 404 Not Found\r\n{rest}")).base_url());
        fetch(&server).assert_error(404, "Not found", rest);
    }
}

#[test]
fn status_5xx_is_not_retried_and_not_cached() {
    let server = TestServer::start();
    server.script.catch_up("r1", Reply::body(503, "<html>the inside</html>"));
    assert_500(&server, Duration::from_secs(1), "503");
    assert_eq!(server.calls(), 1);
    server.script.catch_up("r1", Reply::data(GOOD_DATA));
    fetch(&server).assert_success(GOOD_DATA);
}

#[test]
fn calls_over_the_limit_are_rejected_and_not_queued() {
    let server = TestServer::with(&[("APP_ADMIN_CONTROL__MAX_IN_FLIGHT", "3")]);
    let slow = server.start_hanging_requests(3);
    let started = Instant::now();
    let response = fetch(&server);
    response.assert_error(503, "Service unavailable", "the fourth");
    assert_eq!(response.header("retry-after"), Some("1"));
    assert!(started.elapsed() < Duration::from_secs(1));
    for slow in slow {
        slow.join().unwrap().assert_error(500, "Internal server error", "timed out");
    }
    fetch(&server).assert_success(r#""r1""#);
}

#[test]
fn base_url_may_end_in_slashes() {
    for end in ["", "/", "//"] {
        let peer = FakeUpstream::serving(|mut stream, _| {
            let head = read_head(&mut stream).unwrap();
            let target = head.split(' ').nth(1).unwrap();
            stream.write_all(http("200 OK", &format!(r#"{{"error":null,"data":{target:?}}}"#)).as_bytes()).unwrap();
        });
        let server = in_front_of(&format!("http://localhost:{}/deep/api{end}", peer.port));
        fetch(&server).assert_success(r#""/deep/api/call-catchup/r1""#);
    }
}
