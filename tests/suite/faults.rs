//! Faults of Admin Control, one row each: response of every route, time taken, reason in the log, and recovery at once.
//!
//! docs/FAULTS.md has the table.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{Client, request};
use crate::support::fake_upstream::{FakeUpstream, GOOD_ENVELOPE, drip, http, read_head};
use crate::support::process::ServerProcess;
use crate::support::response::Response;
use crate::support::tokens;

/// `APP_ADMIN_CONTROL__TIMEOUT` here.
const DEADLINE: Duration = Duration::from_millis(600);
/// Tolerance on a busy machine.
const GRACE: Duration = Duration::from_secs(1);
/// Must not reach a client.
const INTERNAL_TEXT: &str = "the inside of Admin Control";

/// The endpoints, their good `data`, and the client's `data` for it.
const ROUTES: [(&str, &str, &str); 6] = [
    ("call-catchup", r#""text""#, r#""text""#),
    ("call-summary", r#"{"room_name":"r1","file_url":"r1_17/summary.txt"}"#, r#""text of the file""#),
    ("sessions-status", r#"{"transcript_status":true}"#, r#"{"transcript_status":true}"#),
    ("configuration", r#"{"features":{}}"#, r#"{"features":{}}"#),
    ("meetings", "[]", "[]"),
    ("proconf-token", r#""a.b.c""#, r#""a.b.c""#),
];

fn fetch(client: &Client, endpoint: &str) -> Response {
    let user = tokens::user();
    match endpoint {
        "call-catchup" => client.get("/callCatchUp/r1", Some(&user)),
        "call-summary" => client.get("/callSummary/r1", Some(&user)),
        "sessions-status" => client.get("/callStatus/r1", Some(&user)),
        "configuration" => client.get("/callConfig", Some(&user)),
        "meetings" => client.get("/meetings", Some(&user)),
        _ => client.post_with("/proconfToken", &user, r#"{"role":"member","room":"r1","participantName":"Ann"}"#),
    }
}

type Serve = fn(&mut TcpStream, &str);

/// Responds well, or by `fault` while one is set.
fn admin_control(fault: Arc<Mutex<Option<Serve>>>) -> FakeUpstream {
    FakeUpstream::serving(move |mut stream, _| {
        while let Some(endpoint) = read_request(&mut stream) {
            let serve = *fault.lock().unwrap();
            if let Some(serve) = serve {
                return serve(&mut stream, &endpoint);
            }
            let (_, data, _) = ROUTES.iter().find(|(name, ..)| *name == endpoint).unwrap();
            if stream.write_all(http("200 OK", &format!(r#"{{"error":null,"data":{data}}}"#)).as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Reads a request with its body; returns its endpoint.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let head = read_head(stream)?;
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
    head.split(' ').nth(1)?.split('/').nth(2).map(str::to_owned)
}

/// Waits for the end of the connection.
fn hang(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
}

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn respond(stream: &mut TcpStream, status: &str, body: &str) {
    let _ = stream.write_all(http(status, body).as_bytes());
    hang(stream);
}

/// One row: the fault, the status of every route, and the reason in the log ("" for none).
struct Fault(&'static str, u16, &'static str, Serve);

#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    Fault("accept and hang", 500, "timed-out", |s, _| hang(s)),
    Fault("reset before the head", 500, "connection", |s, _| reset(s)),
    Fault("close before the head", 500, "connection", |_, _| {}),
    Fault("reset in the head", 500, "connection", |s, _| { let _ = s.write_all(b"HTTP/1.1 200 OK\r\nContent-"); reset(s); }),
    Fault("close in the head", 500, "connection", |s, _| { let _ = s.write_all(b"HTTP/1.1 200 OK\r\nContent-"); }),
    Fault("reset after the head", 500, "length-mismatch", |s, _| {
        let _ = s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        std::thread::park_timeout(Duration::from_millis(50));
        reset(s);
    }),
    Fault("close in a body of announced length", 500, "length-mismatch", |s, _| {
        let _ = write!(s, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{GOOD_ENVELOPE}");
    }),
    Fault("close in a chunked body", 500, "length-mismatch", |s, _| {
        let _ = write!(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n{{\"error\":null,");
    }),
    Fault("close between chunks", 500, "length-mismatch", |s, _| {
        let _ = write!(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n{GOOD_ENVELOPE}\r\n");
    }),
    Fault("close after a body without a length", 500, "not-the-envelope", |s, _| { let _ = write!(s, "HTTP/1.1 200 OK\r\n\r\n{GOOD_ENVELOPE}"); }),
    Fault("a byte more than announced", 500, "not-http", |s, _| { let _ = s.write_all((http("200 OK", GOOD_ENVELOPE) + "x").as_bytes()); hang(s); }),
    Fault("two lengths", 500, "not-http", |s, _| {
        let _ = write!(s, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Length: 5\r\n\r\n{GOOD_ENVELOPE}", GOOD_ENVELOPE.len());
        hang(s);
    }),
    Fault("a length, and chunked", 500, "not-http", |s, _| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length";
        let _ = write!(s, "{head}: {0}\r\n\r\n{0:x}\r\n{GOOD_ENVELOPE}\r\n0\r\n\r\n", GOOD_ENVELOPE.len());
        hang(s);
    }),
    Fault("drip the head", 500, "timed-out", |s, _| { let _ = s.write_all(b"HTTP/1.1 200 OK\r\nX: "); drip(s, b"x"); }),
    Fault("drip the body", 500, "timed-out", |s, _| {
        let _ = s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        drip(s, b" ");
    }),
    Fault("never end the body", 500, "too-large", |s, _| {
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let mut sent = s.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while sent.is_ok() { sent = s.write_all(chunk.as_bytes()); }
    }),
    Fault("announce a gigabyte", 500, "too-large", |s, _| {
        let mut sent = s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while sent.is_ok() { sent = s.write_all(&[b' '; 0x2000]); }
    }),
    Fault("garbage", 500, "not-http", |s, _| { let _ = s.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"); hang(s); }),
    Fault("TLS instead of HTTP", 500, "not-http", |s, _| { let _ = s.write_all(b"\x16\x03\x01\x02\x00\x01\r\n\r\n"); hang(s); }),
    Fault("HTTP/0.9", 500, "not-http", |s, _| { let _ = s.write_all(b"HTTP/0.9 200\r\n\r\n"); hang(s); }),
    Fault("a body without a head", 500, "not-http", |s, _| { let _ = s.write_all(GOOD_ENVELOPE.as_bytes()); hang(s); }),
    Fault("lines that end in a line feed alone", 500, "not-http", |s, _| {
        let _ = write!(s, "HTTP/1.1 200 OK\nContent-Length: {}\n\n{GOOD_ENVELOPE}", GOOD_ENVELOPE.len());
        hang(s);
    }),
    Fault("a truncated body whose length has a blank before its colon", 500, "not-http", |s, _| {
        let _ = write!(s, "HTTP/1.1 200 OK\r\nContent-Length : 1000\r\n\r\n{GOOD_ENVELOPE}");
    }),
    Fault("a head of 300 KB", 500, "not-http", |s, _| {
        let _ = s.write_all(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(300_000)).as_bytes());
        hang(s);
    }),
    Fault("five thousand header lines", 500, "not-http", |s, _| {
        let _ = s.write_all(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(5_000)).as_bytes());
        hang(s);
    }),
    Fault("a gzip bomb", 500, "encoded", |s, _| {
        let bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3][..], &[0xff; 100_000]].concat();
        let _ = write!(s, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
        let _ = s.write_all(&bomb);
        hang(s);
    }),
    Fault("101", 500, "status", |s, _| { let _ = s.write_all(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"); hang(s); }),
    Fault("204", 500, "status", |s, _| { let _ = s.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"); hang(s); }),
    Fault("204 with a body", 500, "status", |s, _| respond(s, "204 No Content", GOOD_ENVELOPE)),
    Fault("205 with a body", 500, "status", |s, _| respond(s, "205 Reset Content", GOOD_ENVELOPE)),
    Fault("206", 500, "status", |s, _| respond(s, "206 Partial Content", GOOD_ENVELOPE)),
    Fault("304", 500, "status", |s, _| { let _ = s.write_all(b"HTTP/1.1 304 Not Modified\r\n\r\n"); hang(s); }),
    Fault("302 to elsewhere", 500, "status", |s, _| {
        let _ = s.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n");
        hang(s);
    }),
    Fault("307 in a loop", 500, "status", |s, endpoint| {
        let _ = write!(s, "HTTP/1.1 307 Again\r\nLocation: /api/{endpoint}\r\nContent-Length: 0\r\n\r\n");
        hang(s);
    }),
    Fault("400", 500, "status", |s, _| respond(s, "400 Bad Request", &failure(400))),
    Fault("401", 500, "status", |s, _| respond(s, "401 Unauthorized", &failure(401))),
    Fault("403", 500, "status", |s, _| respond(s, "403 Forbidden", &failure(403))),
    Fault("404 in JSON", 404, "", |s, _| respond(s, "404 Not Found", &failure(404))),
    Fault("404 in HTML", 404, "", |s, _| respond(s, "404 Not Found", INTERNAL_TEXT)),
    Fault("410", 500, "status", |s, _| respond(s, "410 Gone", &failure(410))),
    Fault("429", 500, "status", |s, _| respond(s, "429 Too Many Requests", &failure(429))),
    Fault("500", 500, "status", |s, _| respond(s, "500 Internal Server Error", &failure(500))),
    Fault("500 whose body hangs", 500, "status", |s, _| {
        let _ = s.write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1000\r\n\r\nx");
        hang(s);
    }),
    Fault("502", 500, "status", |s, _| respond(s, "502 Bad Gateway", INTERNAL_TEXT)),
    Fault("503", 500, "status", |s, _| respond(s, "503 Service Unavailable", INTERNAL_TEXT)),
    Fault("HTML with 200", 500, "not-the-envelope", |s, _| respond(s, "200 OK", "<html>the inside of Admin Control</html>")),
    Fault("empty", 500, "not-the-envelope", |s, _| respond(s, "200 OK", "")),
    Fault("truncated JSON", 500, "not-the-envelope", |s, _| respond(s, "200 OK", &GOOD_ENVELOPE[..20])),
    Fault("JSON that is no envelope", 500, "not-the-envelope", |s, _| respond(s, "200 OK", r#"{"result":"the inside of Admin Control"}"#)),
    Fault("an array", 500, "not-the-envelope", |s, _| respond(s, "200 OK", r#"[null,"text"]"#)),
    Fault("no data", 500, "not-the-envelope", |s, _| respond(s, "200 OK", r#"{"error":null}"#)),
    Fault("data twice", 500, "not-the-envelope", |s, _| respond(s, "200 OK", r#"{"error":null,"data":1,"data":2}"#)),
    Fault("two documents", 500, "not-the-envelope", |s, _| respond(s, "200 OK", &[GOOD_ENVELOPE, GOOD_ENVELOPE].concat())),
    Fault("an error of the wrong type", 500, "error-in-envelope", |s, _| respond(s, "200 OK", r#"{"error":false,"data":"the inside of Admin Control"}"#)),
    Fault("an error in a success", 500, "error-in-envelope", |s, _| respond(s, "200 OK", &failure(401))),
    Fault("404 in a success", 404, "", |s, _| respond(s, "200 OK", &failure(404))),
    Fault("bad UTF-8", 500, "not-the-envelope", |s, _| {
        let _ = s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"error\":null,\"data\":\"\xff\xfe\xff\"}");
        hang(s);
    }),
    Fault("200,000 levels of nesting", 500, "not-the-envelope", |s, _| {
        respond(s, "200 OK", &format!(r#"{{"error":null,"data":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000)));
    }),
];

fn failure(code: u16) -> String {
    format!(r#"{{"data":null,"error":{{"code":{code},"message":"{INTERNAL_TEXT}"}}}}"#)
}

fn settings() -> [(&'static str, &'static str); 2] {
    // Explaining an absence would take more calls.
    [("APP_ADMIN_CONTROL__TIMEOUT", "600ms"), ("APP_CATCH_UP__EXPLAIN_ABSENCE", "false")]
}

/// Requests every route at once and checks status and time. Returns the time of the slowest one.
fn assert_all_fail(server: &ServerProcess, status: u16, case: &str) -> Duration {
    let message = if status == 404 { "Not found" } else { "Internal server error" };
    let fetch = |endpoint: &'static str| {
        let client = server.client();
        move || {
            let started = Instant::now();
            fetch(&client, endpoint).assert_error(status, message, &format!("{case}: {endpoint}"));
            started.elapsed()
        }
    };
    let took = std::thread::scope(|scope| {
        let requests = ROUTES.map(|(endpoint, ..)| scope.spawn(fetch(endpoint)));
        requests.map(|request| request.join().unwrap()).into_iter().max().unwrap()
    });
    assert!(took < DEADLINE + GRACE, "{case} took {took:?}");
    took
}

fn assert_all_succeed(server: &ServerProcess, after: &str) {
    for (endpoint, _, data) in ROUTES {
        let started = Instant::now();
        fetch(&server.client(), endpoint).assert_success(data);
        assert!(started.elapsed() < GRACE, "{after}: not served at once");
    }
}

/// Prints the table of `docs/FAULTS.md`: `cargo test --test suite faults:: -- --nocapture`.
#[test]
fn fault_has_its_documented_response_and_one_log_line() {
    let fault = Arc::new(Mutex::new(None));
    let peer = admin_control(Arc::clone(&fault));
    let server = ServerProcess::start(&peer.base_url(), &settings());
    server.put_summary("r1_17/summary.txt", "text of the file");
    assert_all_succeed(&server, "nothing");
    // The log lags behind the responses: wait for their lines.
    server.line(0, is_the_last_good_response);
    let (memory, descriptors) = (server.memory(), server.descriptors());
    for Fault(name, status, reason, serve) in FAULTS {
        let logged = server.logged();
        *fault.lock().unwrap() = Some(*serve);
        let took = assert_all_fail(&server, *status, name);
        *fault.lock().unwrap() = None;
        assert_all_succeed(&server, name);
        assert_reasons(&server, logged, name, reason);
        println!("| {name} | {status} | {reason} | {} ms |", took.as_millis());
    }
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 64 * 1024, "{grown} KiB more");
    assert!(server.descriptors() <= descriptors + 10, "{} descriptors, before {descriptors}", server.descriptors());
}

#[test]
fn absent_admin_control_is_a_500_with_its_reason() {
    // Bound and released: another process is unlikely to get this port during the test.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (base_url, reason) in
        [(format!("http://127.0.0.1:{port}/api"), "connection"), ("http://admin.invalid/api".to_owned(), "not-connected")]
    {
        let server = ServerProcess::start(&base_url, &[("APP_CATCH_UP__EXPLAIN_ABSENCE", "false")]);
        let took = assert_all_fail(&server, 500, reason);
        for _ in 0..ROUTES.len() {
            server.line(0, |line| line["message"] == "Admin Control failed" && line["reason"] == reason);
        }
        println!("| {base_url} | 500 | {reason} | {} ms |", took.as_millis());
    }
}

#[test]
fn hanging_admin_control_costs_no_thread_and_little_memory() {
    let peer = FakeUpstream::serving(|mut stream, _| {
        read_head(&mut stream);
        hang(&mut stream);
    });
    let server = ServerProcess::start(&peer.base_url(), &[("APP_ADMIN_CONTROL__TIMEOUT", "20s")]);
    server.client().get("/nothing", None).assert_error(404, "Not found", "quiet");
    let (threads, memory) = (server.threads(), server.memory());
    let user = tokens::user();
    let mut waiting: Vec<_> = (0..500).map(|_| server.client().connect()).collect();
    for (number, connection) in waiting.iter_mut().enumerate() {
        connection.send(&request("GET", format!("/callCatchUp/r{number}").as_bytes(), Some(&user)));
        // One by one, so that the listen queue does not overflow.
        let started = Instant::now();
        while peer.connections() <= number {
            assert!(started.elapsed() < GRACE, "{number} are waiting");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    for _ in 0..200 {
        let started = Instant::now();
        server.client().get("/nothing", None).assert_error(404, "Not found", "besides");
        server.client().get("/auth/joinmember?roomName=r1", None).data();
        assert!(started.elapsed() < GRACE);
    }
    let (more_threads, more_memory) = (server.threads().saturating_sub(threads), server.memory().saturating_sub(memory));
    // Name lookups use short-lived threads.
    assert!(more_threads <= 4 && more_memory < 50 * 1024, "{more_threads} threads, {more_memory} KiB");
}

fn is_the_last_good_response(line: &Value) -> bool {
    line["path"] == "/proconfToken" && line["status"] == 200
}

/// Asserts that each route logged its failure once.
fn assert_reasons(server: &ServerProcess, logged: usize, name: &str, reason: &str) {
    // The last good response logs its line after all others.
    server.line(logged, is_the_last_good_response);
    let failures = server.lines(logged, |line| line["message"] == "Admin Control failed");
    let expected = if reason.is_empty() { 0 } else { ROUTES.len() };
    assert_eq!(failures.len(), expected, "{name}: {failures:#?}");
    for line in &failures {
        assert_eq!(line["reason"], reason, "{name}");
        assert!(!line.to_string().contains(INTERNAL_TEXT), "{name}: {line}");
    }
    let louder = server.lines(logged, |line: &Value| line["level"] == "ERROR");
    assert!(louder.is_empty(), "{name}: {louder:#?}");
}
