//! Overload: more clients than the limits allow. The others are served as before.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Connection, request};
use crate::support::process::ServerProcess;
use crate::support::response::Response;
use crate::support::{SandboxServer, TestServer, tokens};
use proconf_app_server::sandbox::{Reply, Script};

/// A logout whose last byte is missing.
fn unfinished_logout(bytes: usize) -> Vec<u8> {
    let head = "POST /auth/logout HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Length: {bytes}\r\n\r\n{}", " ".repeat(bytes - 1)).into_bytes()
}

fn small_logout(client: Client) -> u16 {
    client.post("/auth/logout", r#"{"refreshToken":"x"}"#).status
}

/// Waits for a 200: the server notices a closed connection a moment later.
fn assert_served_within(client: Client, time: Duration) {
    let started = Instant::now();
    while client.get("/callConfig", Some(&tokens::user())).status != 200 {
        assert!(started.elapsed() < time, "not served after {:?}", started.elapsed());
    }
}

#[test]
fn unfinished_bodies_are_bounded_and_small_ones_admitted() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::start(&sandbox.base_url, &[]);
    assert_eq!(small_logout(server.client()), 200);
    let before = server.memory();
    let waiting: Vec<Connection> = (0..1_000)
        .map(|_| {
            let mut connection = server.client().connect();
            connection.send(&unfinished_logout(60_000));
            connection
        })
        .collect();
    // The rest of the budget may be enough for one or two more.
    let whole = format!(r#"{{"refreshToken":"x"{}}}"#, " ".repeat(60_000));
    let responses: Vec<Response> = (0..20).map(|_| server.client().post("/auth/logout", &whole)).collect();
    let rejected: Vec<&Response> = responses.iter().filter(|response| response.status != 200).collect();
    assert!(!rejected.is_empty(), "{responses:?}");
    for response in rejected {
        response.assert_error(503, "Service unavailable", "a large body beyond the bound");
        assert_eq!((response.header("retry-after"), response.header("connection")), (Some("1"), Some("close")));
    }
    let grown = server.memory().saturating_sub(before);
    // Without a bound, all of them would hold 60 MiB.
    assert!(grown < 45_000, "{grown} KiB for 1,000 bodies");
    assert_eq!(small_logout(server.client()), 200);
    drop(waiting);
    let started = Instant::now();
    while server.client().post("/auth/logout", &whole).status != 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "the budget is released");
    }
}

#[test]
fn connections_over_the_limit_wait_until_one_closes() {
    let server = TestServer::with(&[("APP_SERVER__MAX_CONNECTIONS", "4")]);
    let head = request("GET", b"/callConfig", Some(&tokens::user()));
    let mut first: Vec<Connection> = (0..4).map(|_| server.client().connect()).collect();
    for connection in &mut first {
        assert_eq!(connection.request(&head).status, 200);
    }
    let mut waiting = server.client().connect();
    waiting.send(&head);
    assert!(waiting.is_silent_for(Duration::from_millis(300)), "it waits in the listen queue");
    for target in ["/health/live", "/health/ready"] {
        assert_eq!(server.management_client().get(target, None).status, 200, "{target}");
    }
    assert_eq!(first[0].request(&head).status, 200, "open connections are served");
    drop(first.pop());
    assert_eq!(waiting.read().expect("a response").status, 200);
}

#[test]
fn connections_over_the_file_limit_wait_without_using_cpu() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::with_files(256, &sandbox.base_url, &[]);
    // A response without a call to Admin Control, which needs a file too.
    let head = request("GET", b"/nowhere", None);
    let mut inside: Vec<Connection> = (0..100).map(|_| server.client().connect()).collect();
    for connection in &mut inside {
        assert_eq!(connection.request(&head).status, 404);
    }
    let more: Vec<Connection> = (0..600).map(|_| server.client().connect()).collect();
    for connection in &mut inside {
        assert_eq!(connection.request(&head).status, 404, "open connections are served");
    }
    assert_eq!(Client::new(server.management).get("/health/ready", None).status, 200);
    assert!(server.descriptors() < 256, "{}", server.descriptors());
    let before = server.processor_time();
    std::thread::park_timeout(Duration::from_secs(1));
    let spent = server.processor_time().saturating_sub(before);
    assert!(spent < Duration::from_millis(200), "{spent:?} of a second");
    drop((inside, more));
    assert_served_within(server.client(), Duration::from_secs(1));
}

#[test]
fn connections_over_the_file_limit_do_not_affect_open_ones() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::with_files(1024, &sandbox.base_url, &[("RUST_LOG", "info")]);
    let bytes = request("GET", b"/callConfig", Some(&tokens::user()));
    let mut inside: Vec<Connection> = (0..100).map(|_| server.client().connect()).collect();
    for connection in &mut inside {
        assert_eq!(connection.request(&bytes).status, 200);
    }
    // Complete requests, half requests and silent connections; none closes.
    let excess: Vec<Connection> = (0..2_000)
        .map(|number| {
            let mut connection = server.client().connect();
            connection.send([&bytes[..], b"GET /callConfig HTTP/1.1\r\nHost: t\r\n", b""][number % 3]);
            connection
        })
        .collect();
    assert!(server.descriptors() < 1024, "{}", server.descriptors());
    let is_well = |inside: &mut Vec<Connection>| {
        for target in ["/health/live", "/health/ready"] {
            let started = Instant::now();
            assert_eq!(Client::new(server.management).get(target, None).status, 200);
            assert!(started.elapsed() < Duration::from_secs(1), "{target}: {:?}", started.elapsed());
        }
        for connection in inside {
            let started = Instant::now();
            assert_eq!(connection.request(&bytes).status, 200, "open connections are served");
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
    };
    is_well(&mut inside);
    let before = server.processor_time();
    std::thread::park_timeout(Duration::from_secs(2));
    let spent = server.processor_time().saturating_sub(before);
    assert!(spent < Duration::from_millis(400), "{spent:?} of two seconds: the accept loop is busy");
    is_well(&mut inside);
    drop(excess);
    assert_served_within(server.client(), Duration::from_secs(1));
    is_well(&mut inside);
    assert!(server.lines(0, |line| line["message"] == "panicked").is_empty());
}

#[test]
fn call_without_a_free_file_is_503_until_one_is_free() {
    let script = Script::echo();
    let sandbox = SandboxServer::start(script.clone());
    let server = ServerProcess::with_files(128, &sandbox.base_url, &[("APP_ADMIN_CONTROL__TIMEOUT", "2s")]);
    let mut clients = Vec::new();
    for at in 0..72 {
        script.catch_up(&format!("slow{at}"), Reply::data("\"slow\"").after(Duration::from_secs(1)));
        let mut connection = server.client().connect();
        connection.send(&request("GET", format!("/callCatchUp/slow{at}").as_bytes(), Some(&tokens::user())));
        clients.push(connection);
    }
    let mut statuses: Vec<u16> = clients.iter_mut().map(|client| client.read().expect("a response").status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [200, 503], "with a free file 200, without one 503");
    drop(clients);
    for _ in 0..20 {
        assert_served_within(server.client(), Duration::from_secs(1));
    }
}

#[test]
fn half_written_requests_leave_management_responsive() {
    let server = TestServer::start();
    let management = server.management_client();
    let mut open_connection = management.connect();
    let scrape = request("GET", b"/metrics", None);
    assert_eq!(open_connection.request(&scrape).status, 200);
    let mut half: Vec<Connection> = Vec::new();
    for piece in
        ["GET /metrics HTTP/1.1\r\nHost: t\r\n", "POST /metrics HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n", ""]
    {
        for _ in 0..100 {
            let mut connection = management.connect();
            connection.send(piece.as_bytes());
            half.push(connection);
        }
    }
    assert_eq!(open_connection.request(&scrape).status, 200, "a connection from before is served");
    // New ones wait for at most two head deadlines.
    let started = Instant::now();
    assert_eq!(management.get("/metrics", None).status, 200);
    assert!(started.elapsed() < Duration::from_secs(14), "{:?}", started.elapsed());
    assert!(half[0].read().is_none_or(|response| response.status == 408), "its head did not come");
}

#[test]
fn closed_and_reset_connections_leave_nothing_behind() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::start(&sandbox.base_url, &[]);
    let open_and_close = || {
        for at in 0..2_000 {
            let mut connection = server.client().connect();
            if at % 3 == 0 {
                connection.send(b"GET /callConfig HTTP/1.1\r\nHost");
            }
            if at % 2 == 0 { connection.reset() } else { drop(connection) }
        }
        assert_served_within(server.client(), Duration::from_secs(5));
    };
    // The allocator reaches its size in the first round.
    open_and_close();
    let (memory, files) = (server.memory(), server.descriptors());
    open_and_close();
    let started = Instant::now();
    while server.descriptors() > files + 10 || server.memory() > memory + 10_000 {
        assert!(started.elapsed() < Duration::from_secs(10), "{} files, {} KiB", server.descriptors(), server.memory());
        std::thread::yield_now();
    }
    assert_eq!(server.client().get("/health/ready", None).status, 200);
}

#[test]
fn client_that_reads_nothing_holds_little_memory() {
    let script = Script::echo();
    script.catch_up("large", Reply::data(&format!("\"{}\"", "x".repeat(2 << 20))));
    let sandbox = SandboxServer::start(script);
    let server = ServerProcess::start(&sandbox.base_url, &[("APP_CATCH_UP__FRESH_FOR", "60s")]);
    let large = request("GET", b"/callCatchUp/large", Some(&tokens::user()));
    assert_eq!(server.client().request(&large).status, 200);
    let before = server.memory();
    let all = large.repeat(64);
    let held: Vec<Connection> = (0..100)
        .map(|_| {
            let mut connection = server.client().connect();
            connection.send(&all);
            connection
        })
        .collect();
    assert_eq!(server.client().request(&large).status, 200);
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 50_000, "{grown} KiB");
    drop(held);
}
