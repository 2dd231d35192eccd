//! Graceful shutdown of the built binary by signals: no lost response, and a bounded delay.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::{Client, Connection, request};
use crate::support::process::ServerProcess;
use crate::support::{SandboxServer, tokens, wait_until};
use proconf_app_server::sandbox::{Reply, Script};

/// What an exit may take longer on a busy machine.
const GRACE: Duration = Duration::from_millis(1_500);

/// Starts a server and a sandbox with the rooms `slow` (1.5 s), `never` and `large` (3 MiB).
fn server(settings: &[(&str, &str)]) -> (ServerProcess, SandboxServer, Script) {
    let script = Script::echo();
    script.catch_up("slow", Reply::data("\"slow\"").after(Duration::from_millis(1_500)));
    script.catch_up("never", Reply::hang());
    script.catch_up("large", Reply::data(&format!("\"{}\"", "x".repeat(3 << 20))));
    let sandbox = SandboxServer::start(script.clone());
    let server = ServerProcess::start(&sandbox.base_url, settings);
    (server, sandbox, script)
}

fn get(room: &str) -> Vec<u8> {
    request("GET", format!("/callCatchUp/{room}").as_bytes(), Some(&tokens::user()))
}

/// Waits until Admin Control has received that many calls.
fn wait_for_calls(script: &Script, calls: usize) {
    wait_until("the calls", || script.requests().len() >= calls);
}

/// Sends requests like clients of a load balancer: no new connection once the server is not ready.
fn send_until_not_ready(client: Client, room: &str, keep_alive: bool, not_ready: &AtomicBool, responses: &AtomicUsize) {
    let mut connection: Option<Connection> = None;
    loop {
        if connection.is_none() && not_ready.load(Ordering::SeqCst) {
            return;
        }
        let mut open = connection.take().unwrap_or_else(|| client.connect());
        open.send(&get(room));
        let response = open.read().expect("no request is lost");
        assert_eq!(response.status, 200);
        responses.fetch_add(1, Ordering::SeqCst);
        let go_on = keep_alive && !not_ready.load(Ordering::SeqCst);
        connection = (go_on && response.header("connection") != Some("close")).then_some(open);
    }
}

#[test]
fn draining_server_closes_connections_and_loses_no_request() {
    let (mut server, _sandbox, _) = server(&[("APP_SERVER__DRAIN_FOR", "2s")]);
    let (not_ready, responses) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut idle = server.client().connect();
    assert_eq!(idle.request(&get("r1")).header("connection"), None);
    std::thread::scope(|scope| {
        for at in 0..8 {
            let (client, not_ready, responses) = (server.client(), &not_ready, &responses);
            let room = if at % 4 == 0 { "slow" } else { "r1" };
            scope.spawn(move || send_until_not_ready(client, room, at % 2 == 0, not_ready, responses));
        }
        while responses.load(Ordering::SeqCst) < 200 {
            std::thread::yield_now();
        }
        server.signal("TERM");
        server.line(0, |line| line["message"] == "draining");
        let late = server.client().request(&get("r1"));
        assert_eq!((late.status, late.header("connection")), (200, Some("close")), "a new connection is still served");
        for (client, why) in [(server.client(), None), (Client::new(server.management), Some("draining"))] {
            let response = client.get("/health/ready", None);
            assert_eq!(
                (response.status, response.header("x-not-ready")),
                (503, why),
                "the reason is sent to operators only"
            );
        }
        let late = server.client().get("/nowhere", None);
        assert_eq!((late.status, late.header("connection")), (404, Some("close")), "on errors too");
        not_ready.store(true, Ordering::SeqCst);
    });
    assert!(idle.read().is_none(), "idle connections are closed");
    assert_eq!(server.exit().0, 0);
}

#[test]
fn connection_before_the_listener_closes_is_served() {
    let (mut server, _sandbox, _) = server(&[("APP_SERVER__DRAIN_FOR", "1s")]);
    let responses = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // So many that some wait for a worker at any time.
        for _ in 0..16 {
            let (client, responses) = (server.client(), &responses);
            scope.spawn(move || {
                // Like a proxy, which must not repeat a POST that it has sent.
                while let Ok(mut connection) = client.try_connect() {
                    assert_eq!(connection.request(&get("r1")).status, 200);
                    responses.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while responses.load(Ordering::SeqCst) < 200 {
            std::thread::yield_now();
        }
        server.signal("TERM");
    });
    assert_eq!(server.exit().0, 0);
}

#[test]
fn connection_in_the_listen_queue_is_served() {
    let (mut server, _sandbox, script) = server(&[("APP_SERVER__MAX_CONNECTIONS", "1"), ("APP_SERVER__WORKERS", "1")]);
    script.catch_up("brief", Reply::data("\"brief\"").after(Duration::from_millis(900)));
    let mut first = server.client().connect();
    first.send(&get("brief"));
    wait_for_calls(&script, 1);
    let mut queued = server.client().connect();
    queued.send(&get("r1"));
    server.signal("INT");
    assert_eq!(first.read().expect("a response").status, 200);
    assert_eq!(queued.read().expect("a response, not a reset").status, 200);
    assert_eq!(server.exit().0, 0);
}

#[test]
fn request_in_flight_is_served_before_the_exit() {
    let (mut server, _sandbox, script) = server(&[]);
    let mut slow = server.client().connect();
    slow.send(&get("slow"));
    wait_for_calls(&script, 1);
    // SIGINT skips the drain.
    server.signal("INT");
    server.line(0, |line| line["message"] == "stopping");
    let response = slow.read().expect("a response");
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    let (code, took) = server.exit();
    assert_eq!(code, 0);
    assert!(took < GRACE, "{took:?}");
}

#[test]
fn second_signal_exits_at_once() {
    for (first, then, line) in [("TERM", "TERM", "draining"), ("TERM", "INT", "draining"), ("INT", "TERM", "stopping")] {
        let (mut server, _sandbox, script) = server(&[("APP_SERVER__DRAIN_FOR", "60s")]);
        let mut connection = server.client().connect();
        connection.send(&get("never"));
        wait_for_calls(&script, 1);
        server.signal(first);
        server.line(0, |logged| logged["message"] == line);
        server.signal(then);
        let (code, took) = server.exit();
        assert_eq!(code, 0, "{first} {then}");
        assert!(took < Duration::from_secs(1), "{first} {then}: {took:?}");
    }
}

#[test]
fn slow_clients_and_calls_delay_the_exit_by_the_timeout() {
    let (mut server, _sandbox, script) = server(&[("APP_SERVER__SHUTDOWN_TIMEOUT", "2s")]);
    let client = server.client();
    let mut connections: Vec<Connection> = Vec::new();
    let mut open = |bytes: &[u8]| {
        let mut connection = client.connect();
        connection.send(bytes);
        connections.push(connection);
    };
    for _ in 0..20 {
        open(b"GET / HTTP/1.1\r\nHost: t\r\n");
        open(b"POST /auth/login HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n");
        open(b"POST /nowhere HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
        // The response exceeds all buffers, and the client does not read it.
        open(&get("large"));
        open(b"");
    }
    open(&get("never"));
    // Simultaneous requests for one room share one call.
    wait_for_calls(&script, 2);
    server.signal("INT");
    let (code, took) = server.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(2) + GRACE, "{took:?}");
}

#[test]
fn hangup_and_client_resets_do_not_end_the_server() {
    let (mut server, _sandbox, _) = server(&[]);
    server.signal("HUP");
    server.signal("PIPE");
    for _ in 0..50 {
        let mut connection = server.client().connect();
        connection.send(&get("large"));
        connection.reset();
    }
    assert_eq!(server.client().request(&get("r1")).status, 200);
    server.signal("INT");
    assert_eq!(server.exit().0, 0);
}
