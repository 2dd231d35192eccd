//! What Admin Control can do wrong, and what its askers see of it: the contract's answer, in time, and nothing of the inside.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use crate::support::answer::Answer;
use crate::support::peers::{Peer, http, read_head};
use crate::support::{TestServer, tokens};
use proconf_app_server::sandbox::Reply;

const GOOD: &str = r#"{"error":null,"data":"good"}"#;
/// `APP_ADMIN_CONTROL__TIMEOUT` of the test servers, and what may come on top.
const DEADLINE: Duration = Duration::from_millis(2_300);

fn in_front_of(base_url: &str) -> TestServer {
    TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", base_url)])
}

fn ask(server: &TestServer) -> Answer {
    server.client().get("/callCatchUp/r1", Some(&tokens::user()))
}

#[track_caller]
fn is_a_500(server: &TestServer, within: Duration, of: &str) {
    let started = Instant::now();
    ask(server).is_error(500, "Internal server error", of);
    let took = started.elapsed();
    assert!(took <= within, "{of}: {took:?}");
}

#[test]
fn nobody_listens() {
    // Bound and dropped: a port that nobody else gets while the test runs, most likely.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    is_a_500(&in_front_of(&format!("http://127.0.0.1:{port}/api")), Duration::from_secs(1), "refused");
}

#[test]
fn the_name_does_not_resolve() {
    is_a_500(&in_front_of("http://admin.invalid/api"), DEADLINE, "no such name");
}

#[test]
fn one_deadline_is_round_the_whole_call() {
    let silent = Peer::serving(|mut stream, _| while read_head(&mut stream).is_some() {});
    is_a_500(&in_front_of(&silent.base_url()), DEADLINE, "no answer");
    assert_eq!(silent.connections(), 1, "a time-out is not tried again");

    let drips_its_head = Peer::serving(|mut stream, _| drip(&mut stream, b"HTTP/1.1 200 OK\r\nX: ", b"x"));
    is_a_500(&in_front_of(&drips_its_head.base_url()), DEADLINE, "a head without end");

    let drips_its_body = Peer::serving(|mut stream, _| {
        drip(&mut stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n");
    });
    is_a_500(&in_front_of(&drips_its_body.base_url()), DEADLINE, "a body without end");
}

/// Sends `start`, then `again` every 100 ms until the other side has had enough.
fn drip(stream: &mut std::net::TcpStream, start: &[u8], again: &[u8]) {
    read_head(stream);
    let mut sent = stream.write_all(start);
    while sent.is_ok() {
        std::thread::park_timeout(Duration::from_millis(100));
        sent = stream.write_all(again);
    }
}

#[test]
fn redirects_are_not_followed() {
    let canary = Peer::canary();
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        for location in [
            format!("http://127.0.0.1:{}/x", canary.port),
            "/api/call-catchup/r1".to_owned(),
            "file:///etc/passwd".to_owned(),
        ] {
            let peer = Peer::answering(format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
            is_a_500(&in_front_of(&peer.base_url()), Duration::from_secs(1), status);
            assert_eq!(peer.connections(), 1, "{status} to {location}");
        }
    }
    assert_eq!(canary.connections(), 0);
}

#[test]
fn a_body_that_was_cut_short_is_never_believed() {
    for (of, bytes) in [
        ("a whole envelope, but more was announced", format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{GOOD}")),
        (
            "chunked, without the end",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}", GOOD.len(), &GOOD[..9]),
        ),
        ("no length at all", format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", &GOOD[..9])),
        ("half of the head", "HTTP/1.1 200 OK\r\nContent-Le".to_owned()),
        ("nothing", String::new()),
    ] {
        let peer = Peer::answering(bytes);
        is_a_500(&in_front_of(&peer.base_url()), DEADLINE, of);
    }
    let server = TestServer::start();
    server.script.catch_up("r1", Reply::data(&format!("{:?}", "long ".repeat(100_000))).cut_in_the_body());
    is_a_500(&server, DEADLINE, "cut by the sandbox");
}

#[test]
fn what_is_not_http_is_a_failure() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\x16\x03\x01\x02\x00\x01",
        "HTTP/0.9 200\r\n\r\n",
        "{\"error\":null,\"data\":\"x\"}",
        "HTTP/1.1 abc\r\n\r\n",
    ] {
        is_a_500(&in_front_of(&Peer::answering(bytes).base_url()), DEADLINE, bytes);
    }
    let two_lengths = format!("HTTP/1.1 200 OK\r\nContent-Length: {0}\r\nContent-Length: 5\r\n\r\n{GOOD}", GOOD.len());
    is_a_500(&in_front_of(&Peer::answering(two_lengths).base_url()), DEADLINE, "two lengths");
    let both = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {0}\r\nTransfer-Encoding: chunked\r\n\r\n{0:x}\r\n{GOOD}\r\n0\r\n\r\n",
        GOOD.len()
    );
    is_a_500(&in_front_of(&Peer::answering(both).base_url()), DEADLINE, "a length, and chunked");
}

#[test]
fn a_body_over_the_limit_is_a_failure_and_is_not_read_to_its_end() {
    let endless = Peer::serving(|mut stream, _| {
        read_head(&mut stream);
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while sent.is_ok() {
            sent = stream.write_all(chunk.as_bytes());
        }
    });
    is_a_500(&in_front_of(&endless.base_url()), DEADLINE, "endless");

    let announced = Peer::answering("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n{");
    is_a_500(&in_front_of(&announced.base_url()), DEADLINE, "a gigabyte announced");

    let settings = [("APP_ADMIN_CONTROL__MAX_BODY_BYTES", "100")];
    let server = TestServer::with(&settings);
    let of_length = |length: usize| format!("{:?}", "x".repeat(length - r#"{"error":null,"data":""}"#.len()));
    server.script.catch_up("r1", Reply::data(&of_length(100)));
    ask(&server).data();
    server.script.catch_up("r1", Reply::data(&of_length(101)));
    is_a_500(&server, DEADLINE, "one byte too many");
}

#[test]
fn a_compressed_body_is_not_opened() {
    let gzip_of_good = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0x56, 0x4a, 0x2d, 0x2a, 0xca, 0x2f, 0x52, 0xb2, 0xca, 0x2b, 0xcd, 0xc9,
        0xd1, 0x51, 0x4a, 0x49, 0x2c, 0x49, 0x54, 0xb2, 0x52, 0x4a, 0xcf, 0xcf, 0x4f, 0x51, 0xaa, 0x05, 0x00,
    ];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", gzip_of_good.len());
    let peer = Peer::answering([head.as_bytes(), &gzip_of_good].concat());
    is_a_500(&in_front_of(&peer.base_url()), Duration::from_secs(1), "gzip");
}

#[test]
fn a_connection_that_breaks_before_an_answer_is_tried_once_more_on_a_fresh_one() {
    let breaks_first = Peer::serving(|mut stream, number| {
        if read_head(&mut stream).is_some() && number > 0 {
            stream.write_all(http("200 OK", GOOD).as_bytes()).unwrap();
        }
    });
    let server = in_front_of(&breaks_first.base_url());
    ask(&server).is_success_with(r#""good""#);
    assert_eq!(breaks_first.connections(), 2);

    let always_breaks = Peer::serving(|mut stream, _| drop(read_head(&mut stream)));
    is_a_500(&in_front_of(&always_breaks.base_url()), Duration::from_secs(1), "breaks twice");
    assert_eq!(always_breaks.connections(), 2, "and not a third time");
}

#[test]
fn no_answer_is_lost_when_every_kept_connection_is_closed_by_the_other_side() {
    let closes_after_one = Peer::serving(|mut stream, _| {
        read_head(&mut stream);
        stream.write_all(http("200 OK", GOOD).as_bytes()).unwrap();
        // Closed without a word in the head: the client believes it may use the connection again.
        let _ = stream.shutdown(Shutdown::Both);
    });
    let server = in_front_of(&closes_after_one.base_url());
    for _ in 0..200 {
        ask(&server).is_success_with(r#""good""#);
    }
}

#[test]
fn a_5xx_is_not_tried_again_and_the_next_good_answer_is_served_at_once() {
    let server = TestServer::start();
    server.script.catch_up("r1", Reply::body(503, "<html>the inside</html>"));
    is_a_500(&server, Duration::from_secs(1), "503");
    assert_eq!(server.calls(), 1);
    server.script.catch_up("r1", Reply::data(r#""good""#));
    ask(&server).is_success_with(r#""good""#);
}

#[test]
fn more_calls_than_allowed_are_refused_at_once_and_not_queued() {
    let server = TestServer::with(&[("APP_ADMIN_CONTROL__MAX_IN_FLIGHT", "3")]);
    server.script.catch_up("slow", Reply::silence());
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let client = server.client();
            std::thread::spawn(move || client.get("/callCatchUp/slow", Some(&tokens::user())))
        })
        .collect();
    while server.calls() < 3 {
        std::thread::yield_now();
    }
    let started = Instant::now();
    let answer = ask(&server);
    answer.is_error(503, "Service unavailable", "the fourth");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(started.elapsed() < Duration::from_secs(1));
    for slow in slow {
        slow.join().unwrap().is_error(500, "Internal server error", "timed out");
    }
    ask(&server).is_success_with(r#""r1""#);
}

#[test]
fn the_base_url_is_joined_whatever_its_end() {
    for end in ["", "/", "//"] {
        let peer = Peer::serving(|mut stream, _| {
            let head = read_head(&mut stream).unwrap();
            let target = head.split(' ').nth(1).unwrap();
            stream.write_all(http("200 OK", &format!(r#"{{"error":null,"data":{target:?}}}"#)).as_bytes()).unwrap();
        });
        let server = in_front_of(&format!("http://localhost:{}/deep/api{end}", peer.port));
        ask(&server).is_success_with(r#""/deep/api/call-catchup/r1""#);
    }
}
