//! The circuit breaker: calls to an unreachable endpoint fail at once, and its recovery is noticed soon.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::fake_upstream::{FakeUpstream, GOOD_DATA, GOOD_ENVELOPE, http, read_head};
use crate::support::{TestServer, tokens};

/// `APP_ADMIN_CONTROL__TIMEOUT` of the test servers.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Failures in a row that open it.
const THRESHOLD: usize = 5;
/// The longest that a response without a call takes.
const AT_ONCE: Duration = Duration::from_millis(500);

/// An upstream that counts calls and does not respond until `healthy`.
fn hangs_until(healthy: Arc<AtomicBool>) -> (FakeUpstream, Arc<AtomicUsize>) {
    let hung = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hung);
    let peer = FakeUpstream::serving(move |mut stream, _| {
        if read_head(&mut stream).is_some() && healthy.load(Ordering::SeqCst) {
            stream.write_all(http("200 OK", GOOD_ENVELOPE).as_bytes()).unwrap();
        } else {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    (peer, hung)
}

/// Ends the client threads, also when an assertion fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until this many calls hang.
fn hang(hung: &AtomicUsize, times: usize) {
    let began = Instant::now();
    while hung.load(Ordering::SeqCst) < times {
        assert!(began.elapsed() < Duration::from_secs(20), "{hung:?} of {times} calls");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn open_breaker_fails_at_once_and_notices_recovery() {
    let healthy = Arc::new(AtomicBool::new(false));
    let (peer, hung) = hangs_until(Arc::clone(&healthy));
    let server =
        TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", &peer.base_url()), ("APP_CATCH_UP__EXPLAIN_ABSENCE", "false")]);
    let fetch = |room: String| {
        let started = Instant::now();
        let response = server.client().get(&format!("/callCatchUp/{room}"), Some(&tokens::user()));
        (response, started.elapsed())
    };
    std::thread::scope(|scope| {
        for number in 0..THRESHOLD {
            scope.spawn(move || {
                let (response, took) = fetch(format!("first{number}"));
                response.assert_error(500, "Internal server error", "it hangs");
                assert!(took < TIMEOUT + Duration::from_secs(1), "{took:?}");
            });
        }
    });
    assert_eq!(peer.connections(), THRESHOLD);

    let (began, stop, took) = (Instant::now(), AtomicBool::new(false), Mutex::new(Vec::new()));
    let recovered = std::thread::scope(|scope| {
        let stopped = StopOnDrop(&stop);
        for client in 0..8 {
            let (stop, took) = (&stop, &took);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (response, waited) = fetch(format!("r{client}-{number}"));
                    response.assert_error(500, "Internal server error", "open");
                    took.lock().unwrap().push(waited);
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            });
        }
        hang(&hung, THRESHOLD + 3);
        let probing = began.elapsed();
        assert!(probing > Duration::from_millis(2_700), "three probes after 1 s each, and not {probing:?}");
        drop(stopped);
        // The third probe has just begun to hang.
        healthy.store(true, Ordering::SeqCst);
        let healed = Instant::now();
        loop {
            let (response, _) = fetch("again".to_owned());
            if response.status == 200 {
                break healed.elapsed();
            }
            assert!(healed.elapsed() < 5 * TIMEOUT, "recovery is not noticed");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let took = took.into_inner().unwrap();
    let waited = took.iter().filter(|took| **took > AT_ONCE).count();
    assert!(took.len() > 100 && waited <= 3 + took.len() / 50, "{waited} of {} waited", took.len());
    assert!(took.iter().all(|took| *took < TIMEOUT + Duration::from_secs(1)));
    assert!(recovered < Duration::from_millis(2_700), "noticed after {recovered:?}");
    for number in 0..20 {
        fetch(format!("after{number}")).0.assert_success(GOOD_DATA);
    }
}

#[test]
fn hanging_endpoint_does_not_affect_others() {
    let peer = FakeUpstream::serving(|mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            if head.contains("/call-catchup/") {
                let _ = stream.read(&mut [0; 1024]);
                return;
            }
            let _ = stream.write_all(http("200 OK", GOOD_ENVELOPE).as_bytes());
        }
    });
    let server = TestServer::with(&[
        ("APP_ADMIN_CONTROL__BASE_URL", &peer.base_url()),
        ("APP_ADMIN_CONTROL__TIMEOUT", "300ms"),
        ("APP_CATCH_UP__EXPLAIN_ABSENCE", "false"),
    ]);
    let user = tokens::user();
    for number in 0..=THRESHOLD {
        let response = server.client().get(&format!("/callCatchUp/r{number}"), Some(&user));
        response.assert_error(500, "Internal server error", "it hangs, or is open");
    }
    for _ in 0..20 {
        let started = Instant::now();
        server.client().get("/callStatus/r1", Some(&user)).assert_success(GOOD_DATA);
        assert!(started.elapsed() < AT_ONCE);
    }
}
