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
fn a_request_that_takes_the_server_too_long_is_its_own_fault_even_if_it_had_a_body() {
    let server = TestServer::with(&[("APP_SERVER__REQUEST_TIMEOUT", "300ms")]);
    server.script.catch_up("r1", Reply::silence());
    let request = format!(
        "GET /callCatchUp/r1 HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\n\r\nab",
        tokens::user()
    );
    server.client().ask(request.as_bytes()).is_error(500, "Internal server error", "with a body");
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

    let announced = Peer::serving(|mut stream, _| {
        read_head(&mut stream);
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while sent.is_ok() {
            sent = stream.write_all(&[b' '; 0x2000]);
        }
    });
    is_a_500(&in_front_of(&announced.base_url()), Duration::from_secs(1), "a gigabyte announced");

    let settings = [("APP_ADMIN_CONTROL__MAX_BODY_BYTES", "100")];
    let server = TestServer::with(&settings);
    let of_length = |length: usize| format!("{:?}", "x".repeat(length - r#"{"error":null,"data":""}"#.len()));
    server.script.catch_up("r1", Reply::data(&of_length(100)));
    ask(&server).data();
    server.script.catch_up("r1", Reply::data(&of_length(101)));
    is_a_500(&server, DEADLINE, "one byte too many");
}

#[test]
fn an_encoded_body_is_not_opened_and_not_believed() {
    // gzip of GOOD, whole.
    let gzip = [
        0x1f, 0x8b, 0x8, 0x0, 0x0, 0x0, 0x0, 0x0, 0x2, 0x3, 0xab, 0x56, 0x4a, 0x2d, 0x2a, 0xca, 0x2f, 0x52, 0xb2, 0xca,
        0x2b, 0xcd, 0xc9, 0xd1, 0x51, 0x4a, 0x49, 0x2c, 0x49, 0x54, 0xb2, 0x52, 0x4a, 0xcf, 0xcf, 0x4f, 0x51, 0xaa, 0x5,
        0x0, 0x87, 0xfa, 0x39, 0xf2, 0x1c, 0x0, 0x0, 0x0,
    ];
    for (encoding, body) in
        [("gzip", gzip.as_slice()), ("gzip", GOOD.as_bytes()), ("br", GOOD.as_bytes()), ("x", GOOD.as_bytes())]
    {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n", body.len());
        let peer = Peer::answering([head.as_bytes(), body].concat());
        is_a_500(&in_front_of(&peer.base_url()), Duration::from_secs(1), encoding);
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: {}\r\n\r\n{GOOD}", GOOD.len());
    ask(&in_front_of(&Peer::answering(head).base_url())).is_success_with(r#""good""#);
}

#[test]
fn a_404_is_a_404_whatever_becomes_of_its_body() {
    for rest in [
        "Content-Length: 1000\r\n\r\nx",
        "Transfer-Encoding: chunked\r\n\r\nzz",
        "\r\n<html>",
        "Content-Length: 5000000\r\n\r\n",
    ] {
        let server = in_front_of(&Peer::answering(format!("HTTP/1.1 404 Not Found\r\n{rest}")).base_url());
        ask(&server).is_error(404, "Not found", rest);
    }
}

/// Answers each request in two parts, the second one late, and says which room it was asked for.
fn in_two_parts(first: &'static str) -> Peer {
    Peer::serving(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let room = head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap().to_owned();
            let late = http("200 OK", &format!(r#"{{"error":null,"data":"text of {room}"}}"#));
            let _ = stream.write_all(first.as_bytes());
            std::thread::park_timeout(Duration::from_millis(30));
            if stream.write_all(late.as_bytes()).is_err() {
                break;
            }
        }
    })
}

#[test]
fn no_asker_ever_gets_bytes_that_were_meant_for_another() {
    for first in [
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 28\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n{\"error\":null,\"data\":\"x\"}  \r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{\"error\":null,\"data\":null}",
        "",
    ] {
        let server = in_front_of(&in_two_parts(first).base_url());
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let server = &server;
                scope.spawn(move || {
                    for number in 0..10 {
                        let room = format!("r{worker}-{number}");
                        let answer = server.client().get(&format!("/callCatchUp/{room}"), Some(&tokens::guest(&room)));
                        if answer.status == 200 && answer.data() != serde_json::Value::Null {
                            answer.is_success_with(&format!(r#""text of {room}""#));
                        }
                    }
                });
            }
        });
    }
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

    let breaks_in_the_head = Peer::serving(|mut stream, number| {
        read_head(&mut stream);
        let answer = http("200 OK", GOOD);
        let _ = stream.write_all(if number > 0 { answer.as_bytes() } else { &answer.as_bytes()[..25] });
    });
    let server = in_front_of(&breaks_in_the_head.base_url());
    ask(&server).is_success_with(r#""good""#);
    assert_eq!(breaks_in_the_head.connections(), 2);

    let always_breaks = Peer::serving(|mut stream, _| drop(read_head(&mut stream)));
    is_a_500(&in_front_of(&always_breaks.base_url()), Duration::from_secs(1), "breaks twice");
    assert_eq!(always_breaks.connections(), 2, "and not a third time");
}

#[test]
fn no_answer_is_lost_when_every_connection_is_closed_after_one_answer() {
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
    let slow = server.askers_of_rooms_that_hang(3);
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
