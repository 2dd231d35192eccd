//! Mutated requests: bits flipped, bytes inserted, removed or repeated. Each is served or rejected in time.
//!
//! A request that follows a mutated one is served only if the mutated one was complete and valid.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::request;
use crate::support::fake_upstream::FakeUpstream;
use crate::support::process::ServerProcess;
use crate::support::request_framing::are_whole_requests;

/// Fixed, so that a failure can be reproduced.
const SEED: u64 = 0x5eed;
/// The number of requests; `TEST_MUTATIONS` overrides it (docs/QA.md).
const REQUESTS: usize = 12_500;
/// The client has closed its half, so only the request timeout can delay the end.
const DEADLINE: Duration = Duration::from_secs(8);

/// The request after each mutated one, and the text that only its response has.
const MARKER: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n";
const ANSWERED: &str = r#"{"status":"live"}"#;

const LONG: &str = "a-value-of-some-length-that-is-cut-and-doubled-and-goes-on-for-a-while-without-any-blank-in-it";

/// Valid requests without a token, so that none causes a call to Admin Control.
fn valid_requests() -> Vec<String> {
    let mut all = Vec::new();
    for target in [
        "/",
        "/nowhere",
        "/callCatchUp/r1",
        "/callCatchUp?roomName=r%20one",
        "/callStatus?roomName=r1&roomName=r2",
        "/meetings",
        "/auth/joinmember?roomName=r%c3%a9",
        "/health/ready",
        "http://t/callConfig",
        "/callCatchUp/r1/live?ticket=a.b.c",
    ] {
        for headers in ["", "Authorization: Bearer a.b.c\r\n", "Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n"] {
            all.push(format!("GET {target} HTTP/1.1\r\nHost: t\r\n{headers}X-Long: {LONG}\r\n\r\n"));
        }
    }
    for target in ["/auth/login", "/auth/refresh", "/auth/logout", "/proconfToken"] {
        let head = format!("POST {target} HTTP/1.1\r\nHost: t:80\r\nContent-Type: application/json\r\n");
        let body = r#"{"refreshToken":"abc","room":"r1","role":"member"}"#;
        all.push(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
        all.push(format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        all.push(format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x};x=y\r\n{body}\r\n0\r\nX-End: 1\r\n\r\n", body.len()));
    }
    for method in ["HEAD", "OPTIONS", "PUT", "TRACE"] {
        all.push(format!("{method} /callConfig HTTP/1.1\r\nHost: t\r\nOrigin: https://t\r\n\r\n"));
        all.push(format!("{method} /callConfig HTTP/1.0\r\n\r\n"));
    }
    all
}

/// A `SplitMix64` random number generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }
}

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes.insert(at, *b"\r\n\0\t :;,%0\xff"[..].get(random.below(11)).unwrap()),
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            3 => {
                let end = (at + 1 + random.below(20)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// Sends `bytes`, and reads to the end of the connection.
fn exchange(server: &ServerProcess, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut responses = Vec::new();
    // The server may respond and close before it has read everything.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    match stream.read_to_end(&mut responses) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8_lossy(&responses).into_owned(),
    }
}

#[test]
fn mutated_request_is_served_or_rejected_in_time() {
    let admin_control = FakeUpstream::canary();
    // The fixture keeps each log line, so a long run logs less.
    let all = std::env::var("TEST_MUTATIONS").map_or(REQUESTS, |all| all.parse().expect("TEST_MUTATIONS is a number"));
    let log = if all > REQUESTS { "error,proconf_app_server::app=info" } else { "trace" };
    let server = ServerProcess::start(&admin_control.base_url(), &[("RUST_LOG", log)]);
    let valid = valid_requests();
    assert_eq!(valid.len(), 50);
    let (without_response, markers, started) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for (number, request) in valid.iter().enumerate() {
            let (server, without_response, markers) = (&server, &without_response, &markers);
            let mut random = Random(SEED + number as u64);
            let run = move || {
                for _ in 0..all / 50 {
                    let sent = mutate(request.as_bytes(), &mut random);
                    let started = Instant::now();
                    let got = exchange(server, &[&sent, MARKER].concat());
                    let marker = got.contains(ANSWERED);
                    assert!(!marker || are_whole_requests(&sent), "smuggled after {}: {got}", sent.escape_ascii());
                    markers.fetch_add(usize::from(marker), Ordering::Relaxed);
                    let sent = sent.escape_ascii();
                    assert!(started.elapsed() < DEADLINE, "{sent}: {:?}", started.elapsed());
                    assert!(got.is_empty() || got.starts_with("HTTP/1."), "{sent}: {got}");
                    assert!(!got.contains("HTTP/1.1 500"), "{sent}: {got}");
                    without_response.fetch_add(usize::from(got.is_empty()), Ordering::Relaxed);
                }
            };
            scope.spawn(run);
        }
    });
    let (without_response, markers) = (without_response.into_inner(), markers.into_inner());
    println!("{all} requests in {:?}: {without_response} ended without a response", started.elapsed());
    println!("{markers} were still valid, and the request after them was served");
    assert!(
        without_response < all / 2 && markers > all / 20,
        "{without_response} without a response, {markers} valid, of {all}"
    );
    assert_eq!(server.client().request(&request("GET", b"/health/ready", None)).status, 200);
    assert!(server.lines(0, |line| line["message"] == "panicked").is_empty());
    assert_eq!(admin_control.connections(), 0);
}
