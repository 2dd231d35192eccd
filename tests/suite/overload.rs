//! Overload: more clients than there is room for. Each gets a response or an end, and the others do not notice.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Connection, request};
use crate::support::process::ServerProcess;
use crate::support::response::Response;
use crate::support::{SandboxServer, TestServer, tokens};
use proconf_app_server::sandbox::{Reply, Script};

/// Its last byte is still missing.
fn unfinished_logout(bytes: usize) -> Vec<u8> {
    let head = "POST /auth/logout HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Length: {bytes}\r\n\r\n{}", " ".repeat(bytes - 1)).into_bytes()
}

fn small_logout(client: Client) -> u16 {
    client.post("/auth/logout", r#"{"refreshToken":"x"}"#).status
}

/// Asks until it is answered with 200: who leaves is gone a moment later.
fn is_served_within(client: Client, time: Duration) {
    let started = Instant::now();
    while client.get("/callConfig", Some(&tokens::user())).status != 200 {
        assert!(started.elapsed() < time, "no room after {:?}", started.elapsed());
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
    // What is left of the bound may be enough for one or two more, and these come to their end.
    let whole = format!(r#"{{"refreshToken":"x"{}}}"#, " ".repeat(60_000));
    let answers: Vec<Response> = (0..20).map(|_| server.client().post("/auth/logout", &whole)).collect();
    let turned_away: Vec<&Response> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!turned_away.is_empty(), "{answers:?}");
    for answer in turned_away {
        answer.assert_error(503, "Service unavailable", "a large body beyond the bound");
        assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    }
    let grown = server.memory().saturating_sub(before);
    // A hundred of them would hold 6 MiB, all of them 60.
    assert!(grown < 45_000, "{grown} KiB for 1,000 bodies");
    assert_eq!(small_logout(server.client()), 200);
    drop(waiting);
    let started = Instant::now();
    while server.client().post("/auth/logout", &whole).status != 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "the room is given back");
    }
}

#[test]
fn connections_over_the_limit_wait_until_one_closes() {
    let server = TestServer::with(&[("APP_SERVER__MAX_CONNECTIONS", "4")]);
    let head = request("GET", b"/callConfig", Some(&tokens::user()));
    let mut first: Vec<Connection> = (0..4).map(|_| server.client().connect()).collect();
    for connection in &mut first {
        assert_eq!(connection.ask(&head).status, 200);
    }
    let mut waiting = server.client().connect();
    waiting.send(&head);
    assert!(waiting.is_silent_for(Duration::from_millis(300)), "it waits in the listen queue");
    for target in ["/health/live", "/health/ready"] {
        assert_eq!(server.operator().get(target, None).status, 200, "{target}");
    }
    assert_eq!(first[0].ask(&head).status, 200, "those inside are served");
    drop(first.pop());
    assert_eq!(waiting.read().expect("a response").status, 200);
}

#[test]
fn connections_over_the_file_limit_wait_without_using_cpu() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::with_files(256, &sandbox.base_url, &[]);
    // Answered without a call to Admin Control, which takes files too.
    let head = request("GET", b"/nowhere", None);
    let mut inside: Vec<Connection> = (0..100).map(|_| server.client().connect()).collect();
    for connection in &mut inside {
        assert_eq!(connection.ask(&head).status, 404);
    }
    let more: Vec<Connection> = (0..600).map(|_| server.client().connect()).collect();
    for connection in &mut inside {
        assert_eq!(connection.ask(&head).status, 404, "those inside are served");
    }
    assert_eq!(Client::new(server.management).get("/health/ready", None).status, 200);
    assert!(server.descriptors() < 256, "{}", server.descriptors());
    let before = server.processor_time();
    std::thread::park_timeout(Duration::from_secs(1));
    let spent = server.processor_time().saturating_sub(before);
    assert!(spent < Duration::from_millis(200), "{spent:?} of a second");
    drop((inside, more));
    is_served_within(server.client(), Duration::from_secs(1));
}

#[test]
fn connections_over_the_file_limit_do_not_affect_open_ones() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::with_files(1024, &sandbox.base_url, &[("RUST_LOG", "info")]);
    let ask = request("GET", b"/callConfig", Some(&tokens::user()));
    let mut inside: Vec<Connection> = (0..100).map(|_| server.client().connect()).collect();
    for connection in &mut inside {
        assert_eq!(connection.ask(&ask).status, 200);
    }
    // Some ask, some begin to, some say nothing, and none leaves.
    let crowd: Vec<Connection> = (0..2_000)
        .map(|number| {
            let mut connection = server.client().connect();
            connection.send([&ask[..], b"GET /callConfig HTTP/1.1\r\nHost: t\r\n", b""][number % 3]);
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
            assert_eq!(connection.ask(&ask).status, 200, "who is inside is served on");
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
    };
    is_well(&mut inside);
    let before = server.processor_time();
    std::thread::park_timeout(Duration::from_secs(2));
    let spent = server.processor_time().saturating_sub(before);
    assert!(spent < Duration::from_millis(400), "{spent:?} of two seconds: it looks for room again and again");
    is_well(&mut inside);
    drop(crowd);
    is_served_within(server.client(), Duration::from_secs(1));
    is_well(&mut inside);
    assert!(server.lines(0, |line| line["message"] == "panicked").is_empty());
}

#[test]
fn call_without_a_free_file_is_503_until_one_is_free() {
    let script = Script::echo();
    let sandbox = SandboxServer::start(script.clone());
    let server = ServerProcess::with_files(128, &sandbox.base_url, &[("APP_ADMIN_CONTROL__TIMEOUT", "2s")]);
    let mut askers = Vec::new();
    for at in 0..72 {
        script.catch_up(&format!("slow{at}"), Reply::data("\"slow\"").after(Duration::from_secs(1)));
        let mut connection = server.client().connect();
        connection.send(&request("GET", format!("/callCatchUp/slow{at}").as_bytes(), Some(&tokens::user())));
        askers.push(connection);
    }
    let mut statuses: Vec<u16> = askers.iter_mut().map(|asker| asker.read().expect("an answer").status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [200, 503], "some find a file, the others are told to come again, nobody fails");
    drop(askers);
    for _ in 0..20 {
        is_served_within(server.client(), Duration::from_secs(1));
    }
}

#[test]
fn half_written_requests_leave_management_responsive() {
    let server = TestServer::start();
    let operator = server.operator();
    let mut kept = operator.connect();
    let scrape = request("GET", b"/metrics", None);
    assert_eq!(kept.ask(&scrape).status, 200);
    let mut half: Vec<Connection> = Vec::new();
    for piece in
        ["GET /metrics HTTP/1.1\r\nHost: t\r\n", "POST /metrics HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n", ""]
    {
        for _ in 0..100 {
            let mut connection = operator.connect();
            connection.send(piece.as_bytes());
            half.push(connection);
        }
    }
    assert_eq!(kept.ask(&scrape).status, 200, "a connection from before is served");
    // The others wait for the head deadline of those before them, twice at most.
    let started = Instant::now();
    assert_eq!(operator.get("/metrics", None).status, 200);
    assert!(started.elapsed() < Duration::from_secs(14), "{:?}", started.elapsed());
    assert!(half[0].read().is_none_or(|answer| answer.status == 408), "its head did not come");
}

#[test]
fn closed_and_reset_connections_leave_nothing_behind() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::start(&sandbox.base_url, &[]);
    let come_and_go = || {
        for at in 0..2_000 {
            let mut connection = server.client().connect();
            if at % 3 == 0 {
                connection.send(b"GET /callConfig HTTP/1.1\r\nHost");
            }
            if at % 2 == 0 { connection.reset() } else { drop(connection) }
        }
        is_served_within(server.client(), Duration::from_secs(5));
    };
    // What the allocator keeps, it keeps after the first time.
    come_and_go();
    let (memory, files) = (server.memory(), server.descriptors());
    come_and_go();
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
    assert_eq!(server.client().ask(&large).status, 200);
    let before = server.memory();
    let all = large.repeat(64);
    let held: Vec<Connection> = (0..100)
        .map(|_| {
            let mut connection = server.client().connect();
            connection.send(&all);
            connection
        })
        .collect();
    assert_eq!(server.client().ask(&large).status, 200);
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 50_000, "{grown} KiB");
    drop(held);
}
