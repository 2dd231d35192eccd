//! The connections to Admin Control: used again where nothing can be left on them, never where something might be.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::answer::Answer;
use crate::support::peers::{Peer, http, read_head};
use crate::support::{TestServer, tokens};

/// Longer than a connection must have been silent before it is used again.
const SILENCE: Duration = Duration::from_millis(80);
/// And the first one of all, before anything is known of Admin Control.
const FIRST_SILENCE: Duration = Duration::from_millis(1_100);

fn in_front_of(peer: &Peer, settings: &[(&str, &str)]) -> TestServer {
    let base_url = peer.base_url();
    let settings: Vec<_> =
        [("APP_ADMIN_CONTROL__BASE_URL", base_url.as_str())].into_iter().chain(settings.iter().copied()).collect();
    TestServer::with(&settings)
}

fn ask(server: &TestServer, room: &str) -> Answer {
    server.client().get(&format!("/callCatchUp/{room}"), Some(&tokens::user()))
}

/// The last segment of what was asked for, where something was.
fn room_asked_for(stream: &mut TcpStream) -> Option<String> {
    let head = read_head(stream)?;
    head.split(' ').nth(1)?.rsplit('/').next().map(str::to_owned)
}

fn text_of(room: &str) -> String {
    http("200 OK", &format!(r#"{{"error":null,"data":"text of {room}"}}"#))
}

/// Asks for so many rooms, four at a time; each answer is the room's own, or a failure where that is allowed.
fn each_gets_its_own(server: &TestServer, rooms: usize, may_fail: bool) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let number @ 0.. = next.fetch_add(1, Ordering::SeqCst)
                    && number < rooms
                {
                    let answer = ask(server, &format!("r{number}"));
                    if !(may_fail && answer.status == 500) {
                        answer.is_success_with(&format!(r#""text of r{number}""#));
                    }
                }
            });
        }
    });
}

#[test]
fn a_connection_is_used_again_and_the_one_for_a_token_never() {
    let peer = Peer::serving(|mut stream, _| {
        while let Some(asked) = read_head(&mut stream) {
            let _ = stream.write_all(text_of("r1").as_bytes());
            if asked.starts_with("POST") {
                let _ = crate::support::peers::read_head(&mut stream);
            }
        }
    });
    let server = in_front_of(&peer, &[("APP_SERVER__WORKERS", "1")]);
    ask(&server, "r1").is_success_with(r#""text of r1""#);
    std::thread::park_timeout(FIRST_SILENCE);
    for _ in 0..10 {
        ask(&server, "r1").is_success_with(r#""text of r1""#);
        std::thread::park_timeout(SILENCE);
    }
    assert_eq!(peer.connections(), 1);
    for number in 1..4 {
        let body = r#"{"role":"member","room":"r1","participantName":"Ann"}"#;
        server.client().post_with("/proconfToken", &tokens::user(), body).data();
        assert_eq!(peer.connections(), 1 + number, "a token's");
    }
}

#[test]
fn what_a_rush_has_left_open_is_closed_however_steadily_somebody_asks() {
    let open = Arc::new(AtomicUsize::new(0));
    let of_peer = Arc::clone(&open);
    let peer = Peer::serving(move |mut stream, _| {
        of_peer.fetch_add(1, Ordering::SeqCst);
        while let Some(room) = room_asked_for(&mut stream) {
            std::thread::park_timeout(Duration::from_millis(if room == "r" { 0 } else { 200 }));
            let _ = stream.write_all(text_of(&room).as_bytes());
        }
        of_peer.fetch_sub(1, Ordering::SeqCst);
    });
    let server = in_front_of(&peer, &[("APP_SERVER__WORKERS", "1"), ("APP_CATCH_UP__FRESH_FOR", "0s")]);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let server = &server;
            scope.spawn(move || ask(server, &format!("r{number}")).data());
        }
    });
    assert!(open.load(Ordering::SeqCst) >= 10, "in a rush");
    // Longer than a connection may rest, and until that is looked at.
    let rush = Instant::now();
    while rush.elapsed() < Duration::from_millis(5_500) {
        std::thread::park_timeout(SILENCE);
        ask(&server, "r").is_success_with(r#""text of r""#);
    }
    assert_eq!(open.load(Ordering::SeqCst), 1);
}

#[test]
fn no_answer_is_lost_when_every_second_connection_is_closed_at_the_other_end() {
    // At once after its answer, or just as the next request arrives.
    for waits in [false, true] {
        let peer = Peer::serving(move |mut stream, number| {
            while let Some(room) = room_asked_for(&mut stream) {
                if stream.write_all(text_of(&room).as_bytes()).is_err() {
                    return;
                }
                if number % 2 == 1 {
                    let _ = if waits { read_head(&mut stream) } else { None };
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
        });
        let server = in_front_of(&peer, &[("APP_SERVER__WORKERS", "1")]);
        ask(&server, "r1").is_success_with(r#""text of r1""#);
        std::thread::park_timeout(FIRST_SILENCE);
        each_gets_its_own(&server, 1_000, false);
    }
}

#[test]
fn who_says_what_nobody_asked_for_is_heard_before_any_connection_is_used_again() {
    // When its connection could be lent already, and a call takes so long that one would be under way.
    let peer = Peer::serving(|mut stream, _| {
        while let Some(room) = room_asked_for(&mut stream) {
            std::thread::park_timeout(Duration::from_millis(20));
            let _ = stream.write_all(text_of(&room).as_bytes());
            std::thread::park_timeout(Duration::from_millis(55));
            let _ = stream.write_all(http("200 OK", r#"{"error":null,"data":"foreign"}"#).as_bytes());
        }
    });
    let server = in_front_of(&peer, &[("APP_SERVER__WORKERS", "1")]);
    each_gets_its_own(&server, 400, false);
    assert_eq!(peer.connections(), 400);
}

#[test]
fn a_connection_that_is_not_used_again_is_closed_at_once() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n19\r\n{\"error\":null,\"data\":\"x\"}\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ] {
        let (closed, is_closed) = std::sync::mpsc::channel();
        let closed = std::sync::Mutex::new(closed);
        let peer = Peer::serving(move |mut stream, _| {
            read_head(&mut stream);
            let _ = stream.write_all(answer.as_bytes());
            read_head(&mut stream);
            let _ = closed.lock().unwrap().send(());
        });
        let server = in_front_of(&peer, &[]);
        let status = ask(&server, "r1").status;
        is_closed.recv_timeout(Duration::from_secs(2)).unwrap_or_else(|_| panic!("open after {status}: {answer}"));
    }
}

#[test]
fn what_comes_glued_to_an_answer_or_unasked_reaches_nobody() {
    let foreign = http("200 OK", r#"{"error":null,"data":"foreign"}"#);
    let glued = foreign.clone();
    let peer = Peer::serving(move |mut stream, _| {
        while let Some(room) = room_asked_for(&mut stream) {
            if stream.write_all([text_of(&room), glued.clone()].concat().as_bytes()).is_err() {
                return;
            }
        }
    });
    each_gets_its_own(&in_front_of(&peer, &[]), 1_000, false);

    let late = foreign.clone();
    let peer = Peer::serving(move |mut stream, _| {
        while let Some(room) = room_asked_for(&mut stream) {
            let _ = stream.write_all(text_of(&room).as_bytes());
            std::thread::park_timeout(Duration::from_millis(20));
            if stream.write_all(late.as_bytes()).is_err() {
                return;
            }
        }
    });
    let server = in_front_of(&peer, &[]);
    each_gets_its_own(&server, 1_000, false);
    // And when nobody has asked for a while.
    for number in 0..5 {
        std::thread::park_timeout(SILENCE);
        ask(&server, &format!("s{number}")).is_success_with(&format!(r#""text of s{number}""#));
    }

    // A length that is shorter than the body: the rest is a response of its own.
    let peer = Peer::serving(move |mut stream, _| {
        while let Some(room) = room_asked_for(&mut stream) {
            let text = text_of(&room);
            if stream.write_all([text.as_str(), " ", &foreign].concat().as_bytes()).is_err() {
                return;
            }
        }
    });
    each_gets_its_own(&in_front_of(&peer, &[]), 200, true);
}

#[test]
fn interim_responses_are_waited_out() {
    for interim in [
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(3),
        "HTTP/1.1 102 Processing\r\n\r\n".to_owned(),
    ] {
        let peer = Peer::serving(move |mut stream, _| {
            while let Some(room) = room_asked_for(&mut stream) {
                let _ = stream.write_all(interim.as_bytes());
                // Together with the answer, or before it.
                if room.ends_with('0') {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                if stream.write_all(text_of(&room).as_bytes()).is_err() {
                    return;
                }
            }
        });
        each_gets_its_own(&in_front_of(&peer, &[]), 100, false);
    }
    let endless = Peer::serving(|mut stream, _| {
        read_head(&mut stream);
        while stream.write_all("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100).as_bytes()).is_ok() {}
    });
    ask(&in_front_of(&endless, &[]), "r1").is_error(500, "Internal server error", "interim responses without end");
}

#[test]
fn an_admin_control_that_comes_and_goes_is_not_noticed_by_those_whose_answer_is_in_the_window() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let peer = Peer::serving(move |mut stream, _| {
        while let Some(room) = room_asked_for(&mut stream) {
            if down.load(Ordering::SeqCst) || stream.write_all(text_of(&room).as_bytes()).is_err() {
                return;
            }
        }
    });
    let settings = [("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "60s")];
    let server = in_front_of(&peer, &settings);
    for round in 0..300 {
        is_down.store((round / 20) % 2 == 1, Ordering::SeqCst);
        ask(&server, "r1").is_success_with(r#""text of r1""#);
    }
    is_down.store(false, Ordering::SeqCst);
    // The breaker may be open for a second yet.
    let started = std::time::Instant::now();
    while ask(&server, "another").status != 200 {
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}
