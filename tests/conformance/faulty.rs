//! Tests of the suite: a proxy injects one fault, and exactly the cases about it must fail.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::failing;
use crate::support::tokens;
use crate::target::Target;

/// A fault that the proxy injects.
#[derive(Clone, Copy)]
enum Fault {
    None,
    MethodNotAllowed,
    WrappedTwice,
    UnsignedAccepted,
    GuestAnywhere,
    InnerErrorShown,
    EveryRoomAccepted,
}

/// One request.
struct Request {
    method: String,
    target: String,
    token: Option<String>,
    body: String,
}

impl Request {
    fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            (stream.read(&mut byte).ok()? == 1).then(|| bytes.push(byte[0]))?;
        }
        let head = String::from_utf8(bytes).ok()?;
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        let length: usize = header("Content-Length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let mut line = head.split(' ');
        Some(Self {
            method: line.next()?.to_owned(),
            target: line.next()?.to_owned(),
            token: header("Authorization: Bearer"),
            body: String::from_utf8(body).ok()?,
        })
    }

    /// Returns a part of the token: 0 is the header, 1 the claims.
    fn part(&self, number: usize) -> Value {
        let part = self.token.as_deref().and_then(|token| token.split('.').nth(number)).unwrap_or_default();
        URL_SAFE_NO_PAD.decode(part).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }
}

/// Starts a proxy with one fault.
fn start(fault: Fault) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                if let Some(request) = Request::read(&mut stream) {
                    // The client may have disconnected.
                    let _ = stream.write_all(&answer(fault, request));
                }
            });
        }
    });
    Target { base_url, ..Target::embedded() }
}

fn answer(fault: Fault, mut request: Request) -> Vec<u8> {
    let other_room =
        request.part(1)["kind"] == "guest" && request.target.contains("call") && !request.target.contains("another");
    match fault {
        Fault::UnsignedAccepted if request.part(0)["alg"].as_str().is_some_and(|alg| alg.eq_ignore_ascii_case("none")) => {
            request.token = Some(tokens::user());
        }
        Fault::GuestAnywhere if other_room => request.token = Some(tokens::user()),
        _ => {}
    }
    let original =
        Target::embedded().ask(&request.method, &request.target, request.token.as_deref(), &request.body).answer.unwrap();
    let body: Value = serde_json::from_slice(&original.body).unwrap_or_default();
    let known = ["/callCatchUp", "/meetings", "/proconfToken", "/auth/login", "/callConfig"];
    let is_known = known.iter().any(|path| request.target.starts_with(path))
        && !request.target.contains("/a/b")
        && request.target != "/callCatchU";
    let is_wrong_method = original.status == 404
        && is_known
        && (request.method != "GET" || ["/auth/login", "/proconfToken"].contains(&request.target.as_str()));
    let (status, body) = match fault {
        Fault::MethodNotAllowed if is_wrong_method => {
            (405, json!({"data": null, "error": {"code": 405, "message": "Method not allowed"}}))
        }
        Fault::WrappedTwice if original.status == 200 && request.target.starts_with("/callCatchUp") => {
            (200, json!({"error": null, "data": body}))
        }
        Fault::InnerErrorShown if original.status == 500 => {
            (500, json!({"data": null, "error": {"code": 500, "message": "connect ECONNREFUSED 10.0.0.7:3000"}}))
        }
        Fault::EveryRoomAccepted if original.status == 400 && request.target.contains('*') => {
            (200, json!({"error": null, "data": tokens::guest("*")}))
        }
        _ => (original.status, body),
    };
    let headers: String = ["www-authenticate", "x-request-id"]
        .iter()
        .filter_map(|name| original.header(name).map(|value| format!("{name}: {value}\r\n")))
        .collect();
    let body = if request.method == "HEAD" { String::new() } else { body.to_string() };
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Connection: close\r\n\r\n{body}").into_bytes()
}

#[test]
fn conforming_server_behind_the_proxy_passes() {
    assert_eq!(failing(&start(Fault::None)), [""; 0]);
}

#[test]
fn status_405_for_404_is_detected() {
    let failing = failing(&start(Fault::MethodNotAllowed));
    let expected = [
        "call_catch_up::a_wrong_method_is_404",
        "errors::the_method_is_checked_before_the_token",
        "errors::head_is_404_without_a_body",
    ];
    assert_eq!(failing, expected);
}

#[test]
fn nested_envelope_is_detected() {
    let failing = failing(&start(Fault::WrappedTwice));
    assert_eq!(failing, ["call_catch_up::sample_response", "call_catch_up::an_odd_room_name_is_one_room"]);
}

#[test]
fn accepted_unsigned_token_is_detected() {
    assert_eq!(failing(&start(Fault::UnsignedAccepted)), ["call_catch_up::an_unsigned_token_is_401"]);
}

#[test]
fn guest_in_another_room_is_detected() {
    assert_eq!(failing(&start(Fault::GuestAnywhere)), ["join_member::a_guest_sees_no_other_room"]);
}

#[test]
fn exposed_inner_error_is_detected() {
    assert_eq!(failing(&start(Fault::InnerErrorShown)), ["call_catch_up::a_failure_behind_is_500_and_says_nothing"]);
}

#[test]
fn accepted_wildcard_room_is_detected() {
    assert_eq!(
        failing(&start(Fault::EveryRoomAccepted)),
        ["call_catch_up::a_hostile_room_name_is_400", "join_member::a_name_that_means_every_room_is_400"]
    );
}
