//! The connection pool for Admin Control: connections are reused and no response reaches another request.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::support::fake_upstream::{FakeUpstream, http, read_head};
use crate::support::response::Response;
use crate::support::{TestServer, tokens, wait_until};

/// Another request's response.
const FOREIGN: &str = r#"{"error":null,"data":"foreign"}"#;
const ONE_WORKER: (&str, &str) = ("APP_SERVER__WORKERS", "1");
const TIMEOUT: Duration = Duration::from_secs(10);

fn in_front_of(peer: &FakeUpstream, settings: &[(&str, &str)]) -> TestServer {
    let base_url = peer.base_url();
    let settings: Vec<_> =
        [("APP_ADMIN_CONTROL__BASE_URL", base_url.as_str())].into_iter().chain(settings.iter().copied()).collect();
    TestServer::with(&settings)
}

fn fetch(server: &TestServer, room: &str) -> Response {
    server.client().get(&format!("/callCatchUp/{room}"), Some(&tokens::user()))
}

fn assert_own(response: &Response, room: &str) {
    response.assert_success(&format!(r#""text of {room}""#));
}

/// The room of the next request, or `None` at the end of the connection.
fn requested_room(stream: &mut TcpStream) -> Option<String> {
    read_head(stream)?.split(' ').nth(1)?.rsplit('/').next().map(str::to_owned)
}

fn body_of(room: &str) -> String {
    format!(r#"{{"error":null,"data":"text of {room}"}}"#)
}

fn text_of(room: &str) -> String {
    http("200 OK", &body_of(room))
}

/// Requests so many rooms, four at a time. Each response is the room's own, or a failure; returns how many were served.
fn request_rooms(server: &TestServer, rooms: usize) -> usize {
    let (next, succeeded) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let number @ 0.. = next.fetch_add(1, Ordering::SeqCst)
                    && number < rooms
                {
                    let (room, response) = (format!("r{number}"), fetch(server, &format!("r{number}")));
                    if response.status == 200 {
                        assert_own(&response, &room);
                        succeeded.fetch_add(1, Ordering::SeqCst);
                    } else {
                        response.assert_error(500, "Internal server error", &room);
                    }
                }
            });
        }
    });
    succeeded.into_inner()
}

#[test]
fn connection_is_reused_for_a_get_and_never_for_a_token() {
    let peer = FakeUpstream::serving(|mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let _ = stream.write_all(text_of("r").as_bytes());
            assert!(!head.starts_with("POST") || head.to_lowercase().contains("connection: close"), "{head}");
        }
    });
    let server = in_front_of(&peer, &[ONE_WORKER]);
    let body = r#"{"role":"member","room":"r1","participantName":"Ann"}"#;
    for tokens_issued in 0..3 {
        for number in 0..10 {
            fetch(&server, &format!("r{tokens_issued}-{number}")).assert_success(r#""text of r""#);
        }
        assert_eq!(peer.connections(), 1 + tokens_issued);
        server.client().post_with("/proconfToken", &tokens::user(), body).data();
        assert_eq!(peer.connections(), 2 + tokens_issued, "a token's connection");
    }
}

#[test]
fn surplus_connections_time_out_while_one_is_in_use() {
    let open = Arc::new(AtomicUsize::new(0));
    let (open_in_peer, (entered, arrived)) = (Arc::clone(&open), mpsc::channel::<()>());
    let entered = Mutex::new(entered);
    let barrier = Arc::new(std::sync::Barrier::new(20));
    let peer = FakeUpstream::serving(move |mut stream, _| {
        open_in_peer.fetch_add(1, Ordering::SeqCst);
        while let Some(room) = requested_room(&mut stream) {
            if room != "steady" {
                barrier.wait();
                let _ = entered.lock().unwrap().send(());
            }
            let _ = stream.write_all(text_of(&room).as_bytes());
        }
        open_in_peer.fetch_sub(1, Ordering::SeqCst);
    });
    let server = in_front_of(&peer, &[ONE_WORKER, ("APP_CATCH_UP__FRESH_FOR", "0s")]);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let server = &server;
            scope.spawn(move || assert_own(&fetch(server, &format!("r{number}")), &format!("r{number}")));
        }
    });
    assert_eq!((arrived.try_iter().count(), open.load(Ordering::SeqCst)), (20, 20), "all at once");
    wait_until("idle connections are closed", || {
        assert_own(&fetch(&server, "steady"), "steady");
        open.load(Ordering::SeqCst) == 1
    });
    assert_eq!(peer.connections(), 20, "no new one was opened");
}

#[test]
fn closed_connection_costs_no_response() {
    // Each second connection is closed right after a response, or when the next request arrives.
    for is_late in [false, true] {
        let peer = FakeUpstream::serving(move |mut stream, number| {
            while let Some(room) = requested_room(&mut stream) {
                if stream.write_all(text_of(&room).as_bytes()).is_err() {
                    return;
                }
                if number % 2 == 1 {
                    let _ = if is_late { read_head(&mut stream) } else { None };
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
        });
        let server = in_front_of(&peer, &[ONE_WORKER]);
        assert_eq!(request_rooms(&server, 1_000), 1_000, "late: {is_late}");
        assert!(peer.connections() > 2, "{}", peer.connections());
    }
}

/// Each of these upstreams misbehaves for every fourth room, so that the circuit breaker stays closed.
#[test]
fn misframed_response_never_reaches_another_request() {
    type Misbehave = fn(&mut TcpStream, &str);
    let foreign = || http("200 OK", FOREIGN);
    let cases: &[(&str, Misbehave)] = &[
        ("a second response behind the first", |s, room| {
            let _ = s.write_all((text_of(room) + &http("200 OK", FOREIGN)).as_bytes());
        }),
        ("a second response right after the first", |s, room| {
            let _ = s.write_all(text_of(room).as_bytes());
            let _ = s.write_all(http("200 OK", FOREIGN).as_bytes());
        }),
        ("a length shorter than the body", |s, room| {
            let _ = s.write_all((text_of(room) + " ").as_bytes());
            let _ = s.write_all(http("200 OK", FOREIGN).as_bytes());
        }),
        ("two lengths", |s, room| {
            let body = body_of(room);
            let lengths = format!("Content-Length: {}\r\nContent-Length: {}", body.len(), body.len() + 5);
            let _ = write!(s, "HTTP/1.1 200 OK\r\n{lengths}\r\n\r\n{body}{}", http("200 OK", FOREIGN));
        }),
        ("a length, and chunked", |s, room| {
            let body = body_of(room);
            let head = format!("Content-Length: {}\r\nTransfer-Encoding: chunked", body.len());
            let foreign = http("200 OK", FOREIGN);
            let _ = write!(s, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n{foreign}", body.len());
        }),
        ("bytes behind the last chunk", |s, room| {
            let (body, foreign) = (body_of(room), http("200 OK", FOREIGN));
            let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n{foreign}", body.len());
            let _ = write!(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        }),
        ("a body behind 204", |s, _| {
            let _ = s.write_all(http("204 No Content", FOREIGN).as_bytes());
        }),
        ("a body behind 304", |s, _| {
            let _ = s.write_all(http("304 Not Modified", FOREIGN).as_bytes());
        }),
        ("a response without a length, then another", |s, _| {
            let _ = s.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{}", http("200 OK", FOREIGN)).as_bytes());
        }),
        ("interim responses, then two responses", |s, room| {
            let interim = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
            let _ = s.write_all((interim.to_owned() + &text_of(room) + &http("200 OK", FOREIGN)).as_bytes());
        }),
        ("an interim response behind the response", |s, room| {
            let _ = s.write_all((text_of(room) + "HTTP/1.1 103 Early Hints\r\n\r\n").as_bytes());
        }),
        ("the end in the middle of the body", |s, room| {
            let _ = s.write_all(&text_of(room).as_bytes()[..text_of(room).len() - 3]);
            let _ = s.shutdown(Shutdown::Both);
        }),
        ("the end in the middle of the head", |s, room| {
            let _ = s.write_all(&text_of(room).as_bytes()[..20]);
            let _ = s.shutdown(Shutdown::Both);
        }),
        ("a greeting instead of a response", |s, _| {
            let _ = s.write_all(b"220 ready\r\n\r\n");
        }),
    ];
    assert!(foreign().contains("foreign"));
    for (case, misbehave) in cases {
        let misbehave = *misbehave;
        let peer = FakeUpstream::serving(move |mut stream, _| {
            while let Some(room) = requested_room(&mut stream) {
                if room[1..].parse::<usize>().unwrap() % 4 == 0 {
                    misbehave(&mut stream, &room);
                } else if stream.write_all(text_of(&room).as_bytes()).is_err() {
                    return;
                }
            }
        });
        let succeeded = request_rooms(&in_front_of(&peer, &[("APP_CATCH_UP__EXPLAIN_ABSENCE", "false")]), 200);
        assert!(succeeded >= 150, "{case}: {succeeded} of 200");
    }
}

#[test]
fn unsolicited_response_on_an_idle_connection_suspends_reuse() {
    let (sent, is_sent) = mpsc::channel();
    let (received, is_received) = mpsc::channel();
    let channels = Mutex::new((sent, is_received));
    let peer = FakeUpstream::serving(move |mut stream, number| {
        while let Some(room) = requested_room(&mut stream) {
            let _ = stream.write_all(text_of(&room).as_bytes());
            if number == 0 {
                let (sent, is_received) = &*channels.lock().unwrap();
                is_received.recv_timeout(TIMEOUT).unwrap();
                let _ = stream.write_all(http("200 OK", FOREIGN).as_bytes());
                sent.send(()).unwrap();
            }
        }
    });
    let server = in_front_of(&peer, &[ONE_WORKER]);
    assert_own(&fetch(&server, "r0"), "r0");
    received.send(()).unwrap();
    is_sent.recv_timeout(TIMEOUT).unwrap();
    for number in 1..50 {
        let room = format!("r{number}");
        assert_own(&fetch(&server, &room), &room);
        assert_eq!(peer.connections(), 1 + number, "a connection for each call");
    }
}

#[test]
fn late_second_response_on_an_idle_connection_is_discarded() {
    for delay in [1, 2, 5, 10, 20, 35, 50] {
        let (sent, is_sent) = mpsc::channel();
        let sent = Mutex::new(sent);
        let peer = FakeUpstream::serving(move |mut stream, _| {
            while let Some(room) = requested_room(&mut stream) {
                let _ = stream.write_all(text_of(&room).as_bytes());
                std::thread::park_timeout(Duration::from_millis(delay));
                let _ = stream.write_all(text_of(&room).as_bytes());
                sent.lock().unwrap().send(()).unwrap();
            }
        });
        let server = in_front_of(&peer, &[ONE_WORKER]);
        let mut succeeded = 0;
        for number in 0..10 {
            let (room, response) = (format!("r{number}"), fetch(&server, &format!("r{number}")));
            // On a busy machine both may be read together, which is a failure.
            if response.status == 200 {
                assert_own(&response, &room);
                succeeded += 1;
            }
            is_sent.recv_timeout(TIMEOUT).unwrap();
            assert_eq!(peer.connections(), 1 + number, "after {delay} ms");
        }
        assert!(succeeded >= 5, "{succeeded} of 10 after {delay} ms");
    }
}

#[test]
fn connection_that_is_not_reused_is_closed_at_once() {
    for response in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n19\r\n{\"error\":null,\"data\":\"x\"}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 25\r\n\r\n{\"error\":null,\"data\":\"x\"}",
        "HTTP/1.0 200 OK\r\nContent-Length: 25\r\n\r\n{\"error\":null,\"data\":\"x\"}",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ] {
        let (closed, is_closed) = mpsc::channel();
        let closed = Mutex::new(closed);
        let peer = FakeUpstream::serving(move |mut stream, _| {
            read_head(&mut stream);
            let _ = stream.write_all(response.as_bytes());
            read_head(&mut stream);
            let _ = closed.lock().unwrap().send(());
        });
        let server = in_front_of(&peer, &[]);
        let status = fetch(&server, "r1").status;
        is_closed.recv_timeout(Duration::from_secs(2)).unwrap_or_else(|_| panic!("open after {status}: {response}"));
    }
}

#[test]
fn interim_responses_are_skipped() {
    for interim in [
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(3),
        "HTTP/1.1 102 Processing\r\n\r\n".to_owned(),
    ] {
        let peer = FakeUpstream::serving(move |mut stream, _| {
            while let Some(room) = requested_room(&mut stream) {
                let _ = stream.write_all(interim.as_bytes());
                // Together with the response, or before it.
                if room.ends_with('0') {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                if stream.write_all(text_of(&room).as_bytes()).is_err() {
                    return;
                }
            }
        });
        let server = in_front_of(&peer, &[]);
        assert_eq!(request_rooms(&server, 100), 100);
        assert!(peer.connections() <= 8, "connections are reused: {}", peer.connections());
    }
    let endless = FakeUpstream::serving(|mut stream, _| {
        read_head(&mut stream);
        while stream.write_all("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100).as_bytes()).is_ok() {}
    });
    fetch(&in_front_of(&endless, &[]), "r1").assert_error(500, "Internal server error", "endless interim responses");
}

#[test]
fn response_in_two_pieces_is_reassembled() {
    // The longer one takes more than one read.
    for padding in [0, 9000] {
        let line = format!("\r\nX-Padding: {}\r\n", "x".repeat(padding));
        let peer = FakeUpstream::serving(move |mut stream, _| {
            while let Some(room) = requested_room(&mut stream) {
                let text = text_of(&room).replacen("\r\n", &line, 1);
                // Everywhere in the shorter response, and near the end of the head of the longer one.
                let cut = text.len().saturating_sub(room[1..].parse().unwrap());
                let _ = stream.write_all(&text.as_bytes()[..cut]);
                std::thread::park_timeout(Duration::from_millis(2));
                if stream.write_all(&text.as_bytes()[cut..]).is_err() {
                    return;
                }
            }
        });
        let server = in_front_of(&peer, &[]);
        assert_eq!(request_rooms(&server, 130), 130);
        assert!(peer.connections() <= 8, "connections are reused: {}", peer.connections());
    }
}

#[test]
fn empty_line_before_a_response_is_ignored() {
    let peer = FakeUpstream::serving(|mut stream, _| {
        while let Some(room) = requested_room(&mut stream) {
            let _ = stream.write_all(format!("\r\n{}", text_of(&room)).as_bytes());
        }
    });
    assert_eq!(request_rooms(&in_front_of(&peer, &[]), 20), 20);
}

/// Responds to the first request of each connection and fails the second one by `fail`.
fn fails_when_reused(fail: fn(&mut TcpStream)) -> FakeUpstream {
    FakeUpstream::serving(move |mut stream, _| {
        let Some(room) = requested_room(&mut stream) else { return };
        let _ = stream.write_all(text_of(&room).as_bytes());
        if read_head(&mut stream).is_some() {
            fail(&mut stream);
        }
    })
}

fn reset(stream: &mut TcpStream) {
    socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn get_is_retried_once_if_a_reused_connection_fails() {
    for fail in [|_: &mut TcpStream| {}, reset] {
        let peer = fails_when_reused(fail);
        let server = in_front_of(&peer, &[ONE_WORKER]);
        assert_own(&fetch(&server, "r0"), "r0");
        assert_own(&fetch(&server, "r1"), "r1");
        assert_eq!(peer.connections(), 2, "one retry, on a new connection");
    }
}

#[test]
fn get_is_not_retried_after_the_first_byte_of_a_response() {
    for first in ["H", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"] {
        let peer = FakeUpstream::serving(move |mut stream, _| {
            let Some(room) = requested_room(&mut stream) else { return };
            let _ = stream.write_all(text_of(&room).as_bytes());
            if read_head(&mut stream).is_some() {
                let _ = stream.write_all(first.as_bytes());
            }
        });
        let server = in_front_of(&peer, &[ONE_WORKER, ("APP_CATCH_UP__EXPLAIN_ABSENCE", "false")]);
        assert_own(&fetch(&server, "r0"), "r0");
        fetch(&server, "r1").assert_error(500, "Internal server error", first);
        assert_eq!(peer.connections(), 1, "{first:?}");
    }
}

#[test]
fn get_is_not_retried_if_a_new_connection_fails() {
    let peer = FakeUpstream::serving(|mut stream, _| drop(read_head(&mut stream)));
    let server = in_front_of(&peer, &[("APP_CATCH_UP__EXPLAIN_ABSENCE", "false")]);
    fetch(&server, "r1").assert_error(500, "Internal server error", "closed before a response");
    assert_eq!(peer.connections(), 1);
}

/// An upstream that closes each connection at the next request while the flag is set.
fn upstream_with_outages() -> (FakeUpstream, Arc<AtomicBool>) {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let peer = FakeUpstream::serving(move |mut stream, _| {
        while let Some(room) = requested_room(&mut stream) {
            if down.load(Ordering::SeqCst) || stream.write_all(text_of(&room).as_bytes()).is_err() {
                return;
            }
        }
    });
    (peer, is_down)
}

#[test]
fn retry_is_not_retried() {
    let (peer, is_down) = upstream_with_outages();
    let server = in_front_of(&peer, &[ONE_WORKER, ("APP_CATCH_UP__EXPLAIN_ABSENCE", "false")]);
    assert_own(&fetch(&server, "r0"), "r0");
    is_down.store(true, Ordering::SeqCst);
    fetch(&server, "r1").assert_error(500, "Internal server error", "closed twice");
    assert_eq!(peer.connections(), 2);
}

#[test]
fn flapping_upstream_does_not_affect_cached_responses() {
    let (peer, is_down) = upstream_with_outages();
    let settings = [("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "60s")];
    let server = in_front_of(&peer, &settings);
    for round in 0..300 {
        is_down.store((round / 20) % 2 == 1, Ordering::SeqCst);
        assert_own(&fetch(&server, "r1"), "r1");
    }
    is_down.store(false, Ordering::SeqCst);
    // The breaker may still be open for a second.
    wait_until("it recovers", || fetch(&server, "another").status == 200);
}
