//! The response cache over real sockets: single-flight, and stale responses when Admin Control fails.

use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Reply;

use crate::support::client::request;
use crate::support::fake_upstream::FakeUpstream;
use crate::support::response::Response;
use crate::support::{TestServer, tokens, wait_until};

/// Turns the cache on; test servers turn it off by default.
const ON: [(&str, &str); 3] = [
    ("APP_CATCH_UP__FRESH_FOR", "5s"),
    ("APP_CATCH_UP__STALE_IF_ERROR", "60s"),
    // A loaded machine may take longer than the usual two seconds.
    ("APP_ADMIN_CONTROL__TIMEOUT", "15s"),
];
/// The response time of Admin Control.
const CALL_TIME: Duration = Duration::from_millis(1_500);

fn get(server: &TestServer, room: &str) -> Response {
    server.client().get(&format!("/callCatchUp/{room}"), Some(&tokens::user()))
}

/// Sends one request on each of `count` connections, then reads all responses.
fn get_at_once(server: &TestServer, count: usize, room: impl Fn(usize) -> String) -> Vec<Response> {
    let user = tokens::user();
    let mut connections: Vec<_> = (0..count).map(|_| server.client().connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(&request("GET", format!("/callCatchUp/{}", room(number)).as_bytes(), Some(&user)));
    }
    connections.iter_mut().map(|connection| connection.read().expect("a response")).collect()
}

#[test]
fn two_thousand_requests_of_one_room_cost_one_call() {
    let server = TestServer::with(&ON);
    server.script.catch_up("r1", Reply::data(r#""written""#).after(CALL_TIME));
    for response in get_at_once(&server, 2_000, |_| "r1".to_owned()) {
        response.assert_success(r#""written""#);
    }
    assert_eq!(server.calls(), 1);
}

#[test]
fn requests_of_a_hundred_rooms_cost_one_call_each() {
    let server = TestServer::with(&ON);
    let responses = get_at_once(&server, 1_000, |number| format!("room{}", number % 100));
    for (number, response) in responses.iter().enumerate() {
        response.assert_success(&format!("\"room{}\"", number % 100));
    }
    assert_eq!(server.calls(), 100);
}

#[test]
fn reset_of_the_first_client_does_not_end_its_call() {
    let server = TestServer::with(&ON);
    server.script.catch_up("r1", Reply::data(r#""written""#).after(CALL_TIME));
    let user = tokens::user();
    let mut first = server.client().connect();
    first.send(&request("GET", b"/callCatchUp/r1", Some(&user)));
    wait_until("the first call", || server.calls() == 1);
    let mut others: Vec<_> = (0..200).map(|_| server.client().connect()).collect();
    for other in &mut others {
        other.send(&request("GET", b"/callCatchUp/r1", Some(&user)));
    }
    first.reset();
    for other in &mut others {
        other.read().unwrap().assert_success(r#""written""#);
    }
    assert_eq!(server.calls(), 1);
}

#[test]
fn failure_is_shared_by_waiting_requests_and_not_cached() {
    let server = TestServer::with(&ON);
    server.script.catch_up("r1", Reply::body(500, "the inside").after(Duration::from_millis(500)));
    for response in get_at_once(&server, 200, |_| "r1".to_owned()) {
        response.assert_error(500, "Internal server error", "each waiting request");
    }
    assert_eq!(server.calls(), 1);
    server.script.catch_up("r1", Reply::data(r#""good""#));
    get(&server, "r1").assert_success(r#""good""#);
}

#[test]
fn stale_response_is_served_after_a_failure_but_not_a_404() {
    let server = TestServer::with(&[("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "60s")]);
    server.script.catch_up("r1", Reply::data(r#""old""#));
    get(&server, "r1").assert_success(r#""old""#);
    server.script.catch_up("r1", Reply::body(500, "x"));
    wait_until("the stale response is a second old", || get(&server, "r1").header("age") > Some("0"));
    for failure in
        [Reply::body(500, "x"), Reply::body(200, "x"), Reply::body(401, "{}"), Reply::data("1").truncated(), Reply::hang()]
    {
        server.script.catch_up("r1", failure);
        let response = get(&server, "r1");
        response.assert_success(r#""old""#);
        assert!(response.header("age").unwrap().parse::<u64>().unwrap() >= 1);
    }
    server.script.catch_up("r1", Reply::not_found());
    get(&server, "r1").assert_error(404, "Not found", "gone");
    server.script.catch_up("r1", Reply::body(500, "x"));
    get(&server, "r1").assert_error(500, "Internal server error", "removed by the 404");
}

#[test]
fn cached_response_is_authorised_on_each_request() {
    let server = TestServer::with(&ON);
    let etag = get(&server, "r1").header("etag").unwrap().to_owned();
    let fetch = |token: &str, etag: &str| {
        let line = format!(
            "GET /callCatchUp/r1 HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nIf-None-Match: {etag}\r\n\r\n"
        );
        server.client().request(line.as_bytes())
    };
    fetch(&tokens::guest("r2"), &etag).assert_error(403, "Forbidden", "a guest of another room");
    fetch("forged", &etag).assert_unauthorized("a forged token");
    let gzip = etag.replace('"', "") + "-gzip";
    fetch(&tokens::guest("r2"), &format!("\"{gzip}\"")).assert_error(
        403,
        "Forbidden",
        "a guest, with a tag changed by a proxy",
    );
    for matching in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let known = fetch(&tokens::guest("r1"), &matching);
        assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(etag.as_str())), "{matching}");
    }
    for other in ["\"another\"", "\"a,*,b\"", ""] {
        fetch(&tokens::guest("r1"), other).assert_success(r#""r1""#);
    }
    assert_eq!(server.calls(), 1);
}

#[test]
fn entity_tag_changed_by_a_proxy_is_still_known() {
    let server = TestServer::with(&ON);
    let etag = get(&server, "r1").header("etag").unwrap().to_owned();
    let (tag, token) = (etag.trim_matches('"'), tokens::user());
    let file = server.client().get("/openapi.json", None).header("etag").unwrap().trim_matches('"').to_owned();
    let status = |target: &str, known: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n");
        server.client().request(format!("{head}If-None-Match: {known}\r\n\r\n").as_bytes()).status
    };
    for known in [
        format!("\"{tag}-gzip\""),
        format!("\"{tag}-br\""),
        format!("\"{tag}-zstd\""),
        format!("W/\"{tag}\""),
        format!("W/\"{tag}-gzip\""),
        format!("\"another\", \"{tag}-gzip\""),
        format!("\"{tag}-gzip\",W/\"another\""),
    ] {
        assert_eq!(status("/callCatchUp/r1", &known), 304, "{known}");
        assert_eq!(status("/openapi.json", &known.replace(tag, &file)), 304, "{known}");
    }
    for other in [
        format!("\"{tag}-gzi\""),
        format!("\"{tag}-identity\""),
        format!("\"{tag}gzip\""),
        format!("\"{tag}-gzip-gzip\""),
        format!("\"{tag}\"-gzip"),
        format!("{tag}-gzip"),
        format!("\"{}-gzip\"", &tag[1..]),
        "\"-gzip\"".to_owned(),
        "-gzip\"".to_owned(),
    ] {
        assert_eq!(status("/callCatchUp/r1", &other), 200, "{other}");
    }
    assert_eq!(server.calls(), 1);
}

#[test]
fn cached_routes_send_age_and_etag_and_others_no_store() {
    let server = TestServer::with(&ON);
    server.put_summary("r1_1718871014/summary.txt", "text");
    for target in ["/callCatchUp/r1", "/callStatus/r1", "/callConfig", "/meetings", "/callSummary/r1"] {
        for _ in 0..2 {
            let response = server.client().get(target, Some(&tokens::user()));
            assert_eq!(response.header("cache-control"), Some("private, no-cache"), "{target}");
            assert!(response.header("etag").is_some() && response.header("age").is_some(), "{target}");
        }
    }
    assert_eq!(server.calls(), 5);
    for target in ["/callCatchUp", "/callCatchUp/..", "/nothing"] {
        let response = server.client().get(target, Some(&tokens::user()));
        assert_eq!((response.header("cache-control"), response.header("etag")), (Some("no-store"), None), "{target}");
    }
}

#[test]
fn open_circuit_fails_requests_at_once() {
    let silent =
        FakeUpstream::serving(|mut stream, _| while crate::support::fake_upstream::read_head(&mut stream).is_some() {});
    let server =
        TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", &silent.base_url()), ("APP_ADMIN_CONTROL__TIMEOUT", "200ms")]);
    for number in 0..5 {
        get(&server, &format!("r{number}")).assert_error(500, "Internal server error", "timed out");
    }
    let started = Instant::now();
    for number in 0..100 {
        get(&server, &format!("s{number}")).assert_error(500, "Internal server error", "open");
    }
    assert!(
        started.elapsed() < Duration::from_secs(5) && (5..=10).contains(&silent.connections()),
        "{}",
        silent.connections()
    );
}

#[test]
fn unreachable_admin_control_is_500_during_the_probe() {
    let silent =
        FakeUpstream::serving(|mut stream, _| while crate::support::fake_upstream::read_head(&mut stream).is_some() {});
    let server = TestServer::with(&[
        ("APP_ADMIN_CONTROL__BASE_URL", &silent.base_url()),
        ("APP_ADMIN_CONTROL__TIMEOUT", "500ms"),
        ("APP_ADMIN_CONTROL__MAX_IN_FLIGHT", "1"),
    ]);
    for _ in 0..5 {
        get(&server, "r1").assert_error(500, "Internal server error", "timed out");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while silent.connections() < 6 {
                get(&server, "probe").assert_error(500, "Internal server error", "open, then the probe");
            }
        });
        wait_until("the probe connects", || silent.connections() == 6);
        get(&server, "r2").assert_error(500, "Internal server error", "during the probe");
    });
}

#[test]
fn failing_room_does_not_open_the_circuit() {
    let server = TestServer::start();
    server.script.catch_up("poison", Reply::body(500, "x"));
    for number in 0..50 {
        get(&server, "poison").assert_error(500, "Internal server error", "poison");
        get(&server, &format!("r{number}")).assert_success(&format!("\"r{number}\""));
    }
}
