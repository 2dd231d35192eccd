//! Request framing: a proxy and this server must agree on where a request ends.
//!
//! A marker request follows each malformed one. It must be served only if the one before it was complete and valid.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Connection, request};
use crate::support::{TestServer, tokens};

const MARKER: &str = "GET /smuggled HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
const POST: &str = "POST /auth/logout HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";
const GET: &str = "GET /nowhere HTTP/1.1\r\n";

/// Returns the statuses of all responses up to the end of the connection.
fn statuses(client: Client, bytes: &[u8]) -> Vec<u16> {
    let mut connection = client.connect();
    connection.send(bytes);
    std::iter::from_fn(|| connection.read()).map(|response| response.status).collect()
}

/// Asserts that the message is rejected and the connection closed before the marker.
fn assert_rejected(server: &TestServer, case: &str, message: impl AsRef<[u8]>) {
    let all = [message.as_ref(), MARKER.as_bytes()].concat();
    let started = Instant::now();
    let got = statuses(server.client(), &all);
    assert!(matches!(got[..], [400 | 431 | 501 | 505]), "{case}: {got:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{case}: {:?}", started.elapsed());
    assert_eq!(server.client().request(&request("GET", b"/health/live", None)).status, 200, "{case}");
    assert_eq!(server.calls(), 0, "{case}");
}

#[test]
fn ambiguous_content_length_is_rejected() {
    let server = TestServer::start();
    for length in ["3, 3", "+3", "-1", "-0", "0x3", "3_0", "", "3 0", "3;", "18446744073709551616", "99999999999999999999"] {
        assert_rejected(&server, length, format!("{POST}Content-Length: {length}\r\n\r\nabc"));
    }
    for second in ["3", "4"] {
        assert_rejected(&server, second, format!("{POST}Content-Length: 3\r\nContent-Length: {second}\r\n\r\nabc"));
    }
    for both in ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"] {
        assert_rejected(&server, both, format!("{POST}{both}\r\n\r\n0\r\n\r\n"));
    }
    // Leading zeros do not make it octal.
    let got = statuses(server.client(), format!("{POST}Content-Length: 003\r\n\r\n{{ }}{MARKER}").as_bytes());
    assert!(matches!(got[..], [400] | [400, 404]), "{got:?}");
}

#[test]
fn transfer_coding_other_than_chunked_is_rejected() {
    let server = TestServer::start();
    for coding in [
        "xchunked",
        "chunked, identity",
        "identity",
        "gzip, chunked",
        "\x0bchunked",
        "chunked\0",
        "",
        ", chunked",
        "chunked;a=b",
        "chunked, chunked",
        "\"chunked\"",
        "chunked\r\nTransfer-Encoding: chunked",
        "identity\r\nTransfer-Encoding: chunked",
    ] {
        assert_rejected(&server, coding, format!("{POST}Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"));
    }
    let old = POST.replace("HTTP/1.1", "HTTP/1.0");
    assert_rejected(&server, "HTTP/1.0", format!("{old}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
}

#[test]
fn ambiguous_chunk_is_rejected() {
    let server = TestServer::start();
    let mut accepted = Vec::new();
    for body in [
        "0x3\r\nabc\r\n",
        "+3\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "-3\r\nabc\r\n",
        "\r\nabc\r\n",
        "3_0\r\nabc\r\n",
        "3\nabc\r\n",
        "3\r\nabc\n",
        "3\r\nabc",
        "3\r\nabcd\r\n",
        "3;a\nb\r\nabc\r\n",
        "3;a\0b\r\nabc\r\n",
        "3;a\rb\r\nabc\r\n",
        "fffffffffffffffff\r\nabc\r\n",
        "0\n\r\n",
    ] {
        let end = if body.starts_with("0\n") || body.starts_with("0\r\n") { "" } else { "0\r\n\r\n" };
        let all = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}{end}{MARKER}");
        let got = statuses(server.client(), all.as_bytes());
        if !matches!(got[..], [400]) {
            accepted.push((body, got));
        }
    }
    assert_eq!(accepted, []);
    assert_eq!(server.client().request(&request("GET", b"/health/live", None)).status, 200);
}

#[test]
fn trailers_are_ignored() {
    let server = TestServer::start();
    for trailer in [
        "Content-Length: 100",
        "Transfer-Encoding: chunked",
        "Host: evil",
        "Authorization: Bearer x",
        "Content-Type: text/plain",
    ] {
        let all =
            format!("{POST}Transfer-Encoding: chunked\r\n\r\n14\r\n{{\"refreshToken\":\"x\"}}\r\n0\r\n{trailer}\r\n\r\n");
        let mut connection = server.client().connect();
        assert_eq!(connection.request(all.as_bytes()).status, 200, "{trailer}");
        assert_eq!(connection.request(MARKER.as_bytes()).status, 404, "{trailer}: its body ended where it ended");
    }
}

#[test]
fn malformed_head_is_rejected() {
    let server = TestServer::start();
    for lines in [
        "Host : t",
        "Host: t\r\n: x",
        "Host: t\r\nno colon",
        "Host: t\r\nX\0: y",
        "Host: t\r\nX: a\0b",
        "Host: t\r\nX: a\rb",
        "Host: t\r\nX: a\x01b",
        "Host: t\r\nX: a\x7fb",
        " Host: t",
        "Host: t\r\nX: a\r\n folded",
        "Host: t\r\nX: a\r\n\tfolded",
        "Host: t\r\nTransfer-Encoding:\r\n chunked",
        "Host: t\r\nAuthorization : Bearer x",
        "Host: t\r\n\x0bX: y",
    ] {
        assert_rejected(&server, lines, format!("{GET}{lines}\r\n\r\n"));
    }
    for line in [
        "GET /nowhere HTTP/1.2",
        "GET /nowhere http/1.1",
        "GET /nowhere HTTP/01.1",
        "GET /nowhere HTTP/1.1.1",
        "GET /nowhere HTTP/2.0",
        "GET /nowhere HTTP/0.9",
        "GET /nowhere",
        "GET  /nowhere HTTP/1.1",
        "GET /nowhere  HTTP/1.1",
        "GET\t/nowhere HTTP/1.1",
        "GET /no where HTTP/1.1",
        "GET /nowhere HTTP/1.1 ",
        " GET /nowhere HTTP/1.1",
        "G<T /nowhere HTTP/1.1",
        "",
        "x",
    ] {
        assert_rejected(
            &server,
            line,
            format!("{line}\r\nHost: t\r\n{}", if line.is_empty() { "no colon\r\n\r\n" } else { "\r\n" }),
        );
    }
    assert_rejected(&server, "HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_rejected(&server, "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n");
    assert_rejected(&server, "bytes in the target", b"GET /\xff\xfe HTTP/1.1\r\nHost: t\r\n\r\n".as_slice());
}

#[test]
fn missing_repeated_or_malformed_host_is_rejected() {
    let server = TestServer::start();
    for host in
        ["", " ", "a, b", "a,b", "user@t", "user:p@t", "t/path", "http://t", "t:80:80", "t:x", "t?q", "t#f", "[::1", "::1"]
    {
        assert_rejected(&server, host, format!("{GET}Host: {host}\r\n\r\n"));
    }
    assert_rejected(&server, "none", format!("{GET}X: y\r\n\r\n"));
    for second in ["t", "evil"] {
        assert_rejected(&server, second, format!("{GET}Host: t\r\nHost: {second}\r\n\r\n"));
    }
    for host in ["t", "evil.example:1", "[::1]:80", "127.0.0.1"] {
        let got = statuses(server.client(), format!("{GET}Host: {host}\r\nConnection: close\r\n\r\n").as_bytes());
        assert_eq!(got, [404], "{host}");
    }
    let token = tokens::user();
    let whole = |url: &str| format!("GET {url} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n");
    for url in ["http://evil/callConfig", "https://t:1/callConfig", "http://evil@t/callConfig", "ftp://t/callConfig"] {
        assert_rejected(&server, url, format!("{}\r\n", whole(url)));
    }
    let own = format!("{}Connection: close\r\n\r\n", whole("http://t/callConfig"));
    assert_eq!(
        statuses(server.client(), own.as_bytes()),
        [200],
        "a server takes a whole URL of its own (RFC 9112 section 3.2.2)"
    );
    for line in ["GET http://evil/nowhere HTTP/1.1", "GET evil:80 HTTP/1.1", "GET * HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        let got = statuses(server.client(), format!("{line}\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(matches!(got[..], [400 | 404]), "{line}: {got:?}");
    }
}

#[test]
fn lookalike_header_name_is_ignored() {
    let server = TestServer::start();
    let length = MARKER.len();
    for line in
        [format!("Content_Length: {length}"), "Transfer_Encoding: chunked".to_owned(), format!("X-Content-Length: {length}")]
    {
        let mut connection = server.client().connect();
        connection.send(format!("{GET}Host: t\r\n{line}\r\n\r\n{MARKER}").as_bytes());
        assert_eq!(
            [connection.read().unwrap().status, connection.read().unwrap().status],
            [404, 404],
            "{line}: the request has no body"
        );
    }
    let token = tokens::user();
    let both = format!(
        "GET /callConfig HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    assert_eq!(server.client().request(both.as_bytes()).status, 401, "two tokens");
}

#[test]
fn bodiless_response_leaves_the_next_one_intact() {
    let server = TestServer::start();
    let token = tokens::user();
    let etag = server.client().get("/callConfig", Some(&token)).header("etag").unwrap().to_owned();
    let mut connection = server.client().connect();
    let cached =
        format!("GET /callConfig HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nIf-None-Match: {etag}\r\n\r\n");
    let last = "GET /nowhere HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    connection.send(format!("{cached}HEAD /health/live HTTP/1.1\r\nHost: t\r\n\r\n{last}").as_bytes());
    let raw = connection.read_to_end();
    let starts: Vec<&str> = raw.split("HTTP/1.1 ").skip(1).map(|response| &response[..3]).collect();
    assert_eq!(starts, ["304", "200", "404"], "{raw}");
    assert_eq!(raw.matches("{\"data\":null").count(), 1, "only the last has a body: {raw}");
}

#[test]
fn expect_header_does_not_change_the_response() {
    let server = TestServer::start();
    for expect in ["Expect: 100-continue", "Expect: foo, 100-continue", "Expect: foo\r\nExpect: 100-continue"] {
        for (length, status) in [(100_000, 413), (20, 200)] {
            let mut connection = server.client().connect();
            connection.send(format!("{POST}{expect}\r\nContent-Length: {length}\r\n\r\n").as_bytes());
            let mut response = connection.read().unwrap();
            if response.status == 100 {
                connection.send(br#"{"refreshToken":"x"}"#);
                response = connection.read().unwrap();
            }
            assert_eq!(response.status, status, "{expect}, {length} bytes");
        }
    }
}

/// The marker is in the same write as a request that closes its connection.
#[test]
fn request_behind_the_last_one_is_ignored() {
    let server = TestServer::start();
    for last in ["Host: t\r\nConnection: close", "Host: a, b", "Host: t\r\nConnection: upgrade"] {
        let got = statuses(server.client(), format!("{GET}{last}\r\n\r\n{MARKER}").as_bytes());
        assert!(matches!(got[..], [404 | 400]), "{last}: {got:?}");
    }
}

#[test]
fn http_1_0_client_gets_an_unchunked_stream() {
    let server = TestServer::start();
    let mut connection: Connection = server.client().connect();
    let token = tokens::user();
    let head =
        format!("GET /callCatchUp/r1/live HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.send(head.as_bytes());
    let begun = connection.read_raw(|text| text.contains("data: "));
    assert!(begun.starts_with("HTTP/1.0 200 ") || begun.starts_with("HTTP/1.1 200 "), "{begun}");
    let (head, body) = begun.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(!head.contains("transfer-encoding") && !head.contains("keep-alive"), "{head}");
    assert!(body.starts_with("retry: "), "no chunk's size before it: {body}");
}
