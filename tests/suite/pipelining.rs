//! Pipelining: requests behind a slow one wait in the kernel and are served in order.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::{Reply, Script};

use crate::support::client::{Connection, request};
use crate::support::process::ServerProcess;
use crate::support::{SandboxServer, TestServer, tokens, wait_until};

/// Bytes sent behind the slow request.
const PIPELINED_BYTES: usize = 128 * 1024;
/// A short request: parsed, it takes many times its bytes.
const SHORT: &[u8] = b"GET / HTTP/1.1\r\nHost:t\r\n\r\n";
/// Each request would be a line in the log that the test keeps in memory.
const QUIET: (&str, &str) = ("RUST_LOG", "error,proconf_app_server::app=info");
const LIVE: &str = "/callCatchUp/r1/live";
const SLOW: &str = "/callCatchUp/slow";

#[test]
fn pipelined_requests_behind_a_slow_one_take_no_memory() {
    let script = Script::echo();
    script.catch_up("slow", Reply::hang());
    let sandbox = SandboxServer::start(script);
    let settings = [("APP_ADMIN_CONTROL__TIMEOUT", "30s"), ("APP_LIVE__MAX_PER_CALLER", "400"), QUIET];
    let server = ServerProcess::start(&sandbox.base_url, &settings);
    let token = tokens::user();
    let pipelined = SHORT.repeat(PIPELINED_BYTES / SHORT.len());
    for (target, how_many) in [(SLOW, 200), (LIVE, 200)] {
        let mut waiting: Vec<Connection> = (0..how_many)
            .map(|_| {
                let mut connection = server.client().connect();
                connection.send(&request("GET", target.as_bytes(), Some(&token)));
                if target == LIVE {
                    connection.read_raw(|text| text.contains("data: "));
                }
                connection
            })
            .collect();
        // Both workers have accepted the connections before these.
        let assert_served = || (0..20).for_each(|_| assert_eq!(server.client().get("/health/live", None).status, 200));
        assert_served();
        let before = server.memory();
        for connection in &mut waiting {
            connection.send(&pipelined);
        }
        assert_served();
        let grown = server.memory().saturating_sub(before);
        // Parsed requests take a hundred times their bytes: all of them would be gigabytes.
        assert!(grown < how_many * 700, "{grown} KiB behind {how_many} of {target}");
    }
}

#[test]
fn pipelined_requests_in_the_same_write_take_little_memory() {
    let script = Script::echo();
    script.catch_up("slow", Reply::hang());
    let sandbox = SandboxServer::start(script);
    let server = ServerProcess::start(&sandbox.base_url, &[("APP_ADMIN_CONTROL__TIMEOUT", "30s"), QUIET]);
    let slow = request("GET", SLOW.as_bytes(), Some(&tokens::user()));
    let all = [slow.clone(), SHORT.repeat(PIPELINED_BYTES / SHORT.len())].concat();
    let wait_behind = |bytes: &[u8]| -> (Vec<Connection>, u64) {
        let before = server.memory();
        let waiting = (0..200)
            .map(|_| {
                let mut connection = server.client().connect();
                connection.send(bytes);
                connection
            })
            .collect();
        for _ in 0..20 {
            assert_eq!(server.client().get("/health/live", None).status, 200);
        }
        (waiting, server.memory().saturating_sub(before))
    };
    // The first measurement includes one-time allocations, which makes a false success less likely.
    let (_with, with) = wait_behind(&all);
    let (_without, without) = wait_behind(&slow);
    assert!(with < without + 200 * 700, "{with} KiB and {without} KiB without the pipelined requests");
}

#[test]
fn pipelined_requests_get_responses_in_order() {
    let server = TestServer::start();
    server.script.catch_up("slow", Reply::data("\"slow\"").after(Duration::from_millis(700)));
    let token = tokens::user();
    let body = r#"{"refreshToken":"x"}"#;
    let post = format!(
        "POST /auth/logout HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = format!(
        "POST /auth/logout HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let room = |number: usize| request("GET", format!("/callCatchUp/r{number}").as_bytes(), Some(&token));
    let pipelined: Vec<u8> = (0..200)
        .flat_map(|number| [room(number), post.clone().into(), b"\r\n".to_vec(), chunked.clone().into()])
        .flatten()
        .collect();
    let slow = request("GET", SLOW.as_bytes(), Some(&token));
    // In one write with the slow request, in a second write, and split at any byte.
    for pieces in [
        vec![[slow.clone(), pipelined.clone()].concat()],
        vec![slow.clone(), pipelined.clone()],
        [slow, pipelined].concat().chunks(1_777).map(<[u8]>::to_vec).collect(),
    ] {
        let mut connection = server.client().connect();
        let mut writer = connection.clone();
        let before = server.calls();
        let writing = std::thread::spawn(move || {
            for piece in pieces {
                writer.send(&piece);
            }
        });
        while server.calls() == before {
            std::thread::yield_now();
        }
        connection.read().unwrap().assert_success(r#""slow""#);
        for number in 0..200 {
            connection.read().unwrap().assert_success(&format!(r#""r{number}""#));
            assert_eq!([connection.read().unwrap().status, connection.read().unwrap().status], [200, 200], "after {number}");
        }
        writing.join().unwrap();
    }
    let calls: Vec<String> = server.script.requests().iter().map(|call| call.target.clone()).collect();
    assert_eq!(calls.len(), 3 * 201);
    assert!(calls.iter().step_by(201).all(|target| target.ends_with("/slow")), "in order");
}

#[test]
fn reset_stream_releases_its_connection() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::start(&sandbox.base_url, &[("APP_LIVE__POLL_INTERVAL", "100ms")]);
    for pipelined in [false, true] {
        let from = server.logged();
        let mut connection = server.client().connect();
        connection.send(&request("GET", LIVE.as_bytes(), Some(&tokens::user())));
        connection.read_raw(|text| text.contains("data: "));
        let files = server.descriptors();
        if pipelined {
            connection.send(&SHORT.repeat(100));
        }
        connection.reset();
        let started = Instant::now();
        while server.descriptors() >= files {
            assert!(started.elapsed() < Duration::from_secs(20), "with pipelined requests: {pipelined}");
            std::thread::yield_now();
        }
        assert!(server.lines(from, |line| line["message"] == "panicked").is_empty());
    }
}

/// Responses without a body are produced whether or not the client reads them.
#[test]
fn client_that_reads_nothing_is_not_read_from() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::start(&sandbox.base_url, &[QUIET]);
    let etag = server.client().get("/openapi.json", None).header("etag").unwrap().to_owned();
    let not_modified = format!("GET /openapi.json HTTP/1.1\r\nHost: t\r\nIf-None-Match: {etag}\r\n\r\n");
    assert_eq!(server.client().request(not_modified.as_bytes()).status, 304);
    let all = not_modified.repeat(1_000).into_bytes();
    let before = server.memory();
    let held: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            // Until all buffers on the way are full.
            let blocked = (0..2_000).find_map(|_| stream.write_all(&all).err());
            assert!(blocked.is_some_and(|error| error.kind() == ErrorKind::WouldBlock), "the server goes on reading");
            stream
        })
        .collect();
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB of unread responses");
    assert_eq!(server.client().get("/health/live", None).status, 200);
    drop(held);
}

#[test]
fn connection_ends_with_requests_behind_its_last_one() {
    let server = TestServer::with(&[("APP_LIVE__MAX_PER_CALLER", "400")]);
    let stream =
        format!("GET {LIVE} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n", tokens::user());
    for last in [
        "GET /health/live HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: t, t\r\n\r\n",
        "POST /nowhere HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
        &stream,
    ] {
        for (requests, is_half_closed) in (0..3).flat_map(|requests| [true, false].map(|half| (requests, half))) {
            let open = || {
                let mut stream = TcpStream::connect(server.address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.write_all(&[last.as_bytes(), &SHORT.repeat(requests)].concat()).unwrap();
                stream
            };
            let half_closed: Vec<TcpStream> = (0..20).map(|_| open()).filter(|_| is_half_closed).collect();
            for mut stream in half_closed {
                stream.shutdown(Shutdown::Write).unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{last:?}, {requests}: {text}");
            }
            wait_until("all connections end", || {
                server.management_client().get("/metrics", None).text().contains("\nproconf_http_connections 0\n")
            });
        }
    }
}
