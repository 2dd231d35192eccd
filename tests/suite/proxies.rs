//! The proxy configurations of `deploy/`, run by nginx and HAProxy, and client addresses in forwarded headers.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Instant;

use proconf_app_server::sandbox::Script;
use serde_json::{Value, json};

use crate::support::fake_upstream::{FakeUpstream, http, read_head};
use crate::support::process::ServerProcess;
use crate::support::proxy::{CLIENT_HEADER, NAME, Proxy, ProxyConnection, ProxyKind, parse_line};
use crate::support::response::Response;
use crate::support::{SandboxServer, TestServer, tokens, wait_until};

/// The limits of one address in `deploy/nginx.conf` and `deploy/haproxy.cfg`.
const STREAMS: usize = 500;
const AUTH_BURST: usize = 600;
const AUTH_RATE: usize = 20;
/// Requests until a limit must have applied; fewer than a new client may send.
const ATTEMPTS: usize = 500;

/// The proxies that terminate TLS and have limits.
const WITH_TLS: [ProxyKind; 2] = [ProxyKind::Nginx, ProxyKind::Haproxy];

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

fn join(connection: &mut ProxyConnection, client: &str) -> Response {
    let headers = format!("{CLIENT_HEADER}: {client}\r\n");
    connection.request(&request("GET", b"/auth/joinmember?roomName=r1", &headers)).expect("a response")
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

/// Stops a proxy; returns the lines of its access log, without those of failed handshakes.
fn request_lines(proxy: Proxy) -> Vec<Value> {
    let lines = proxy.stop();
    // HAProxy logs its own stop as text.
    let lines = lines.iter().filter(|line| !line.starts_with(b"Proxy proconf stopped")).map(|line| parse_line(line));
    lines.filter(|line| line["status"] != "0").collect()
}

fn assert_log_not_forged(kind: ProxyKind) {
    let server = server();
    let proxy = Proxy::start(kind, &[server.address]);
    let mut sent = Vec::new();
    for target in forged_targets() {
        let headers = "X-Request-Id: a\",\"status\":\"200\r\nUser-Agent: \"\\\r\n";
        let response = proxy.connect().request(&request("GET", &target, headers)).expect("a response");
        sent.push((target, response.status));
    }
    let response = proxy.connect().request(&request("GE\"T", b"/method", "")).expect("a response");
    sent.push((Vec::new(), response.status));
    let response = proxy.connect().request(&request("GET", b"/callConfig?ticket=canary", "")).expect("a response");
    sent.push((b"/callConfig".to_vec(), response.status));
    let lines = request_lines(proxy);
    assert_eq!(lines.len(), sent.len(), "one line for each request: {lines:#?}");
    for (parsed, (target, status)) in lines.iter().zip(&sent) {
        let text = String::from_utf8_lossy(target);
        assert_eq!(parsed["status"], status.to_string(), "{text}: {parsed}");
        assert_eq!(parsed["client"], "127.0.0.1", "{text}: {parsed}");
        assert!(!parsed.to_string().contains("canary"), "{parsed}");
        let extra_fields =
            if kind == ProxyKind::Haproxy { ["request_ms", "termination"] } else { ["request_time", "upstream_status"] };
        for name in ["time", "method", "path", "request_id", "upstream"].into_iter().chain(extra_fields) {
            assert!(parsed[name].is_string(), "{name} of {text}: {parsed}");
        }
        assert_eq!(parsed.as_object().unwrap().len(), 9, "{text}: {parsed}");
    }
    assert_eq!(lines[0]["path"], "/zz%20200%200.001%20forged", "not decoded");
    let last = lines.last().unwrap();
    assert_eq!((&last["path"], &last["method"]), (&json!("/callConfig"), &json!("GET")));
    assert_eq!(last["request_id"].as_str().unwrap().len(), 32, "generated: {last}");
}

#[test]
fn nginx_log_line_cannot_be_forged() {
    assert_log_not_forged(ProxyKind::Nginx);
}

#[test]
fn compose_nginx_log_line_cannot_be_forged() {
    assert_log_not_forged(ProxyKind::ComposeNginx);
}

#[test]
fn haproxy_log_line_cannot_be_forged() {
    assert_log_not_forged(ProxyKind::Haproxy);
}

#[test]
fn unknown_host_is_closed_without_a_response() {
    let server = server();
    for proxy in WITH_TLS.map(|kind| Proxy::start(kind, &[server.address])) {
        let kind = proxy.kind;
        for name in ["evil.example", "www.app.example.com", "127.0.0.1"] {
            assert!(proxy.connect_to(name).is_err(), "{kind:?}: {name} in the handshake");
        }
        let fetch = |host: &str| {
            let request = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n");
            proxy.connect().request(request.as_bytes())
        };
        for host in ["evil.example", "127.0.0.1", "localhost", "app.example.com.evil.example", "_", "*"] {
            assert!(fetch(host).is_none(), "{kind:?}: {host}");
        }
        for host in [NAME, "APP.example.com", "app.example.com:443"] {
            assert_eq!(fetch(host).expect("a response").status, 200, "{kind:?}: {host}");
        }
    }
}

#[test]
fn version_of_nginx_is_not_sent() {
    let server = server();
    let nginx = Proxy::start(ProxyKind::Nginx, &[server.address]);
    let too_large = "Content-Length: 9999999\r\n";
    for (target, headers, status) in [("/health/live", "", 200), ("/%", "", 400), ("/auth/login", too_large, 413)] {
        let response = nginx.connect().request(&request("GET", target.as_bytes(), headers)).expect("a response");
        assert_eq!((response.status, response.header("server")), (status, Some("nginx")), "{target}: {response:?}");
        assert!(!response.text().contains("nginx/"), "{response:?}");
    }
    let mut plain = TcpStream::connect(nginx.address).unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut response = String::new();
    plain.read_to_string(&mut response).unwrap();
    assert!(response.contains("400") && !response.contains("nginx/"), "plain HTTP on the TLS port: {response}");
}

#[test]
fn haproxy_does_not_name_itself() {
    let server = server();
    let proxy = Proxy::start(ProxyKind::Haproxy, &[server.address]);
    let too_large = "Content-Type: application/json\r\nContent-Length: 9999999\r\n";
    let requests: [(&str, &[u8], &str, u16); 3] =
        [("GET", b"/health/live", "", 200), ("GET", b"/\xff", "", 400), ("POST", b"/auth/login", too_large, 413)];
    for (method, target, headers, status) in requests {
        let response = proxy.connect().request(&request(method, target, headers)).expect("a response");
        assert_eq!((response.status, response.header("server")), (status, None), "{response:?}");
        assert!(!format!("{response:?}").to_lowercase().contains("haproxy"), "{response:?}");
    }
}

#[test]
fn envelope_is_sent_when_no_server_responds() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closing = FakeUpstream::with_response("");
    for (kind, server) in WITH_TLS
        .into_iter()
        .flat_map(|kind| [unused, format!("127.0.0.1:{}", closing.port).parse().unwrap()].map(|server| (kind, server)))
    {
        let proxy = Proxy::start(kind, &[server]);
        let response = proxy.connect().request(&request("GET", b"/callConfig", "")).expect("a response");
        response.assert_error(503, "Service unavailable", "no server responds");
        assert_eq!(response.header("retry-after"), Some("1"), "{kind:?}");
        let line = &request_lines(proxy)[0];
        assert_eq!(line["request_id"].as_str(), response.header("x-request-id"), "the logged id: {line}");
    }
}

#[test]
fn get_with_a_ticket_or_invitation_is_sent_once_by_haproxy() {
    let (sender, sent) = mpsc::channel();
    let servers = [(); 2].map(|()| {
        let sender = sender.clone();
        // A crash: the connection ends after the request. Health checks get a response.
        let crashing = FakeUpstream::serving(move |mut stream, _| {
            let head = read_head(&mut stream).unwrap_or_default();
            if head.starts_with("GET /health/ready ") {
                let _ = stream.write_all(http("200 OK", "{}").as_bytes());
            } else {
                let _ = sender.send(head);
            }
        });
        format!("127.0.0.1:{}", crashing.port).parse().unwrap()
    });
    let proxy = Proxy::start(ProxyKind::Haproxy, &servers);
    for (target, times) in [
        ("/callCatchUp/r1", 3),
        ("/callCatchUp/r1/live?ticket=t", 1),
        ("/callCatchUp/r1/%6cive?ticket=t", 1),
        ("/auth/joinmember?invitation=i", 1),
    ] {
        let response = proxy.connect().request(&request("GET", target.as_bytes(), "")).expect("a response");
        response.assert_error(503, "Service unavailable", target);
        assert_eq!(sent.try_iter().count(), times, "{target}");
    }
}

#[test]
fn streams_of_one_address_are_limited_by_nginx() {
    assert_streams_limited(ProxyKind::Nginx);
}

#[test]
fn streams_of_one_address_are_limited_by_haproxy() {
    assert_streams_limited(ProxyKind::Haproxy);
}

/// Asserts that streams of one address are limited, and that catch-ups are not.
fn assert_streams_limited(kind: ProxyKind) {
    let server = server();
    let proxy = Proxy::start(kind, &[server.address]);
    // Ten streams for each guest, the limit of the server.
    let guest = |_| server.client().get("/auth/joinmember?roomName=r1", None).data().as_str().unwrap().to_owned();
    let guests: Vec<String> = (0..=STREAMS / 10).map(guest).collect();
    let stream = |number: usize, client: &str| get("/callCatchUp/r1/live", client, &guests[number / 10]);
    let mut open: Vec<ProxyConnection> = Vec::new();
    for number in 0..STREAMS {
        let mut connection = proxy.connect();
        let head = connection.open(&stream(number, "192.0.2.1"));
        assert!(head.starts_with("HTTP/1.1 200 "), "stream {number}: {head}");
        open.push(connection);
    }
    let rejected = proxy.connect().request(&stream(STREAMS, "192.0.2.1")).expect("a response");
    rejected.assert_error(429, "Too many requests", "one stream more");
    assert_eq!(rejected.header("retry-after"), Some("5"));
    assert!(proxy.connect().open(&stream(STREAMS, "192.0.2.2")).starts_with("HTTP/1.1 200 "), "another address");
    let mut reader = proxy.connect();
    for number in 0..2 * STREAMS {
        let response = reader.request(&get("/callCatchUp/r1", "192.0.2.1", &guests[0])).unwrap_or_else(|| {
            // nginx closes a connection after 1,000 requests.
            reader = proxy.connect();
            reader.request(&get("/callCatchUp/r1", "192.0.2.1", &guests[0])).expect("a response")
        });
        assert_eq!(response.status, 200, "catch-up {number}: {response:?}");
    }
    drop(open.pop());
    // HAProxy notices the end of a client at the next comments, which is up to 30 s later.
    if kind == ProxyKind::Nginx {
        wait_until("the closed stream releases its slot", || {
            proxy.connect().open(&stream(STREAMS, "192.0.2.1")).starts_with("HTTP/1.1 200 ")
        });
    }
}

#[test]
fn auth_requests_of_one_address_are_limited_by_nginx() {
    assert_auth_limited(ProxyKind::Nginx);
}

#[test]
fn auth_requests_of_one_address_are_limited_by_haproxy() {
    assert_auth_limited(ProxyKind::Haproxy);
}

/// Asserts that requests to `/auth/` of one address are limited, and that others are not.
fn assert_auth_limited(kind: ProxyKind) {
    let server = server();
    let proxy = Proxy::start(kind, &[server.address]);
    let mut connection = proxy.connect();
    let (started, mut accepted) = (Instant::now(), 0);
    let rejected = loop {
        let response = join(&mut connection, "2001:db8::1");
        if response.status != 200 {
            break response;
        }
        accepted += 1;
        assert!(accepted < 999, "no limit");
    };
    rejected.assert_error(429, "Too many requests", "beyond the burst");
    assert_eq!(rejected.header("retry-after"), Some("5"));
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    let allowed = AUTH_BURST..=AUTH_BURST + 1 + AUTH_RATE * seconds;
    assert!(allowed.contains(&accepted), "{accepted} of {allowed:?}");

    let headers = format!("{CLIENT_HEADER}: 2001:db8::1\r\n");
    // On one connection, because TLS handshakes may be slower than the limit's refill.
    let mut connection = proxy.connect();
    let encoded = (0..ATTEMPTS).map(|_| {
        let response = connection.request(&request("GET", b"/%61uth/joinmember?roomName=r1", &headers));
        response.expect("a response").status
    });
    assert!(encoded.filter(|status| *status == 429).nth(10).is_some(), "the path is decoded, as by the server");
    let mut other = proxy.connect();
    let neighbors = (0..ATTEMPTS).map(|number| join(&mut other, &format!("2001:db8::{number:x}:2")).status);
    assert!(neighbors.filter(|status| *status == 429).nth(10).is_some(), "one client is a whole /64");
    assert_eq!(join(&mut other, "2001:db8:0:1::1").status, 200, "another network");
    assert_eq!(join(&mut other, "192.0.2.1").status, 200, "another address");

    let token = tokens::guest("r1");
    for number in 0..AUTH_BURST + 200 {
        let response = other.request(&get("/callCatchUp/r1", "2001:db8::1", &token)).expect("a response");
        assert_eq!(response.status, 200, "catch-up {number}: {response:?}");
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
