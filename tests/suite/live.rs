//! `GET /callCatchUp/R/live`: the stream of catch-ups of a room.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Reply;
use serde_json::json;

use crate::support::client::request;
use crate::support::events::{Event, Events};
use crate::support::process::ServerProcess;
use crate::support::redis::Redis;
use crate::support::{SandboxServer, TestServer, tokens};

/// A short poll interval.
const OFTEN: (&str, &str) = ("APP_LIVE__POLL_INTERVAL", "100ms");
/// For tests that open all streams with one token.
const MANY_STREAMS: (&str, &str) = ("APP_LIVE__MAX_PER_CALLER", "1000");
/// The time within which a revocation takes effect.
const REVOCATION: Duration = Duration::from_secs(2);
const NOT_FOUND: &str = r#"{"data":null,"error":{"code":404,"message":"Not found"}}"#;

fn success(data: &str) -> String {
    format!(r#"{{"error":null,"data":{data}}}"#)
}

fn subscribe(server: &TestServer, room: &str) -> Events {
    Events::subscribe(server.address, room, &tokens::user())
}

fn catch_up(events: &mut Events) -> (String, String) {
    let event = events.next().expect("an event");
    assert_eq!(event.name, None, "{event:?}");
    (event.data.unwrap(), event.id.unwrap())
}

fn named(name: &str, data: &str) -> Event {
    Event { name: Some(name.to_owned()), data: Some(data.to_owned()), ..Event::default() }
}

fn calls(server: &TestServer) -> usize {
    server.script.requests().iter().filter(|call| call.target.contains("/call-catchup/")).count()
}

fn has_ended(server: &TestServer, room: &str) {
    let meeting = json!([{"room_name": room, "unique_id": "x", "created_at": "2024-06-20T08:10:14.000Z", "destroyed_at": "2024-06-20T08:10:34.000Z"}]);
    server.script.set("meetings", "", Reply::data(&meeting.to_string()));
}

#[test]
fn stream_sends_the_current_catch_up_and_each_new_one() {
    let server = TestServer::with(&[OFTEN]);
    server.script.catch_up("r1", Reply::data("\"one\\nline two\""));
    let mut events = subscribe(&server, "r1");
    let head = events.head.to_lowercase();
    for line in [
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-store",
        "x-accel-buffering: no",
        "x-request-id: ",
    ] {
        assert!(head.contains(line), "{head}");
    }
    let (data, id) = catch_up(&mut events);
    let plain = server.client().get("/callCatchUp/r1", Some(&tokens::user()));
    assert_eq!((data.as_str(), id.as_str()), (plain.text(), plain.header("etag").unwrap()));
    for text in ["\"two\"", "{\n \"three\": 1e400\n}", "\"four\""] {
        server.script.catch_up("r1", Reply::data(text));
        let (data, other) = catch_up(&mut events);
        assert_eq!(data, success(text));
        assert_ne!(other, id);
    }
}

#[test]
fn catch_up_the_client_has_is_not_sent_again() {
    let server = TestServer::with(&[OFTEN]);
    let (_, id) = catch_up(&mut subscribe(&server, "r1"));
    let user = format!("Authorization: Bearer {}\r\n", tokens::user());
    let in_query: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut again = [
        Events::open(server.address, "/callCatchUp/r1/live", &format!("{user}Last-Event-ID: {id}\r\n")),
        Events::open(server.address, &format!("/callCatchUp/r1/live?lastEventId={in_query}"), &user),
    ];
    let mut other = Events::open(server.address, "/callCatchUp/r1/live", &format!("{user}Last-Event-ID: \"x\"\r\n"));
    assert_eq!(catch_up(&mut other).0, success("\"r1\""));
    server.script.catch_up("r1", Reply::data("\"new\""));
    for events in &mut again {
        assert_eq!(catch_up(events).0, success("\"new\""), "the old one was skipped");
    }
}

#[test]
fn stream_reports_none_then_catch_up_then_ended() {
    let server = TestServer::with(&[OFTEN]);
    server.script.catch_up("r1", Reply::not_found());
    let mut events = subscribe(&server, "r1");
    assert_eq!(events.next(), Some(named("none", NOT_FOUND)));
    server.script.catch_up("r1", Reply::data("\"written\""));
    assert_eq!(catch_up(&mut events).0, success("\"written\""));
    server.script.catch_up("r1", Reply::not_found());
    assert_eq!(events.next(), Some(named("none", NOT_FOUND)), "absent, and not listed as ended");
    has_ended(&server, "another");
    has_ended(&server, "r1");
    server.script.catch_up("r1", Reply::data("\"written in the next call\""));
    assert_eq!(catch_up(&mut events).0, success("\"written in the next call\""));
    server.script.catch_up("r1", Reply::not_found());
    assert_eq!(events.next(), Some(named("none", NOT_FOUND)), "listed, and its next call is active");
    server.script.set("sessions-status", "r1", Reply::not_found());
    let ended = Some(named("ended", NOT_FOUND));
    // The list of meetings is not cached in these tests.
    assert_eq!(events.next(), ended);
    assert_eq!(events.next(), None, "nothing comes after it");
    assert_eq!(subscribe(&server, "r1").next(), ended, "a later subscriber gets the event too");
}

#[test]
fn ended_meeting_is_reported_beside_its_last_catch_up() {
    let server = TestServer::with(&[OFTEN]);
    server.script.catch_up("r1", Reply::data("\"the last one\""));
    let mut events = subscribe(&server, "r1");
    assert_eq!(catch_up(&mut events).0, success("\"the last one\""));
    // The entry is of an earlier meeting: the call is still active.
    has_ended(&server, "r1");
    server.script.catch_up("r1", Reply::data("\"the very last one\""));
    assert_eq!(catch_up(&mut events).0, success("\"the very last one\""));
    server.script.set("sessions-status", "r1", Reply::not_found());
    assert_eq!(events.next(), Some(named("ended", NOT_FOUND)));
    assert_eq!(events.next(), None, "nothing comes after it");
    let mut late = subscribe(&server, "r1");
    let (data, id) = catch_up(&mut late);
    assert_eq!(data, success("\"the very last one\""), "a later subscriber gets it too");
    assert_eq!((late.next(), late.next()), (Some(named("ended", NOT_FOUND)), None));
    let head = format!("Authorization: Bearer {}\r\nLast-Event-ID: {id}\r\n", tokens::user());
    let mut again = Events::open(server.address, "/callCatchUp/r1/live", &head);
    assert_eq!(
        (again.next(), again.next()),
        (Some(named("ended", NOT_FOUND)), None),
        "without the catch-up that the client has"
    );
    // An unknown status or an unlisted meeting is not an end.
    server.script.set("sessions-status", "r2", Reply::not_found());
    server.script.set("sessions-status", "r3", Reply::body(500, "the inside"));
    has_ended(&server, "r3");
    for room in ["r2", "r3"] {
        let mut events = subscribe(&server, room);
        catch_up(&mut events);
        server.script.catch_up(room, Reply::data("\"more\""));
        assert_eq!(catch_up(&mut events).0, success("\"more\""), "{room}");
    }
}

#[test]
fn end_detection_costs_at_most_one_call_per_poll() {
    let server = TestServer::with(&[OFTEN]);
    let mut events = subscribe(&server, "r1");
    catch_up(&mut events);
    let grown = 5;
    for text in 0..grown {
        server.script.catch_up("r1", Reply::data(&format!("\"{text}\"")));
        assert_eq!(catch_up(&mut events).0, success(&format!("\"{text}\"")));
    }
    while calls(&server) < 10 {
        std::thread::yield_now();
    }
    drop(events);
    let calls = server.script.requests();
    let count_calls = |what: &str| calls.iter().filter(|call| call.target.contains(what)).count();
    let (status_calls, polls) = (count_calls("/sessions-status/"), count_calls("/call-catchup/"));
    assert!(status_calls + grown <= polls, "{status_calls} status calls in {polls} polls");
    assert_eq!(count_calls("/meetings"), 0, "the list is not requested while a call is active");
}

#[test]
fn failure_is_reported_only_without_a_catch_up() {
    let server = TestServer::with(&[OFTEN]);
    server.script.catch_up("r1", Reply::body(500, "the inside"));
    let mut events = subscribe(&server, "r1");
    let failed = r#"{"data":null,"error":{"code":500,"message":"Internal server error"}}"#;
    assert_eq!(events.next(), Some(named("failed", failed)));
    server.script.catch_up("r1", Reply::data("\"one\""));
    assert_eq!(catch_up(&mut events).0, success("\"one\""));
    server.script.catch_up("r1", Reply::body(500, "the inside"));
    let before = calls(&server);
    while calls(&server) < before + 3 {
        std::thread::yield_now();
    }
    server.script.catch_up("r1", Reply::data("\"two\""));
    assert_eq!(catch_up(&mut events).0, success("\"two\""), "and nothing in between");
}

#[test]
fn failing_room_is_polled_at_the_normal_interval() {
    let every = Duration::from_secs(1);
    let settings =
        [("APP_LIVE__POLL_INTERVAL", "1s"), ("APP_CATCH_UP__FRESH_FOR", "100ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "60s")];
    let server = TestServer::with(&settings);
    server.script.catch_up("r1", Reply::data("\"one\""));
    let mut events = subscribe(&server, "r1");
    assert_eq!(catch_up(&mut events).0, success("\"one\""));
    server.script.catch_up("r1", Reply::body(500, "the inside"));
    let began = calls(&server);
    let wait_for = |more: usize| {
        while calls(&server) < began + more {
            std::thread::yield_now();
        }
        Instant::now()
    };
    let first = wait_for(1);
    assert!(wait_for(4) - first > every * 2, "three more polls");
    server.script.catch_up("r1", Reply::data("\"two\""));
    assert_eq!(catch_up(&mut events).0, success("\"two\""));
}

#[test]
fn catch_up_is_sent_again_after_none() {
    let server = TestServer::with(&[OFTEN]);
    let (_, id) = catch_up(&mut subscribe(&server, "r1"));
    server.script.catch_up("r1", Reply::not_found());
    let head = format!("Authorization: Bearer {}\r\nLast-Event-ID: {id}\r\n", tokens::user());
    let mut events = Events::open(server.address, "/callCatchUp/r1/live", &head);
    assert_eq!(events.next(), Some(named("none", NOT_FOUND)));
    server.script.catch_up("r1", Reply::data("\"r1\""));
    assert_eq!(catch_up(&mut events).0, success("\"r1\""));
}

#[test]
fn subscribers_of_a_room_share_one_poll() {
    let server = TestServer::with(&[("APP_LIVE__POLL_INTERVAL", "500ms"), MANY_STREAMS]);
    let started = Instant::now();
    let mut subscribers: Vec<Events> = (0..100).map(|_| subscribe(&server, "r1")).collect();
    for events in &mut subscribers {
        catch_up(events);
    }
    for text in ["\"a\"", "\"b\"", "\"c\""] {
        server.script.catch_up("r1", Reply::data(text));
        for events in &mut subscribers {
            assert_eq!(catch_up(events).0, success(text));
        }
    }
    let polls = started.elapsed().as_millis() / 500 + 1;
    assert!(calls(&server) as u128 <= polls, "{} in {:?}", calls(&server), started.elapsed());
    drop(subscribers);
    // Closed connections are noticed without a write.
    let started = Instant::now();
    loop {
        let before = calls(&server);
        std::thread::park_timeout(Duration::from_millis(1_500));
        if calls(&server) == before {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(4), "polling goes on");
    }
}

#[test]
fn stream_needs_the_same_permission_as_the_catch_up() {
    let server = TestServer::with(&[OFTEN]);
    let client = server.client();
    let live = "/callCatchUp/r1/live";
    client.get(live, None).assert_unauthorized("no token");
    client.get(live, Some("forged")).assert_unauthorized("a forged token");
    client.get(live, Some(&tokens::guest("r2"))).assert_error(403, "Forbidden", "a guest of another room");
    client.get("/callCatchUp/live/live", Some(&tokens::guest("r2"))).assert_error(403, "Forbidden", "a room called live");
    client.get("/callCatchUp/%2e%2e/live", Some(&tokens::user())).assert_error(400, "Room name is not valid.", "no room");
    let differ = "The room in the path and roomName in the query differ.";
    client.get("/callCatchUp/r1/live?roomName=r2", Some(&tokens::user())).assert_error(400, differ, "two rooms");
    client.get("/callCatchUp//live", Some(&tokens::user())).assert_error(400, "Room name required in query param.", "none");
    client.post_with(live, &tokens::user(), "{}").assert_error(404, "Not found", "another method");
    assert_eq!(server.calls(), 0);
    assert_eq!(catch_up(&mut Events::subscribe(server.address, "r1", &tokens::guest("r1"))).0, success("\"r1\""));
    assert_eq!(catch_up(&mut subscribe(&server, "live")).0, success("\"live\""));
}

#[test]
fn revoked_session_or_expired_token_ends_the_stream() {
    let server = TestServer::with_account(&[OFTEN]);
    let (one, two) = (server.log_in().data(), server.log_in().data());
    let replica = server.replica(&[OFTEN]);
    let open = |server: &TestServer, login: &serde_json::Value| {
        let mut events = Events::subscribe(server.address, "r1", login["token"].as_str().unwrap());
        catch_up(&mut events);
        events
    };
    let (mut here, mut elsewhere, mut other) = (open(&server, &one), open(&replica, &one), open(&server, &two));
    let started = Instant::now();
    server.client().post("/auth/logout", &json!({"refreshToken": one["refreshToken"]}).to_string()).assert_success("null");
    assert_eq!((here.next(), elsewhere.next()), (None, None));
    assert!(started.elapsed() < REVOCATION, "{:?}", started.elapsed());
    server.script.catch_up("r1", Reply::data("\"new\""));
    assert_eq!(catch_up(&mut other).0, success("\"new\""), "the stream of the other session goes on");
    let started = Instant::now();
    server.clock.advance(Duration::from_hours(1));
    assert_eq!(other.next(), None);
    assert!(started.elapsed() < REVOCATION, "{:?}", started.elapsed());
}

/// How a client leaves its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    HalfClose,
    Close,
    Reset,
}

/// Opens a stream and leaves it, together with the request or once the response has begun.
fn leave(server: &TestServer, how: Leave, begun: bool, ahead: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = request("GET", b"/callCatchUp/r1/live", Some(&tokens::user()));
    stream.write_all(&[&head, ahead.as_bytes()].concat()).unwrap();
    if begun {
        stream.read_exact(&mut [0; 9]).unwrap();
    }
    match how {
        Leave::HalfClose => stream.shutdown(Shutdown::Write).unwrap(),
        Leave::Close => return None,
        Leave::Reset => {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            return None;
        }
    }
    Some(stream)
}

/// The connection gauge of the server.
fn open_connections(server: &TestServer) -> String {
    let metrics = server.management_client().get("/metrics", None).text().to_owned();
    let line = metrics.lines().find_map(|line| line.strip_prefix("proconf_http_connections "));
    line.expect("the metric is there").to_owned()
}

#[test]
fn stream_ends_within_a_second_of_its_clients_end() {
    let server = TestServer::with(&[OFTEN, MANY_STREAMS]);
    let requests_ahead = "GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n".repeat(50);
    // After a malformed request, nothing more is read.
    let (malformed, long) = ("\0\r\n\r\n", format!("\0{}", "x".repeat(5_000)));
    for (how, begun, ahead) in [
        (Leave::HalfClose, false, ""),
        (Leave::HalfClose, true, ""),
        (Leave::HalfClose, false, requests_ahead.as_str()),
        (Leave::HalfClose, true, requests_ahead.as_str()),
        (Leave::HalfClose, false, malformed),
        (Leave::HalfClose, true, malformed),
        (Leave::HalfClose, true, long.as_str()),
        (Leave::Close, true, malformed),
        (Leave::Reset, true, long.as_str()),
        (Leave::Close, false, ""),
        (Leave::Close, true, ""),
        (Leave::Reset, false, ""),
        (Leave::Reset, true, ""),
    ] {
        let left: Vec<TcpStream> = (0..100).filter_map(|_| leave(&server, how, begun, ahead)).collect();
        // Connections are accepted in their order: now all of them are.
        for _ in 0..4 {
            assert_eq!(server.client().get("/health/live", None).status, 200);
        }
        let started = Instant::now();
        for mut stream in left {
            let mut rest = String::new();
            let outcome = stream.read_to_string(&mut rest);
            // A connection with unread input is reset.
            assert!(outcome.is_ok() || ahead == long, "{how:?}, begun: {begun}: {outcome:?}");
            assert!(begun || rest.starts_with("HTTP/1.1 200"), "{rest}");
        }
        while open_connections(&server) != "0" {
            let open = open_connections(&server);
            assert!(started.elapsed() < Duration::from_secs(1), "{how:?}, begun: {begun}: {open} are open");
        }
        // At most the call in flight is still made.
        std::thread::park_timeout(Duration::from_millis(100));
        let before = calls(&server);
        std::thread::park_timeout(Duration::from_millis(500));
        assert_eq!(calls(&server), before, "{how:?}, begun: {begun}: polling goes on");
    }
}

#[test]
fn stream_with_a_request_ahead_goes_on() {
    let server = TestServer::with(&[OFTEN]);
    let mut connection = server.client().connect();
    connection.send(&request("GET", b"/callCatchUp/r1/live", Some(&tokens::user())));
    connection.read_raw(|text| text.contains("\"r1\""));
    // More than is read while a response is made.
    connection.send("GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n".repeat(50).as_bytes());
    // More than one check of the lease.
    std::thread::park_timeout(Duration::from_secs(1));
    server.script.catch_up("r1", Reply::data("\"new\""));
    connection.read_raw(|text| text.contains("\"new\""));
}

#[test]
fn last_subscriber_that_leaves_ends_the_calls_of_a_poll() {
    let server = TestServer::with(&[OFTEN]);
    server.script.catch_up("r1", Reply::not_found().after(Duration::from_millis(500)));
    leave(&server, Leave::Close, true, "");
    std::thread::park_timeout(Duration::from_secs(2));
    let targets: Vec<String> = server.script.requests().into_iter().map(|call| call.target).collect();
    assert_eq!(targets, ["/api/call-catchup/r1"], "no status after the call in flight");
}

#[test]
fn half_closed_stream_that_takes_nothing_is_reset() {
    let server = TestServer::with(&[OFTEN]);
    server.script.catch_up("r1", Reply::data(&format!("\"{}\"", "x".repeat(3 << 20))));
    let mut stream = slow_subscriber(server.address, &tokens::user());
    stream.read_exact(&mut [0; 16]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let started = Instant::now();
    while open_connections(&server) != "0" {
        assert!(started.elapsed() < Duration::from_secs(3), "the connection is still open");
    }
}

#[test]
fn half_closing_client_of_a_plain_request_gets_its_response() {
    let server = TestServer::start();
    server.script.catch_up("slow", Reply::data("\"slow\"").after(Duration::from_millis(500)));
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(&request("GET", b"/callCatchUp/slow", Some(&tokens::user()))).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("\"slow\"}"), "{response}");
}

/// Subscribes to `r1` with a small receive buffer, so that unread data stays in the server.
fn slow_subscriber(address: SocketAddr, token: &str) -> TcpStream {
    let stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    stream.set_recv_buffer_size(16 * 1024).unwrap();
    stream.connect(&address.into()).unwrap();
    let mut stream: TcpStream = stream.into();
    let head = format!("Connection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(format!("GET /callCatchUp/r1/live HTTP/1.1\r\nHost: t\r\n{head}").as_bytes()).unwrap();
    stream
}

/// Reads so many bytes a second until the connection ends, and returns how many came after `is_revoked` was set.
fn read_slowly(mut stream: &TcpStream, rate: usize, is_revoked: &AtomicBool) -> usize {
    let (mut buffer, mut after) = (vec![0; rate / 10], 0);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        after += if is_revoked.load(Ordering::SeqCst) { read } else { 0 };
        std::thread::park_timeout(Duration::from_millis(100));
    }
    after
}

#[test]
fn slow_reader_gets_only_buffered_data_after_revocation() {
    let server = TestServer::with_account(&[OFTEN]);
    let replica = server.replica(&[OFTEN]);
    let login = server.log_in().data();
    let long = format!("\"{}\"", "x".repeat(3 << 20));
    let slow: Vec<TcpStream> = [&server, &replica]
        .into_iter()
        .map(|server| {
            server.script.catch_up("r1", Reply::data(&long));
            slow_subscriber(server.address, login["token"].as_str().unwrap())
        })
        .collect();
    let is_revoked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            slow.iter().map(|stream| scope.spawn(|| read_slowly(stream, 200 * 1024, &is_revoked))).collect();
        // Each has begun to receive more than its buffer holds.
        std::thread::park_timeout(Duration::from_millis(1_500));
        assert!(readers.iter().all(|reader| !reader.is_finished()), "the stream of a valid session goes on");
        server
            .client()
            .post("/auth/logout", &json!({"refreshToken": login["refreshToken"]}).to_string())
            .assert_success("null");
        std::thread::park_timeout(REVOCATION);
        is_revoked.store(true, Ordering::SeqCst);
        for reader in readers {
            let after = reader.join().unwrap();
            assert!(after < 400 * 1024, "{after} bytes after the revocation");
        }
    });
}

#[test]
fn stream_is_exempt_from_request_timeout_and_limit() {
    let server = TestServer::with(&[OFTEN, ("APP_SERVER__REQUEST_TIMEOUT", "300ms"), ("APP_SERVER__MAX_IN_FLIGHT", "2")]);
    let mut subscribers: Vec<Events> = (0..10).map(|_| subscribe(&server, "r1")).collect();
    for events in &mut subscribers {
        catch_up(events);
    }
    std::thread::park_timeout(Duration::from_millis(800));
    server.script.catch_up("r1", Reply::data("\"new\""));
    for events in &mut subscribers {
        assert_eq!(catch_up(events).0, success("\"new\""));
    }
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success("\"new\"");
}

#[test]
fn idle_stream_sends_a_comment_after_15_seconds() {
    let server = TestServer::start();
    let mut events = subscribe(&server, "r1");
    let first = events.next_block().expect("the catch-up");
    assert!(first.retry == Some(3_000) && first.data.is_some(), "no event without data: {first:?}");
    let started = Instant::now();
    assert_eq!(events.next_block(), Some(Event::default()));
    let silent = started.elapsed();
    assert!((14..18).contains(&silent.as_secs()), "{silent:?}");
}

#[test]
fn shutdown_ends_streams_with_spread_retry_hints() {
    let server = TestServer::with(&[OFTEN]);
    let mut subscribers: Vec<Events> = (0..10).map(|_| subscribe(&server, "r1")).collect();
    for events in &mut subscribers {
        catch_up(events);
    }
    let started = Instant::now();
    let stopping = std::thread::spawn(move || drop(server));
    let mut retries = Vec::new();
    for events in &mut subscribers {
        retries.extend(events.next_block().expect("a retry hint").retry);
        assert_eq!(events.next_block(), None);
    }
    stopping.join().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(retries.len(), 10);
    assert!(retries.iter().all(|retry| (1_000..=3_000).contains(retry)), "{retries:?}");
    retries.dedup();
    assert!(retries.len() > 3, "clients must not reconnect together: {retries:?}");
}

#[test]
fn slow_reader_skips_old_events_and_holds_no_memory() {
    let script = proconf_app_server::sandbox::Script::echo();
    let sandbox = SandboxServer::start(script.clone());
    let server = ServerProcess::start(&sandbox.base_url, &[("APP_LIVE__POLL_INTERVAL", "50ms"), MANY_STREAMS]);
    script.catch_up("r1", Reply::data("0"));
    let mut quick = Events::subscribe(server.address, "r1", &tokens::user());
    let mut slow: Vec<Events> = (0..20).map(|_| Events::subscribe(server.address, "r1", &tokens::user())).collect();
    catch_up(&mut quick);
    let long = "x".repeat(1 << 20);
    let mut memory = 0;
    for number in 1..=60 {
        script.catch_up("r1", Reply::data(&format!("\"{number} {long}\"")));
        catch_up(&mut quick);
        if number == 10 {
            memory = server.memory();
        }
    }
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 40 * 1024, "{grown} KiB for 50 MiB that 20 did not read");
    drop(slow.pop());
}

#[test]
fn slow_readers_hold_no_copies_of_a_large_event() {
    let script = proconf_app_server::sandbox::Script::echo();
    let sandbox = SandboxServer::start(script.clone());
    let server = ServerProcess::start(&sandbox.base_url, &[("APP_LIVE__POLL_INTERVAL", "1h"), MANY_STREAMS]);
    script.catch_up("r1", Reply::data(&format!("\"{}\"", "x".repeat(3 << 20))));
    catch_up(&mut Events::subscribe(server.address, "r1", &tokens::user()));
    let memory = server.memory();
    let mut slow: Vec<TcpStream> = (0..60).map(|_| slow_subscriber(server.address, &tokens::user())).collect();
    let began = |text: &[u8]| text.windows(9).any(|window| window == b"data: {\"e");
    for stream in &mut slow {
        let mut text = Vec::new();
        // The start of the event: the server holds the most memory by then.
        while !began(&text) {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap();
            assert_ne!(length, 0, "the stream goes on");
            text.extend_from_slice(&buffer[..length]);
        }
    }
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 60 * 1024, "{grown} KiB for 180 MiB that 60 did not read");
}

#[test]
fn subscribers_on_several_replicas_share_one_poll() {
    let redis = Redis::start();
    let url = redis.url();
    let settings =
        [("APP_LIVE__POLL_INTERVAL", "1s"), ("APP_CACHE__REDIS_URL", url.as_str()), ("APP_CATCH_UP__FRESH_FOR", "10ms")];
    let server = TestServer::with(&settings);
    let base_url = server.sandbox_url();
    let replica = server.replica(&[&settings[..], &[("APP_ADMIN_CONTROL__BASE_URL", &base_url)]].concat());
    let started = Instant::now();
    let mut subscribers: Vec<Events> = [&server, &replica].into_iter().map(|server| subscribe(server, "r1")).collect();
    for text in ["\"r1\"", "\"a\"", "\"b\"", "\"c\""] {
        if text != "\"r1\"" {
            server.script.catch_up("r1", Reply::data(text));
        }
        for events in &mut subscribers {
            assert_eq!(catch_up(events).0, success(text));
        }
    }
    let polls = started.elapsed().as_millis() / 1_000 + 2;
    assert!(calls(&server) as u128 <= polls, "{} in {:?}", calls(&server), started.elapsed());
}
