//! Tests of the suite: a proxy injects one fault, and exactly the cases about it must fail.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{config, expired_token, run_all, start_server};
use crate::support::fake_upstream::FakeUpstream;
use crate::support::{secrets, tokens};

/// A request whose head can be changed.
pub struct Request {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A response that can be changed.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What a wrong server does with a request before, and with its response after it.
#[derive(Clone, Copy)]
pub struct Fault {
    pub request: fn(&mut Request),
    pub response: fn(&Request, &mut Response),
}

/// The server as it is.
pub const NONE: Fault = Fault { request: |_| {}, response: |_, _| {} };

fn on_request(request: fn(&mut Request)) -> Fault {
    Fault { request, ..NONE }
}

fn on_response(response: fn(&Request, &mut Response)) -> Fault {
    Fault { response, ..NONE }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

impl Request {
    fn token(&self) -> Option<&str> {
        find(&self.headers, "authorization")?.strip_prefix("Bearer ")
    }

    fn set_token(&mut self, token: &str) {
        self.headers.retain(|(name, _)| name != "authorization");
        self.headers.push(("authorization".to_owned(), format!("Bearer {token}")));
    }

    fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(header, _)| header != name);
    }

    /// Returns a part of the token: 0 is the header, 1 the claims.
    fn part(&self, index: usize) -> Value {
        let part = self.token().and_then(|token| token.split('.').nth(index)).unwrap_or_default();
        URL_SAFE_NO_PAD.decode(part).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }

    fn is_of_guest(&self) -> bool {
        self.part(1)["kind"] == "guest"
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn set_header(&mut self, name: &str, value: &str) {
        self.remove_header(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(header, _)| header != name);
    }

    pub fn set(&mut self, status: u16, body: &Value) {
        (self.status, self.body) = (status, body.to_string().into_bytes());
        self.set_header("content-type", "application/json");
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Starts a proxy with this fault in front of `server`; returns its URL.
pub fn start_proxy(server: SocketAddr, fault: Fault) -> String {
    let proxy = FakeUpstream::serving(move |mut client, _| {
        // The client may leave.
        let _ = forward(&mut client, server, fault);
    });
    format!("http://127.0.0.1:{}", proxy.port)
}

/// Forwards one request and its response.
pub fn forward(client: &mut (impl Read + Write), server: SocketAddr, fault: Fault) -> std::io::Result<()> {
    let Some(mut request) = read_request(client)? else { return Ok(()) };
    (fault.request)(&mut request);
    let mut upstream = TcpStream::connect(server)?;
    upstream.write_all(&head(&format!("{} {} HTTP/1.1", request.method, request.target), &request.headers))?;
    upstream.write_all(&request.body)?;
    let mut bytes = Vec::new();
    // The client closes a stream of events after it has read what it needs.
    let end = read_head(&mut upstream, &mut bytes)?;
    let mut response = parse_response(&bytes, end);
    let is_stream = response.header("content-type").is_some_and(|value| value.starts_with("text/event-stream"));
    if is_stream {
        (fault.response)(&request, &mut response);
        client.write_all(&head("HTTP/1.1 200 OK", &response.headers))?;
        let mut chunk = response.body;
        loop {
            // A fault may rename a field of the events.
            let text = String::from_utf8_lossy(&chunk).replace("id: ", response_field(&response.headers));
            client.write_all(text.as_bytes())?;
            chunk = vec![0; 16 * 1024];
            let read = upstream.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            chunk.truncate(read);
        }
    }
    upstream.read_to_end(&mut response.body)?;
    let before = response.body.clone();
    (fault.response)(&request, &mut response);
    if response.body != before {
        response.remove_header("transfer-encoding");
        let length = response.body.len().to_string();
        response.set_header("content-length", &length);
    }
    client.write_all(&head(&format!("HTTP/1.1 {} X", response.status), &response.headers))?;
    if request.method != "HEAD" {
        client.write_all(&response.body)?;
    }
    Ok(())
}

/// The name of the field `id` in streams: another one of the same length if the fault removes ids.
fn response_field(headers: &[(String, String)]) -> &'static str {
    if find(headers, "x-without-ids").is_some() { "xx: " } else { "id: " }
}

fn head(first_line: &str, headers: &[(String, String)]) -> Vec<u8> {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{first_line}\r\n{lines}\r\n").into_bytes()
}

/// Reads until the end of the head, whose length is returned.
fn read_head(stream: &mut impl Read, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(end + 4);
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn parse_headers(lines: &str) -> Vec<(String, String)> {
    let pairs = lines.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect()
}

fn read_request(client: &mut impl Read) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let end = read_head(client, &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (line, lines) = text.split_once("\r\n").unwrap();
    let [method, target, _] = line.split(' ').collect::<Vec<_>>()[..] else { return Ok(None) };
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: parse_headers(lines),
        body: bytes.split_off(end),
    };
    let length = find(&request.headers, "content-length").map(|length| length.parse::<usize>().unwrap());
    let is_chunked = find(&request.headers, "transfer-encoding").is_some();
    let mut buffer = [0; 16 * 1024];
    while length.is_some_and(|length| request.body.len() < length) || (is_chunked && !request.body.ends_with(b"0\r\n\r\n")) {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        request.body.extend_from_slice(&buffer[..read]);
    }
    secrets::register_request(&[text.as_bytes(), &request.body].concat());
    Ok(Some(request))
}

fn parse_response(bytes: &[u8], end: usize) -> Response {
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (line, lines) = text.split_once("\r\n").unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    Response { status, headers: parse_headers(lines), body: bytes[end..].to_vec() }
}

/// Asserts that exactly these cases fail at a server with this fault.
#[track_caller]
fn assert_caught(fault: Fault, expected: &[&str]) {
    let server = start_server();
    let report = run_all(config(&server, start_proxy(server.address, fault)), 4);
    assert_eq!(report.failed_cases(), expected, "{}", report.to_text());
}

#[test]
fn conforming_server_behind_the_proxy_passes() {
    assert_caught(NONE, &[]);
}

#[test]
fn status_405_for_404_is_detected() {
    let fault = on_response(|_, response| {
        if response.header("x-not-found") == Some("method") {
            response.set(405, &json!({"data": null, "error": {"code": 405, "message": "Method not allowed"}}));
        }
    });
    assert_caught(
        fault,
        &[
            "errors::wrong_method_is_404",
            "errors::options_is_404",
            "errors::method_is_checked_before_the_token",
            "head::head_of_an_api_route_is_404",
        ],
    );
}

#[test]
fn nested_envelope_is_detected() {
    let fault = on_response(|request, response| {
        if response.status == 200 && request.target.starts_with("/callCatchUp") && !response.body.is_empty() {
            let body = response.json();
            if body.is_object() {
                response.set(200, &json!({"error": null, "data": body}));
            }
        }
    });
    assert_caught(
        fault,
        &[
            "call_catch_up::sample_response",
            "call_catch_up::data_is_passed_on_unchanged",
            "call_catch_up::unusual_room_name_is_one_segment",
        ],
    );
}

#[test]
fn reformatted_data_is_detected() {
    let fault = on_response(|request, response| {
        if request.target.starts_with("/callCatchUp") && response.json().is_object() {
            let body = response.json();
            response.set(response.status, &body);
        }
    });
    assert_caught(fault, &["call_catch_up::data_is_passed_on_unchanged"]);
}

#[test]
fn accepted_unsigned_token_is_detected() {
    let fault = on_request(|request| {
        if request.part(0)["alg"].as_str().is_some_and(|alg| alg.eq_ignore_ascii_case("none")) {
            request.set_token(&tokens::user());
        }
    });
    assert_caught(fault, &["tokens::unsigned_token_is_401"]);
}

#[test]
fn accepted_expired_token_is_detected() {
    let fault = on_request(|request| {
        if request.part(1)["exp"].as_i64().is_some_and(|exp| exp < tokens::now()) && !expired_token().is_empty() {
            request.set_token(&tokens::user());
        }
    });
    assert_caught(fault, &["tokens::expired_token_is_401"]);
}

#[test]
fn token_in_the_query_is_detected() {
    let fault = on_request(|request| {
        if let Some((_, token)) = request.target.clone().split_once("token=") {
            request.set_token(token);
        }
    });
    assert_caught(fault, &["tokens::token_in_the_query_is_401"]);
}

#[test]
fn guest_in_another_room_is_detected() {
    let fault = on_request(|request| {
        let is_call = request.target.starts_with("/call") && !request.target.contains("/live");
        if request.is_of_guest() && is_call && !request.target.starts_with("/callConfig") {
            request.set_token(&tokens::user());
        }
    });
    assert_caught(fault, &["join_member::guest_sees_no_other_room", "caching::other_room_is_403_before_304"]);
}

#[test]
fn guest_with_the_rights_of_a_user_is_detected() {
    let fault = on_request(|request| {
        if request.is_of_guest() && (request.target == "/meetings" || request.target == "/proconfToken") {
            request.set_token(&tokens::user());
        }
    });
    assert_caught(
        fault,
        &["meetings::guest_is_403", "proconf_token::guest_is_no_owner", "proconf_token::guest_enters_no_other_room"],
    );
}

#[test]
fn exposed_inner_error_is_detected() {
    let fault = on_response(|request, response| {
        if response.status == 500 && !request.target.contains("live") {
            response
                .set(500, &json!({"data": null, "error": {"code": 500, "message": "connect ECONNREFUSED 10.0.0.7:3000"}}));
        }
    });
    assert_caught(fault, &["call_catch_up::failure_of_admin_control_is_500"]);
}

#[test]
fn accepted_wildcard_room_is_detected() {
    let fault = on_response(|request, response| {
        if response.status == 400 && request.target.contains('*') {
            response.set(200, &json!({"error": null, "data": tokens::guest("*")}));
        }
    });
    assert_caught(
        fault,
        &["join_member::wildcard_room_is_400", "call_catch_up::hostile_room_name_is_400", "live::hostile_room_name_is_400"],
    );
}

#[test]
fn missing_entity_tag_is_detected() {
    let fault = on_response(|_, response| response.remove_header("etag"));
    assert_caught(
        fault,
        &[
            "caching::catch_up_has_an_entity_tag",
            "caching::current_version_is_304",
            "caching::current_version_is_304_on_the_other_routes",
            "caching::tag_changed_by_a_proxy_is_304",
            "caching::tag_in_a_list_is_304",
            "live::event_id_is_the_entity_tag",
            "live::known_version_is_not_repeated",
        ],
    );
}

#[test]
fn ignored_if_none_match_is_detected() {
    let fault = on_request(|request| request.remove_header("if-none-match"));
    assert_caught(
        fault,
        &[
            "caching::current_version_is_304",
            "caching::current_version_is_304_on_the_other_routes",
            "caching::tag_changed_by_a_proxy_is_304",
            "caching::tag_in_a_list_is_304",
        ],
    );
}

#[test]
fn not_modified_without_authorisation_is_detected() {
    let fault = on_response(|request, response| {
        if find(&request.headers, "if-none-match") == Some("*") && matches!(response.status, 401 | 403) {
            (response.status, response.body) = (304, Vec::new());
        }
    });
    assert_caught(fault, &["caching::missing_token_is_401_before_304", "caching::other_room_is_403_before_304"]);
}

#[test]
fn missing_request_id_is_detected() {
    let fault = on_response(|_, response| response.remove_header("x-request-id"));
    assert_caught(
        fault,
        &[
            "request_id::every_response_has_one",
            "request_id::each_request_has_another",
            "request_id::valid_id_of_the_client_is_kept",
            "request_id::invalid_id_of_the_client_is_replaced",
        ],
    );
}

#[test]
fn unchecked_request_id_is_detected() {
    let fault = on_response(|request, response| {
        if let Some(id) = find(&request.headers, "x-request-id") {
            response.set_header("x-request-id", id);
        }
    });
    assert_caught(fault, &["request_id::invalid_id_of_the_client_is_replaced"]);
}

#[test]
fn missing_error_in_the_challenge_is_detected() {
    let fault = on_response(|_, response| {
        if response.status == 401 {
            response.set_header("www-authenticate", "Bearer");
        }
    });
    assert_caught(fault, &["tokens::invalid_token_is_challenged"]);
}

#[test]
fn error_in_the_challenge_without_a_token_is_detected() {
    let fault = on_response(|_, response| {
        if response.status == 401 {
            response.set_header("www-authenticate", r#"Bearer error="invalid_token""#);
        }
    });
    assert_caught(fault, &["login::wrong_credentials_are_401", "tokens::missing_token_is_challenged"]);
}

#[test]
fn missing_reason_for_a_404_is_detected() {
    let fault = on_response(|_, response| {
        response.remove_header("x-not-found");
        response.remove_header("x-catch-up-reason");
    });
    assert_caught(
        fault,
        &[
            "call_catch_up::reason_for_a_missing_catch_up",
            "errors::unknown_url_has_its_reason",
            "errors::wrong_method_has_its_reason",
            "errors::unknown_room_has_its_reason",
        ],
    );
}

#[test]
fn answered_head_is_detected() {
    let fault = on_response(|request, response| {
        if request.method == "HEAD" && response.status == 404 {
            response.status = 200;
        }
    });
    assert_caught(fault, &["head::head_of_an_api_route_is_404"]);
}

#[test]
fn refused_head_is_detected() {
    let fault = on_response(|request, response| {
        if request.method == "HEAD" {
            response.status = 404;
        }
    });
    assert_caught(fault, &["head::head_of_a_health_route", "head::head_of_a_page"]);
}

#[test]
fn unlimited_body_is_detected() {
    let fault = on_response(|_, response| {
        if response.status == 413 {
            response.set(401, &json!({"data": null, "error": {"code": 401, "message": "Unauthorized"}}));
        }
    });
    assert_caught(fault, &["errors::body_over_the_limit_is_413", "errors::chunked_body_over_the_limit_is_413"]);
}

#[test]
fn any_allowed_origin_is_detected() {
    let fault = on_response(|request, response| {
        if let Some(origin) = find(&request.headers, "origin") {
            response.set_header("access-control-allow-origin", origin);
        }
    });
    assert_caught(fault, &["cors::foreign_origin_is_not_allowed"]);
}

#[test]
fn hidden_headers_are_detected() {
    let fault = on_response(|_, response| response.remove_header("access-control-expose-headers"));
    assert_caught(fault, &["cors::response_exposes_its_headers"]);
}

#[test]
fn refresh_token_that_changes_each_time_is_detected() {
    let fault = on_response(|request, response| {
        if request.target == "/auth/refresh" && response.status == 200 {
            let mut body = response.json();
            // The request's id differs from one response to the next.
            body["data"]["refreshToken"] = response.header("x-request-id").into();
            response.set(200, &body);
        }
    });
    assert_caught(fault, &["refresh::lost_response_is_repeated", "refresh::concurrent_refreshes_yield_one_successor"]);
}

#[test]
fn logout_without_effect_is_detected() {
    let fault = Fault {
        request: |request| {
            if request.target == "/auth/logout" && request.body.len() > 2 {
                "/conformance-logout".clone_into(&mut request.target);
            }
        },
        response: |request, response| {
            if request.target == "/conformance-logout" {
                response.set(200, &json!({"error": null, "data": null}));
            }
        },
    };
    assert_caught(fault, &["refresh::logout_ends_the_session"]);
}

#[test]
fn token_in_place_of_a_ticket_is_detected() {
    let fault = on_response(|request, response| {
        if request.target == "/auth/streamticket" && response.status == 200 {
            response.set(200, &json!({"error": null, "data": request.token()}));
        }
    });
    assert_caught(
        fault,
        &[
            "stream_ticket::ticket_opens_one_stream",
            "stream_ticket::ticket_of_another_room_is_403",
            "stream_ticket::ticket_is_no_bearer_token",
        ],
    );
}

#[test]
fn event_without_an_id_is_detected() {
    let fault = on_response(|_, response| response.set_header("x-without-ids", "1"));
    assert_caught(fault, &["live::event_id_is_the_entity_tag", "live::known_version_is_not_repeated"]);
}

#[test]
fn repeated_version_is_detected() {
    let fault = on_request(|request| {
        request.remove_header("last-event-id");
        if let Some((path, _)) = request.target.clone().split_once("?lastEventId=") {
            path.clone_into(&mut request.target);
        }
    });
    assert_caught(fault, &["live::known_version_is_not_repeated"]);
}

#[test]
fn cached_stream_is_detected() {
    let fault = on_response(|request, response| {
        if request.target.contains("/live") && response.status == 200 {
            response.set_header("content-type", "text/event-stream");
        }
    });
    assert_caught(fault, &["live::stream_has_its_headers"]);
}
