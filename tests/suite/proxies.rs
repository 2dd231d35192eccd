//! The nginx configurations of `deploy/`, run by nginx, and client addresses in forwarded headers.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use proconf_app_server::sandbox::Script;
use serde_json::json;

use crate::support::nginx::{CLIENT_HEADER, NAME, Nginx, NginxConnection, parse_line};
use crate::support::process::ServerProcess;
use crate::support::response::Response;
use crate::support::{SandboxServer, TestServer, tokens, wait_until};

/// The limits of one address in `deploy/nginx.conf`.
const STREAMS: usize = 500;
const AUTH_BURST: usize = 600;
const AUTH_RATE: usize = 20;

fn server() -> TestServer {
    TestServer::with(&[("APP_SERVER__TRUSTED_PROXIES", "127.0.0.1/32"), ("APP_CATCH_UP__FRESH_FOR", "60s")])
}

/// Builds a request to the served name with extra header lines.
fn request(method: &str, target: &[u8], headers: &str) -> Vec<u8> {
    let tail = format!(" HTTP/1.1\r\nHost: {NAME}\r\n{headers}\r\n");
    [method.as_bytes(), b" ", target, tail.as_bytes()].concat()
}

/// Builds a GET with a token, from this client address.
fn get(target: &str, client: &str, token: &str) -> Vec<u8> {
    let headers = format!("{CLIENT_HEADER}: {client}\r\nAuthorization: Bearer {token}\r\n");
    request("GET", target.as_bytes(), &headers)
}

fn join(connection: &mut NginxConnection, client: &str) -> Response {
    let headers = format!("{CLIENT_HEADER}: {client}\r\n");
    connection.ask(&request("GET", b"/auth/joinmember?roomName=r1", &headers)).expect("an answer")
}

/// Targets that try to forge log lines.
fn forged_targets() -> Vec<Vec<u8>> {
    let texts = [
        "/zz%20200%200.001%20forged",
        "/q\",\"status\":\"200",
        "/b\\",
        "/b\\\",\"status\":\"200\",\"x\":\"",
        "/q%22%2C%22status%22%3A%22200",
        "/line%0D%0A%7B%22status%22%3A%22200%22%7D",
        "/line%0a%0d%09%00%1f%7f",
        "/{\"a\":1}",
        "/<script>&amp;'`$uri$request_uri",
        "/\\u0022\\x22\\n",
        "/%E2%80%A8%E2%80%AE",
        "/%",
        "/%zz",
        "/a b",
        "/\u{2028}\u{202e}",
        "/zz?q=\"\\%0a",
        "http://app.example.com/absolute",
        "*",
        "",
    ];
    let bytes: [&[u8]; 3] = [b"/\xff\xfe", b"/\xc3", b"/a\x01\x1b[2Jb"];
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(bytes.iter().map(|bytes| bytes.to_vec())).collect()
}

fn assert_log_not_forged(nginx: Nginx) {
    let mut sent = Vec::new();
    for target in forged_targets() {
        let headers = "X-Request-Id: a\",\"status\":\"200\r\nUser-Agent: \"\\\r\n";
        let answer = nginx.connect().ask(&request("GET", &target, headers)).expect("an answer");
        sent.push((target, answer.status));
    }
    let answer = nginx.connect().ask(&request("GE\"T", b"/method", "")).expect("an answer");
    sent.push((Vec::new(), answer.status));
    let answer = nginx.connect().ask(&request("GET", b"/callConfig?ticket=canary", "")).expect("an answer");
    sent.push((b"/callConfig".to_vec(), answer.status));
    let lines = nginx.stop();
    assert_eq!(lines.len(), sent.len(), "one line for each request");
    for (line, (target, status)) in lines.iter().zip(&sent) {
        let parsed = parse_line(line);
        let text = String::from_utf8_lossy(target);
        assert_eq!(parsed["status"], status.to_string(), "{text}: {parsed}");
        assert_eq!(parsed["client"], "127.0.0.1", "{text}: {parsed}");
        assert!(!line.windows(6).any(|bytes| bytes == b"canary"), "{parsed}");
        for name in ["time", "method", "path", "request_time", "request_id", "upstream", "upstream_status"] {
            assert!(parsed[name].is_string(), "{name} of {text}: {parsed}");
        }
        assert_eq!(parsed.as_object().unwrap().len(), 9, "{text}: {parsed}");
    }
    assert_eq!(parse_line(&lines[0])["path"], "/zz%20200%200.001%20forged", "not decoded");
    let last = parse_line(lines.last().unwrap());
    assert_eq!((&last["path"], &last["method"]), (&json!("/callConfig"), &json!("GET")));
    assert_eq!(last["request_id"].as_str().unwrap().len(), 32, "generated: {last}");
}

#[test]
fn nginx_log_line_cannot_be_forged() {
    assert_log_not_forged(Nginx::with_tls(server().address));
}

#[test]
fn compose_nginx_log_line_cannot_be_forged() {
    assert_log_not_forged(Nginx::of_replicas(server().address));
}

#[test]
fn unknown_host_is_closed_without_a_response() {
    let server = server();
    let nginx = Nginx::with_tls(server.address);
    for name in ["evil.example", "www.app.example.com", "127.0.0.1"] {
        assert!(nginx.connect_to(name).is_err(), "{name} in the handshake");
    }
    for host in ["evil.example", "127.0.0.1", "localhost", "app.example.com.evil.example", "_", "*"] {
        let request = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert!(nginx.connect().ask(request.as_bytes()).is_none(), "{host}");
    }
    for host in [NAME, "APP.example.com", "app.example.com:443"] {
        let request = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(nginx.connect().ask(request.as_bytes()).expect("an answer").status, 200, "{host}");
    }
}

#[test]
fn version_of_nginx_is_not_sent() {
    let server = server();
    let nginx = Nginx::with_tls(server.address);
    let too_large = "Content-Length: 9999999\r\n";
    for (target, headers, status) in [("/health/live", "", 200), ("/%", "", 400), ("/auth/login", too_large, 413)] {
        let answer = nginx.connect().ask(&request("GET", target.as_bytes(), headers)).expect("an answer");
        assert_eq!((answer.status, answer.header("server")), (status, Some("nginx")), "{target}: {answer:?}");
        assert!(!answer.text().contains("nginx/"), "{answer:?}");
    }
    let mut plain = TcpStream::connect(nginx.address).unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("400") && !answer.contains("nginx/"), "plain HTTP on the TLS port: {answer}");
}

#[test]
fn nginx_sends_the_envelope_when_no_server_answers() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nginx = Nginx::with_tls(unused);
    let answer = nginx.connect().ask(&request("GET", b"/callConfig", "")).expect("an answer");
    answer.assert_error(503, "Service unavailable", "no server listens");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let line = parse_line(&nginx.stop()[0]);
    assert_eq!(line["request_id"].as_str(), answer.header("x-request-id"), "the logged id: {line}");
    assert_eq!(line["upstream_status"], "502", "{line}");
}

#[test]
fn streams_of_one_address_are_limited_and_catch_ups_are_not() {
    let server = server();
    let nginx = Nginx::with_tls(server.address);
    // Ten streams for each guest, the limit of the server.
    let guest = |_| server.client().get("/auth/joinmember?roomName=r1", None).data().as_str().unwrap().to_owned();
    let guests: Vec<String> = (0..=STREAMS / 10).map(guest).collect();
    let stream = |number: usize, client: &str| get("/callCatchUp/r1/live", client, &guests[number / 10]);
    let mut open: Vec<NginxConnection> = Vec::new();
    for number in 0..STREAMS {
        let mut connection = nginx.connect();
        let head = connection.open(&stream(number, "192.0.2.1"));
        assert!(head.starts_with("HTTP/1.1 200 "), "stream {number}: {head}");
        open.push(connection);
    }
    let rejected = nginx.connect().ask(&stream(STREAMS, "192.0.2.1")).expect("an answer");
    rejected.assert_error(429, "Too many requests", "one stream more");
    assert_eq!(rejected.header("retry-after"), Some("5"));
    assert!(nginx.connect().open(&stream(STREAMS, "192.0.2.2")).starts_with("HTTP/1.1 200 "), "another address");
    let mut reader = nginx.connect();
    for number in 0..2 * STREAMS {
        let answer = reader.ask(&get("/callCatchUp/r1", "192.0.2.1", &guests[0])).unwrap_or_else(|| {
            // nginx closes a connection after 1,000 requests.
            reader = nginx.connect();
            reader.ask(&get("/callCatchUp/r1", "192.0.2.1", &guests[0])).expect("an answer")
        });
        assert_eq!(answer.status, 200, "catch-up {number}: {answer:?}");
    }
    drop(open.pop());
    wait_until("the closed stream releases its place", || {
        nginx.connect().open(&stream(STREAMS, "192.0.2.1")).starts_with("HTTP/1.1 200 ")
    });
}

#[test]
fn auth_requests_of_one_address_are_limited_and_others_are_not() {
    let server = server();
    let nginx = Nginx::with_tls(server.address);
    let mut connection = nginx.connect();
    let (started, mut accepted) = (Instant::now(), 0);
    let rejected = loop {
        let answer = join(&mut connection, "2001:db8::1");
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 999, "no limit");
    };
    rejected.assert_error(429, "Too many requests", "beyond the burst");
    assert_eq!(rejected.header("retry-after"), Some("5"));
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    let allowed = AUTH_BURST..=AUTH_BURST + 1 + AUTH_RATE * seconds;
    assert!(allowed.contains(&accepted), "{accepted} of {allowed:?}");

    let mut other = nginx.connect();
    let neighbors = (0..100).map(|number| join(&mut other, &format!("2001:db8::{number:x}:2")).status);
    assert!(neighbors.filter(|status| *status == 429).count() > 10, "one client is a whole /64");
    assert_eq!(join(&mut other, "2001:db8:0:1::1").status, 200, "another network");
    assert_eq!(join(&mut other, "192.0.2.1").status, 200, "another address");

    let token = tokens::guest("r1");
    for number in 0..AUTH_BURST + 200 {
        let answer = other.ask(&get("/callCatchUp/r1", "2001:db8::1", &token)).expect("an answer");
        assert_eq!(answer.status, 200, "catch-up {number}: {answer:?}");
    }
}

#[test]
fn clients_with_ports_have_separate_login_limits() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::start(&sandbox.base_url, &[("APP_SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]);
    let log_in = |from: &str| {
        let headers = format!("Content-Type: application/json\r\nX-Forwarded-For: {from}\r\n");
        let body = json!({"email": "ann@example.com", "password": "a wrong one"}).to_string();
        server.client().post_as("/auth/login", &headers, body.as_bytes()).status
    };
    for (forwarded, client) in [("203.0.113.77:", "203.0.113.77"), ("[2001:db8::1]:", "2001:db8::1")] {
        let statuses: Vec<u16> = (0..12).map(|port| log_in(&format!("{forwarded}{}", 51_234 + port))).collect();
        assert_eq!(statuses, [[401; 10].as_slice(), &[429; 2]].concat(), "{client}: regardless of the port");
        server.line(0, |line| line["path"] == "/auth/login" && line["status"] == 429 && line["client"] == client);
    }
    assert_eq!(log_in("[2001:db8::1]"), 429, "brackets without a port are the same client");
    assert_eq!(log_in("203.0.113.78:51234"), 401, "another client");
}
