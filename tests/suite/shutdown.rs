//! How the server stops: nobody loses an answer, and nobody can hold it up. The built binary, told by signals.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Connection, request};
use crate::support::database::TestDatabase;
use crate::support::load_balancer::{self, LoadBalancer};
use crate::support::process::ServerProcess;
use crate::support::{SandboxServer, tokens};
use proconf_app_server::sandbox::{Reply, Script};

/// How long an exit may take on a busy machine, past what it has to take.
const SOON: Duration = Duration::from_millis(1_500);

/// A server in front of a sandbox where `slow` answers after a second and a half, and `never` does not.
fn server(settings: &[(&str, &str)]) -> (ServerProcess, SandboxServer, Script) {
    let script = Script::echo();
    script.catch_up("slow", Reply::data("\"slow\"").after(Duration::from_millis(1_500)));
    script.catch_up("never", Reply::silence());
    script.catch_up("large", Reply::data(&format!("\"{}\"", "x".repeat(3 << 20))));
    let sandbox = SandboxServer::start(script.clone());
    let server = ServerProcess::start(&sandbox.base_url, settings);
    (server, sandbox, script)
}

fn get(room: &str) -> Vec<u8> {
    request("GET", format!("/callCatchUp/{room}").as_bytes(), Some(&tokens::user()))
}

/// Waits until Admin Control has been asked so often.
fn until_asked(script: &Script, times: usize) {
    while script.asked().len() < times {
        std::thread::yield_now();
    }
}

/// Asks without pause, as a load balancer's clients do: no new connection once the server is known not to be ready.
fn ask_on_and_on(client: Client, room: &str, keep_alive: bool, not_ready: &AtomicBool, answered: &AtomicUsize) {
    let mut connection: Option<Connection> = None;
    loop {
        if connection.is_none() && not_ready.load(Ordering::SeqCst) {
            return;
        }
        let mut open = connection.take().unwrap_or_else(|| client.connect());
        open.send(&get(room));
        let answer = open.read().expect("no request is lost");
        assert_eq!(answer.status, 200);
        answered.fetch_add(1, Ordering::SeqCst);
        let go_on = keep_alive && !not_ready.load(Ordering::SeqCst);
        connection = (go_on && answer.header("connection") != Some("close")).then_some(open);
    }
}

#[test]
fn draining_server_closes_connections_and_loses_no_request() {
    let (mut server, _sandbox, _) = server(&[("APP_SERVER__DRAIN_FOR", "2s")]);
    let (not_ready, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut idle = server.client().connect();
    assert_eq!(idle.ask(&get("r1")).header("connection"), None);
    std::thread::scope(|scope| {
        for at in 0..8 {
            let (client, not_ready, answered) = (server.client(), &not_ready, &answered);
            let room = if at % 4 == 0 { "slow" } else { "r1" };
            scope.spawn(move || ask_on_and_on(client, room, at % 2 == 0, not_ready, answered));
        }
        while answered.load(Ordering::SeqCst) < 200 {
            std::thread::yield_now();
        }
        server.signal("TERM");
        server.line(0, |line| line["message"] == "no longer ready");
        let late = server.client().ask(&get("r1"));
        assert_eq!((late.status, late.header("connection")), (200, Some("close")), "it still serves who comes");
        for (client, why) in [(server.client(), None), (Client::new(server.management), Some("draining"))] {
            let answer = client.get("/health/ready", None);
            assert_eq!((answer.status, answer.header("x-not-ready")), (503, why), "operators are told why, others are not");
        }
        let late = server.client().get("/nowhere", None);
        assert_eq!((late.status, late.header("connection")), (404, Some("close")), "on failures too");
        not_ready.store(true, Ordering::SeqCst);
    });
    assert!(idle.read().is_none(), "who was idle is let go");
    assert_eq!(server.exit().0, 0);
}

/// Raises a flag when it is dropped, also by a failure: nobody goes on asking then.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn rolling_restart_of_replicas_loses_no_request() {
    let sandbox = SandboxServer::start(Script::echo());
    let database = Arc::new(TestDatabase::new());
    let addresses = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let start = |address: SocketAddr| {
        let settings = [("APP_SERVER__LISTEN", address.to_string()), ("APP_SERVER__DRAIN_FOR", "1s".to_owned())];
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        ServerProcess::on(Arc::clone(&database), &sandbox.base_url, &settings)
    };
    let mut servers = addresses.map(start);
    let balancer = LoadBalancer::over(addresses);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for at in 0..8 {
            let (client, over, answered) = (balancer.client(), &over, &answered);
            scope.spawn(move || ask_on_and_on(client, "r1", at % 2 == 0, over, answered));
        }
        let _end = Raised(&over);
        for _ in 0..3 {
            for (server, address) in servers.iter_mut().zip(addresses) {
                server.signal("TERM");
                assert_eq!(server.exit().0, 0);
                *server = start(address);
                let (ready, before) = (Instant::now(), answered.load(Ordering::SeqCst));
                // It is back in turn before the other one goes.
                while server.client().get("/health/ready", None).status != 200
                    || answered.load(Ordering::SeqCst) < before + 100
                    || ready.elapsed() < 5 * load_balancer::CHECKS
                {
                    assert!(ready.elapsed() < Duration::from_secs(20), "nobody is answered");
                }
            }
        }
    });
    assert!(answered.load(Ordering::SeqCst) > 1_000, "{answered:?}");
}

#[test]
fn request_in_flight_is_answered_before_the_exit() {
    let (mut server, _sandbox, script) = server(&[]);
    let mut slow = server.client().connect();
    slow.send(&get("slow"));
    until_asked(&script, 1);
    // SIGINT does not wait for a load balancer.
    server.signal("INT");
    server.line(0, |line| line["message"] == "stopping");
    let answer = slow.read().expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let (code, took) = server.exit();
    assert_eq!(code, 0);
    assert!(took < SOON, "{took:?}");
}

#[test]
fn second_signal_exits_at_once() {
    for (first, then, line) in
        [("TERM", "TERM", "no longer ready"), ("TERM", "INT", "no longer ready"), ("INT", "TERM", "stopping")]
    {
        let (mut server, _sandbox, script) = server(&[("APP_SERVER__DRAIN_FOR", "60s")]);
        let mut asker = server.client().connect();
        asker.send(&get("never"));
        until_asked(&script, 1);
        server.signal(first);
        server.line(0, |logged| logged["message"] == line);
        server.signal(then);
        let (code, took) = server.exit();
        assert_eq!(code, 0, "{first} {then}");
        assert!(took < Duration::from_secs(1), "{first} {then}: {took:?}");
    }
}

#[test]
fn slow_clients_delay_the_exit_by_the_shutdown_timeout() {
    let (mut server, _sandbox, script) = server(&[("APP_SERVER__SHUTDOWN_TIMEOUT", "2s")]);
    let client = server.client();
    let mut held: Vec<Connection> = Vec::new();
    let mut open = |bytes: &[u8]| {
        let mut connection = client.connect();
        connection.send(bytes);
        held.push(connection);
    };
    for _ in 0..20 {
        open(b"GET / HTTP/1.1\r\nHost: t\r\n");
        open(b"POST /auth/login HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n");
        open(b"POST /nowhere HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Its answer is larger than all buffers on the way, and nobody reads it.
        open(&get("large"));
        open(b"");
    }
    // Those who ask for one room at once share its call.
    until_asked(&script, 1);
    server.signal("INT");
    let (code, took) = server.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(2) + SOON, "{took:?}");
}

#[test]
fn waiting_request_delays_the_exit_by_the_shutdown_timeout() {
    let (mut server, _sandbox, script) = server(&[("APP_SERVER__SHUTDOWN_TIMEOUT", "1s")]);
    let mut asker = server.client().connect();
    asker.send(&get("never"));
    until_asked(&script, 1);
    let started = Instant::now();
    server.signal("INT");
    assert_eq!(server.exit().0, 0);
    assert!(started.elapsed() < Duration::from_secs(2) + SOON, "{:?}", started.elapsed());
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
    assert_eq!(server.client().ask(&get("r1")).status, 200);
    server.signal("INT");
    assert_eq!(server.exit().0, 0);
}
