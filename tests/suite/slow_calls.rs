//! Slow and hanging calls to Admin Control: stale responses meanwhile, and the circuit breaker.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Reply;

use crate::support::client::{Connection, request};
use crate::support::events::Events;
use crate::support::redis::Redis;
use crate::support::replicas::{Replicas, get, metric, wait_until_stored};
use crate::support::response::Response;
use crate::support::{TestServer, tokens, wait_until};

/// Longer than a test: a response within it did not wait for the call.
const TIMEOUT: (&str, &str) = ("APP_ADMIN_CONTROL__TIMEOUT", "60s");
const STALE_IF_ERROR: (&str, &str) = ("APP_CATCH_UP__STALE_IF_ERROR", "60s");
const STALE_AFTER: &str = "APP_CATCH_UP__STALE_AFTER";
const FRESH_FOR: &str = "APP_CATCH_UP__FRESH_FOR";

/// Starts a server whose entries are stale after 100 ms, and calls slow after `stale_after`.
fn server(stale_after: &str, settings: &[(&str, &str)]) -> TestServer {
    TestServer::with(&[&[TIMEOUT, STALE_IF_ERROR, (FRESH_FOR, "100ms"), (STALE_AFTER, stale_after)], settings].concat())
}

fn age(response: &Response) -> u64 {
    response.header("age").unwrap().parse().unwrap()
}

/// Waits until all entries, which are fresh for 100 ms, are a second old.
fn let_entries_expire() {
    std::thread::park_timeout(Duration::from_millis(1_100));
}

/// Sends one request on each of `number` connections without reading.
fn send(server: &TestServer, number: usize, room: impl Fn(usize) -> String) -> Vec<Connection> {
    let mut connections: Vec<_> = (0..number).map(|_| server.client().connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(&request("GET", format!("/callCatchUp/{}", room(number)).as_bytes(), Some(&tokens::user())));
    }
    connections
}

#[test]
fn clients_of_a_hanging_room_get_its_stale_response() {
    for stale_after in ["0s", "500ms"] {
        let server = server(stale_after, &[]);
        get(server.client(), "r1").assert_success(r#""r1""#);
        server.script.catch_up("r1", Reply::hang());
        let_entries_expire();
        for connection in &mut send(&server, 500, |_| "r1".to_owned()) {
            let response = connection.read().expect("a response");
            response.assert_success(r#""r1""#);
            assert!(age(&response) >= 1, "{stale_after}");
        }
        assert_eq!(server.calls(), 2, "{stale_after}: one call, which still hangs");
        let stale = metric(server.management_client(), "proconf_cache_stale_total{cache=\"call-catchup\"}");
        assert_eq!(stale, 500, "{stale_after}");
    }
}

#[test]
fn slow_call_replaces_the_stale_response() {
    let server = server("100ms", &[]);
    get(server.client(), "r1").assert_success(r#""r1""#);
    server.script.catch_up("r1", Reply::data(r#""new""#).after(Duration::from_secs(1)));
    let_entries_expire();
    let first = get(server.client(), "r1");
    first.assert_success(r#""r1""#);
    wait_until("it is replaced", || get(server.client(), "r1").data() == "new");
}

#[test]
fn stale_response_is_served_by_all_caches() {
    let server = server("100ms", &[]);
    server.put_summary("r1_1718871014/summary.txt", "text");
    // Fresh for one second and for five.
    let reads = [
        ("sessions-status", "r1", "/callStatus/r1"),
        ("call-summary", "r1", "/callSummary/r1"),
        ("meetings", "", "/meetings"),
    ];
    let read = |target| server.client().get(target, Some(&tokens::user()));
    let data = reads.map(|(.., target)| read(target).data());
    for (endpoint, room, _) in reads {
        server.script.set(endpoint, room, Reply::hang());
    }
    std::thread::park_timeout(Duration::from_millis(5_100));
    let before = server.calls();
    assert_eq!(reads.map(|(.., target)| read(target).data()), data);
    assert_eq!(server.calls(), before + reads.len(), "each call hangs");
}

#[test]
fn room_without_an_entry_waits_for_its_slow_call() {
    let server = server("0s", &[]);
    server.script.catch_up("r1", Reply::data(r#""new""#).after(Duration::from_millis(500)));
    get(server.client(), "r1").assert_success(r#""new""#);
}

#[test]
fn replicas_serve_the_stale_response_of_a_hanging_call() {
    for stale_after in ["0s", "500ms"] {
        let redis = Redis::start();
        let settings = [TIMEOUT, STALE_IF_ERROR, (FRESH_FOR, "100ms"), (STALE_AFTER, stale_after)];
        let replicas = Replicas::with(3, &redis.url(), &settings);
        get(replicas.client(0), "r1").assert_success(r#""r1""#);
        wait_until_stored(&redis, 1);
        replicas.script.catch_up("r1", Reply::hang());
        let_entries_expire();
        // Two of them have never read the room.
        for number in [2, 0, 1] {
            let response = get(replicas.client(number), "r1");
            response.assert_success(r#""r1""#);
            assert!(age(&response) >= 1, "replica {number}, {stale_after}");
        }
        // With 0s it may begin after the responses.
        wait_until("one call, which still hangs", || replicas.calls() >= 2);
        assert_eq!(replicas.calls(), 2, "{stale_after}");
    }
}

#[test]
fn first_subscriber_gets_the_stale_catch_up_then_the_new_one() {
    let server = server("100ms", &[("APP_LIVE__POLL_INTERVAL", "200ms")]);
    get(server.client(), "r1").assert_success(r#""r1""#);
    server.script.catch_up("r1", Reply::data(r#""new""#).after(Duration::from_secs(2)));
    let_entries_expire();
    let mut events = Events::subscribe(server.address, "r1", &tokens::user());
    let data = |text: &str| Some(format!(r#"{{"error":null,"data":"{text}"}}"#));
    assert_eq!(events.next().unwrap().data, data("r1"));
    assert_eq!(events.next().unwrap().data, data("new"));
}

#[test]
fn subscriber_gets_the_result_of_a_slow_call_as_it_ends() {
    let server = server("100ms", &[("APP_LIVE__POLL_INTERVAL", "6s")]);
    let mut events = Events::subscribe(server.address, "r1", &tokens::user());
    assert!(events.next().unwrap().data.unwrap().contains("r1"));
    server.script.catch_up("r1", Reply::data(r#""new""#).after(Duration::from_secs(1)));
    let catch_ups = || server.script.requests().iter().filter(|call| call.target.contains("/call-catchup/")).count();
    wait_until("the second poll", || catch_ups() == 2);
    let polled = Instant::now();
    assert!(events.next().unwrap().data.unwrap().contains("new"));
    assert!(polled.elapsed() < Duration::from_secs(5), "not with the third poll");
}

#[test]
fn slow_calls_open_the_breaker_long_before_their_timeout() {
    let server = server("2s", &[("APP_CATCH_UP__EXPLAIN_ABSENCE", "false")]);
    let open = || metric(server.management_client(), "proconf_admin_control_breaker_open{endpoint=\"call-catchup\"}") == 1;
    for number in 0..10 {
        server.script.catch_up(&format!("slow{number}"), Reply::hang());
    }
    let _five = send(&server, 5, |number| format!("slow{number}"));
    wait_until("five calls", || server.calls() == 5);
    // Each is a failure after 5 s; the endpoint has 10 s to respond.
    std::thread::park_timeout(Duration::from_secs(6));
    assert!(!open());
    let _others = send(&server, 5, |number| format!("slow{}", number + 5));
    wait_until("the breaker opens", open);
}

/// The `sandbox` command, killed when dropped.
struct SandboxProcess(Child);

impl SandboxProcess {
    /// Starts it; returns its base URL too.
    fn start() -> (Self, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
        command.args(["sandbox", "--listen", "127.0.0.1:0"]).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
        let mut sandbox = Self(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(sandbox.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let base_url = lines.find_map(|line| Some(line.split_once("BASE_URL=")?.1.trim().to_owned()));
        (sandbox, base_url.expect("it prints its URL"))
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }
}

impl Drop for SandboxProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn stopped_admin_control_costs_two_seconds_until_it_continues() {
    let (sandbox, base_url) = SandboxProcess::start();
    let settings = [
        ("APP_ADMIN_CONTROL__BASE_URL", base_url.as_str()),
        ("APP_ADMIN_CONTROL__TIMEOUT", "15s"),
        STALE_IF_ERROR,
        (FRESH_FOR, "1s"),
    ];
    let server = TestServer::with(&settings);
    let targets = ["/callCatchUp/testRoom", "/callStatus/testRoom"];
    let read = |target| {
        let started = Instant::now();
        (server.client().get(target, Some(&tokens::user())), started.elapsed())
    };
    let before = targets.map(|target| read(target).0.data());
    let_entries_expire();
    sandbox.signal("STOP");
    for (target, data) in targets.iter().zip(&before) {
        for _ in 0..3 {
            let (response, took) = read(target);
            assert_eq!(&response.data(), data, "{target}");
            assert!(age(&response) >= 1 && took < Duration::from_secs(10), "{target}: {took:?}");
        }
    }
    sandbox.signal("CONT");
    wait_until("fresh responses", || targets.iter().all(|target| age(&read(target).0) == 0));
}
