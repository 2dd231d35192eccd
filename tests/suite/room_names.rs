//! Room names forwarded to Admin Control: one path segment with exactly the client's bytes, or no call.
//!
//! The oracle (`check_outcome`) follows the contract alone and shares no code with the server's decoder.

use std::cell::{Cell, RefCell};

use crate::support::client::{Connection, request};
use crate::support::response::Response;
use crate::support::{TestServer, tokens};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use unicode_normalization::UnicodeNormalization as _;

/// Names as written in a path that must never reach Admin Control.
const REFUSED: &[&str] = &[
    ".",
    "..",
    "%2e",
    "%2E",
    "%2e%2e",
    "%2E%2e",
    ".%2e",
    "%2e.",
    "%252e",
    "%252e%252e",
    "%25252e%25252e",
    "%2525252525252e",
    "%c0%ae",
    "%c0%ae%c0%ae",
    "%2f",
    "%2F",
    "%252f",
    "%252F",
    "%25252f",
    "a%2fb",
    "%2e%2e%2fconfiguration",
    "..%2fconfiguration",
    "%2e%2e/x%2f",
    "..%252fmeetings",
    "%252e%252e%252fmeetings",
    "%5c",
    "%255c",
    "a%5cb",
    "..%5c..%5cx",
    "\\",
    "a\\b",
    "%00",
    "a%00",
    "%2500",
    "a%2500b",
    "%01",
    "%1f",
    "%7f",
    "%09",
    "a%09b",
    "%0a",
    "a%0ab",
    "%0d",
    "%0d%0a",
    "%0d%0aX-Injected:%20y",
    "%250d%250a",
    "r1%0d%0aHost:%20x",
    "%c2%80",
    "%c2%85",
    "%c2%9f",
    "%25c2%2585",
    "%ff",
    "%fe%ff",
    "%80",
    "a%80b",
    "%c3",
    "%c3%28",
    "%e2%82",
    "%e2%28%a1",
    "%f0%9f%8e",
    "%ed%a0%80",
    "%ed%bf%bf",
    "%c0%af",
    "%c1%9c",
    "%e0%80%af",
    "%f0%80%80%af",
    "%f8%88%80%80%80",
    "%f4%90%80%80",
    "%",
    "%%",
    "a%",
    "%2",
    "%zz",
    "%g0",
    "%0g",
    "%u002f",
    "%u0041",
    "%%32%66",
    "%2%66",
    "%%2e",
    "%+2e",
    "..;",
    "..;x=1",
    ".;",
    "%2e%2e%3bx",
    "..%3b",
    "%252e%252e%253b",
    "..%253b",
    "%252e%252e;",
    "%2e%252e",
    "%25%32%65%25%32%65",
    "%25C2%252585",
    "a%25C2%25252585b",
    "%2525c2%252580",
    "%25%35%63",
    "*",
    "%2a",
    "%2A",
    "%252a",
    "%25252A",
    "*;",
    "*;x=1",
    "%2a%3bx",
    "%EF%BC%8A",
    "%25EF%25BC%258A",
    "%EF%B9%A1",
    "*%EF%BC%9Bx",
    "%EF%BC%8E",
    "%EF%BC%8E%EF%BC%8E",
    "%E2%80%A4.",
    "%E2%80%A5",
    "%EF%B9%92",
    "%EF%BC%8F",
    "a%EF%BC%8Fb",
    "%25EF%25BC%258F",
    "%2525EF%2525BC%25258F",
    "%EF%BC%BC",
    "%EF%B9%A8",
    "%E2%84%80",
    "%E2%84%85",
    "%EF%BC%852f",
    "%EF%BC%85%EF%BC%92%EF%BC%A6",
    "%EF%B9%AA2e",
    "%252f%CC%87",
];

/// Names as written in a path, and the room each means.
const ACCEPTED: &[(&str, &str)] = &[
    ("r1", "r1"),
    ("R1", "R1"),
    ("testRoom", "testRoom"),
    ("...", "..."),
    ("....", "...."),
    ("..a", "..a"),
    ("a..", "a.."),
    (".a", ".a"),
    ("a.b", "a.b"),
    ("%20a", " a"),
    ("a%20", "a "),
    ("a%20b", "a b"),
    ("%20%20a", "  a"),
    ("+", "+"),
    ("a+b", "a+b"),
    ("%2B", "+"),
    ("a%3fb", "a?b"),
    ("%3F", "?"),
    ("a%23b", "a#b"),
    ("%23", "#"),
    ("a;b", "a;b"),
    (";", ";"),
    (";..", ";.."),
    ("a%3Bb", "a;b"),
    ("a=b", "a=b"),
    ("a&b", "a&b"),
    ("a:b", "a:b"),
    ("@", "@"),
    ("a,b", "a,b"),
    ("$", "$"),
    ("!", "!"),
    ("**", "**"),
    ("*a", "*a"),
    ("a*", "a*"),
    ("%20*", " *"),
    ("'", "'"),
    ("(a)", "(a)"),
    ("a~b", "a~b"),
    ("-", "-"),
    ("_", "_"),
    ("%25", "%"),
    ("100%25", "100%"),
    ("50%25%20off", "50% off"),
    ("%25zz", "%zz"),
    ("%25FF", "%FF"),
    ("%25u002f", "%u002f"),
    ("%2541", "%41"),
    ("%22", "\""),
    ("%3Cscript%3E", "<script>"),
    ("%60", "`"),
    ("%7Bid%7D", "{id}"),
    ("%7C", "|"),
    ("%5Ba%5D", "[a]"),
    ("%5E", "^"),
    ("%D0%BA%D0%BE%D0%BC%D0%BD%D0%B0%D1%82%D0%B0", "комната"),
    ("%d0%ba", "к"),
    ("%E4%BC%9A%E8%AD%B0", "会議"),
    ("%D8%BA%D8%B1%D9%81%D8%A9", "غرفة"),
    ("%E2%80%AEabc", "\u{202e}abc"),
    ("%E2%80%8F", "\u{200f}"),
    ("%F0%9F%8E%A5", "🎥"),
    ("%F0%9F%91%A9%E2%80%8D%F0%9F%91%A7", "👩\u{200d}👧"),
    ("%EF%BC%8E%EF%BC%8E%EF%BC%8E", "．．．"),
    ("a%EF%BC%8E", "a．"),
    ("%EF%BC%85", "％"),
    ("%C2%BD", "½"),
    ("%E2%81%84", "⁄"),
    ("%C3%A9", "é"),
    ("e%CC%81", "e\u{301}"),
    ("%E2%80%8B", "\u{200b}"),
    ("%C2%A0", "\u{a0}"),
    ("%E3%80%80", "\u{3000}"),
    ("%EF%BB%BFr1", "\u{feff}r1"),
    ("%EF%BF%BD", "\u{fffd}"),
    ("%F4%8F%BF%BF", "\u{10ffff}"),
    ("configuration", "configuration"),
    ("meetings", "meetings"),
    ("null", "null"),
    ("undefined", "undefined"),
    ("0", "0"),
    ("%3Aroom_name", ":room_name"),
    ("r1.json", "r1.json"),
    ("http%3A", "http:"),
    ("a%E2%80%A8b", "a\u{2028}b"),
    ("roomName=r2", "roomName=r2"),
];

/// The response to one request, and the calls that it caused.
struct Outcome {
    response: Response,
    targets: Vec<String>,
}

struct RoomClient {
    server: TestServer,
    connection: Connection,
    token: String,
}

impl RoomClient {
    fn new() -> Self {
        let server = TestServer::start();
        let connection = server.client().connect();
        Self { server, connection, token: tokens::user() }
    }

    fn fetch(&mut self, target: &[u8]) -> Outcome {
        let before = self.server.calls();
        self.connection.send(&request("GET", target, Some(&self.token)));
        // The parser's own 400 closes the connection.
        let response = self.connection.read().expect("a response");
        if response.header("connection") == Some("close") || response.body.is_empty() {
            self.connection = self.server.client().connect();
        }
        let targets = self.server.script.requests()[before..].iter().map(|call| call.target.clone()).collect();
        Outcome { response, targets }
    }

    fn in_path(&mut self, raw: &[u8]) -> Outcome {
        self.fetch(&[b"/callCatchUp/", raw].concat())
    }

    fn in_query(&mut self, raw: &[u8]) -> Outcome {
        self.fetch(&[b"/callCatchUp?roomName=", raw].concat())
    }
}

/// Checks the property: rejected without a call, or one call to this endpoint with exactly these bytes.
fn check_outcome(outcome: &Outcome, room: Option<&[u8]>) -> Result<(), String> {
    let Outcome { response, targets } = outcome;
    if targets.is_empty() {
        let rejected = matches!(response.status, 400 | 404);
        return if rejected { Ok(()) } else { Err(format!("no call, but status {}", response.status)) };
    }
    let [target] = targets.as_slice() else {
        return Err(format!("several calls: {targets:?}"));
    };
    let segment = target.strip_prefix("/api/call-catchup/").ok_or(format!("another endpoint: {target}"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    if segment.is_empty() || !segment.bytes().all(plain) {
        return Err(format!("not one plain segment: {target}"));
    }
    let (Some(sent), Some(room)) = (strictly_decoded(segment.as_bytes()), room) else {
        return Err(format!("an invalid name was forwarded: {target}"));
    };
    if sent != room {
        return Err(format!("another room: {target}"));
    }
    survives_decoding_again(sent)
}

/// Checks that a proxy that decodes and normalises again still sees one segment and no wildcard.
fn survives_decoding_again(mut name: Vec<u8>) -> Result<(), String> {
    for _ in 0..10 {
        let read = String::from_utf8_lossy(&name).into_owned();
        for read in [read.nfkc().collect(), read] {
            let until_parameter = read.split(';').next().unwrap_or_default();
            if [".", "..", "*"].contains(&until_parameter)
                || read.contains(|c: char| c == '/' || c == '\\' || c.is_control())
            {
                return Err(format!("another segment after decoding: {read}"));
            }
        }
        name = leniently_decoded(&name);
    }
    Ok(())
}

fn hex(byte: Option<&u8>) -> Option<u8> {
    let digit = (*byte? as char).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn strictly_decoded(raw: &[u8]) -> Option<Vec<u8>> {
    let (mut decoded, mut at) = (Vec::new(), 0);
    while let Some(&byte) = raw.get(at) {
        if byte == b'%' {
            decoded.push(hex(raw.get(at + 1))? * 16 + hex(raw.get(at + 2))?);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    Some(decoded)
}

fn leniently_decoded(raw: &[u8]) -> Vec<u8> {
    let (mut decoded, mut at) = (Vec::new(), 0);
    while let Some(&byte) = raw.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, hex(raw.get(at + 1)), hex(raw.get(at + 2))) {
            decoded.push(high * 16 + low);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    decoded
}

#[test]
fn hostile_name_is_rejected_without_a_call() {
    let mut client = RoomClient::new();
    for raw in REFUSED {
        for outcome in [client.in_path(raw.as_bytes()), client.in_query(raw.as_bytes())] {
            assert!(outcome.targets.is_empty(), "{raw}: {:?}", outcome.targets);
            assert!(matches!(outcome.response.status, 400 | 404), "{raw}: {:?}", outcome.response);
            if !raw.contains('/') {
                outcome.response.assert_error(400, "Room name is not valid.", raw);
            }
        }
    }
    client.in_path(b"r1").response.assert_success(r#""r1""#);
}

/// Decoded names that are forbidden on every route.
const FORBIDDEN: &[&str] =
    &["*", "*;x", "＊", "%2a", "%252A", "%EF%BC%8A", "..", "．．", "‥", "a/b", "a／b", "a\\b", "a%2Fb", "％2f", "a\u{7f}"];

/// Encodes every byte of `name`.
pub fn percent_encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Requests `room` with `token` on each route that takes a room.
pub fn request_everywhere(server: &TestServer, room: &str, token: &str) -> Vec<(String, Response)> {
    let raw = percent_encoded(room);
    let routes = ["/callCatchUp", "/callStatus", "/callSummary"];
    let gets = routes.iter().flat_map(|route| [format!("{route}/{raw}"), format!("{route}?roomName={raw}")]);
    let gets = gets.chain([format!("/callCatchUp/{raw}/live")]);
    let body = json!({"room": room, "role": "member", "participantName": "Ann"}).to_string();
    let posts = ["/proconfToken", "/auth/streamticket"];
    let posts = posts.map(|path| (path.to_owned(), server.client().post_with(path, token, &body)));
    gets.map(|target| (target.clone(), server.client().get(&target, Some(token)))).chain(posts).collect()
}

#[test]
fn forbidden_name_is_400_on_every_route_with_a_room() {
    let server = TestServer::start();
    for room in FORBIDDEN {
        for (place, response) in request_everywhere(&server, room, &tokens::user()) {
            response.assert_error(400, "Room name is not valid.", &format!("{room:?} at {place}"));
        }
        let response = server.client().get(&format!("/auth/joinmember?roomName={}", percent_encoded(room)), None);
        response.assert_error(400, "Room name is not valid.", &format!("{room:?} at /auth/joinmember"));
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn guest_token_or_ticket_of_a_forbidden_room_is_401() {
    let server = TestServer::start();
    for room in FORBIDDEN {
        for requested in [room, "r1"] {
            for (place, response) in request_everywhere(&server, requested, &tokens::guest(room)) {
                response.assert_unauthorized(&format!("a guest of {room:?} at {place}"));
            }
        }
        let mut claims = tokens::guest_claims(room);
        claims["kind"] = "guest-ticket".into();
        claims["jti"] = "t1".into();
        claims["until"] = claims["exp"].clone();
        let ticket = tokens::signed(tokens::HEADER, &claims.to_string());
        let response = server.client().get(&format!("/callCatchUp/r1/live?ticket={ticket}"), None);
        response.assert_unauthorized(&format!("a ticket of {room:?}"));
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn unusual_name_is_forwarded_unchanged() {
    let mut client = RoomClient::new();
    for (raw, room) in ACCEPTED {
        let in_query = raw.replace('+', "%2B").replace('&', "%26");
        for outcome in [client.in_path(raw.as_bytes()), client.in_query(in_query.as_bytes())] {
            assert_eq!(check_outcome(&outcome, Some(room.as_bytes())), Ok(()), "{raw}");
            assert_eq!(outcome.targets.len(), 1, "{raw}: {:?}", outcome.response);
            assert_eq!(outcome.response.data(), *room, "{raw}: the response is for another room");
        }
    }
}

#[test]
fn plus_is_literal_in_the_path_and_a_space_in_the_query() {
    let mut client = RoomClient::new();
    assert_eq!(client.in_path(b"a+b").response.data(), "a+b");
    assert_eq!(client.in_query(b"a+b").response.data(), "a b");
    assert_eq!(client.in_query(b"a%2Bb").response.data(), "a+b");
}

#[test]
fn delimiter_of_a_path_or_query_value_ends_the_name() {
    let mut client = RoomClient::new();
    assert_eq!(client.in_path(b"r1?x").response.data(), "r1");
    assert_eq!(client.in_path(b"r1?").response.data(), "r1");
    assert_eq!(client.in_query(b"r1&x=y").response.data(), "r1");
    assert_eq!(client.in_query(b"r1?x").response.data(), "r1?x");
    assert_eq!(client.in_query(b"r1=x").response.data(), "r1=x");
    assert_eq!(client.in_query(b"r1;x=y").response.data(), "r1;x=y");
    assert!(client.in_path(b"r1/x").targets.is_empty());
    assert!(client.in_query(b"r1/x").targets.is_empty());
}

#[test]
fn name_over_255_decoded_bytes_is_400() {
    let mut client = RoomClient::new();
    for (raw, room) in
        [("a".repeat(255), "a".repeat(255)), ("%61".repeat(255), "a".repeat(255)), ("%C3%A9".repeat(127), "é".repeat(127))]
    {
        assert_eq!(client.in_path(raw.as_bytes()).response.data(), room);
        assert_eq!(client.in_query(raw.as_bytes()).response.data(), room);
    }
    // Up to the longest request line.
    for raw in ["a".repeat(256), "%C3%A9".repeat(128), "a".repeat(8_000), "%61".repeat(2_600), "%25".repeat(2_600)] {
        for outcome in [client.in_path(raw.as_bytes()), client.in_query(raw.as_bytes())] {
            outcome.response.assert_error(400, "Room name is not valid.", "too long");
            assert!(outcome.targets.is_empty());
        }
    }
}

#[test]
fn raw_bytes_in_a_url_are_rejected_or_taken_literally() {
    let mut client = RoomClient::new();
    let names: [&[u8]; 14] = [
        "комната".as_bytes(),
        "🎥".as_bytes(),
        b"\xff",
        b"\xc0\xaf",
        b"\x01",
        b"a\tb",
        b"a\x7fb",
        b"a\"b",
        b"<a>",
        b"a|b",
        b"{a}",
        b"a\\b",
        b"[a]",
        b"a^b`c",
    ];
    let mut forwarded = 0;
    for raw in names {
        for outcome in [client.in_path(raw), client.in_query(raw)] {
            assert_eq!(check_outcome(&outcome, Some(raw)), Ok(()), "{raw:?}");
            forwarded += outcome.targets.len();
        }
    }
    assert!(forwarded > 0, "every name was rejected");
    // The parser rejects bytes that split the request line; no part may become a second request.
    for raw in ["a b", "a\r\nX: y", "a\nb", "a HTTP/1.1\r\nHost: t\r\n\r\nGET /callCatchUp/smuggled", "a\0b"] {
        let mut connection = client.server.client().connect();
        connection.send(&request("GET", format!("/callCatchUp/{raw}").as_bytes(), None));
        if let Some(response) = connection.read() {
            assert!(matches!(response.status, 400 | 401), "{raw:?}: {response:?}");
        }
    }
    assert!(client.server.script.requests().iter().all(|call| !call.target.contains("smuggled")));
}

#[test]
fn hostile_name_without_a_token_is_401() {
    let server = TestServer::start();
    for raw in REFUSED.iter().filter(|raw| !raw.contains('/')) {
        server.client().get(&format!("/callCatchUp/{raw}"), None).assert_unauthorized(raw);
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn random_name_arrives_as_one_unchanged_segment_or_not_at_all() {
    let mut client = RoomClient::new();
    // Weighted towards dangerous parts; no part ends the path or the request line.
    let piece = prop_oneof![
        3 => "%[0-9a-fA-F]{2}",
        2 => "%25|%25c2|%252585|%2e|%2f|%5c|%00|%0d%0a|%252e|%c2%85|%3b|%2[eEfF]",
        2 => "[a-zA-Z0-9._~;:@!$'()*,=+-]{1,4}",
        1 => "%|%[0-9a-g]|%u[0-9a-f]{4}",
        1 => "\\.\\.|\\.|;|/|\\*",
        1 => "[／＼．‥․＊﹡；％℀]|%EF%BC%(8F|8A|8E|85|9B|BC)|%25EF%25BC%258F",
        1 => "[\u{80}-\u{2ff}\u{400}-\u{4ff}\u{1f300}-\u{1f3ff}]{1,2}",
    ];
    let name = prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat());
    let mut runner = TestRunner::new(Config { cases: 3_000, failure_persistence: None, ..Config::default() });
    let (client, forwarded) = (RefCell::new(&mut client), Cell::new(0));
    runner
        .run(&name, |raw| {
            let mut client = client.borrow_mut();
            let outcome = client.in_path(raw.as_bytes());
            forwarded.set(forwarded.get() + outcome.targets.len());
            prop_assert_eq!(check_outcome(&outcome, strictly_decoded(raw.as_bytes()).as_deref()), Ok(()), "path {}", raw);
            let outcome = client.in_query(raw.as_bytes());
            let form = raw.replace('+', " ");
            prop_assert_eq!(check_outcome(&outcome, strictly_decoded(form.as_bytes()).as_deref()), Ok(()), "query {}", raw);
            Ok(())
        })
        .unwrap();
    assert!(forwarded.get() > 100, "only {} of 3,000 names were forwarded", forwarded.get());
}
