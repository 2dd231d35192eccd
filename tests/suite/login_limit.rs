//! The limit on failed logins. Clients have addresses of their own by `X-Forwarded-For`, behind a trusted proxy on loopback.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::json;

use crate::support::database::{TestDatabase, on_postgres};
use crate::support::response::Response;
use crate::support::{EMAIL, PASSWORD, TestClock, TestServer};

const BEHIND_A_PROXY: (&str, &str) = ("APP_SERVER__TRUSTED_PROXIES", "127.0.0.0/8");

fn server_behind_a_proxy() -> TestServer {
    TestServer::with_account(&[BEHIND_A_PROXY])
}

fn log_in_from(server: &TestServer, email: &str, password: &str, address: &str) -> Response {
    let headers = format!("Content-Type: application/json\r\nX-Forwarded-For: {address}\r\n");
    let body = json!({"email": email, "password": password}).to_string();
    server.client().post_as("/auth/login", &headers, body.as_bytes())
}

/// How many wrong passwords were verified rather than throttled.
fn verified(responses: impl IntoIterator<Item = Response>) -> usize {
    responses
        .into_iter()
        .filter(|response| {
            if response.status == 401 {
                return true;
            }
            response.assert_error(429, "Too many requests", "a guess");
            let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=901).contains(&wait), "{wait}");
            false
        })
        .count()
}

#[test]
fn eleventh_guess_on_an_account_from_one_address_is_throttled() {
    let server = server_behind_a_proxy();
    let guesses = (0..30).map(|_| log_in_from(&server, EMAIL, "wrong", "192.0.2.1"));
    assert_eq!(verified(guesses), 10);
    let rejected = log_in_from(&server, EMAIL, PASSWORD, "192.0.2.1");
    rejected.assert_error(429, "Too many requests", "the right password is not verified either");
    let wait: u64 = rejected.header("retry-after").unwrap().parse().unwrap();
    assert!((28..=31).contains(&wait), "{wait}");
    assert_eq!(
        verified((0..3).map(|_| log_in_from(&server, "ANN@example.com ", "wrong", "192.0.2.1"))),
        0,
        "another spelling of the address"
    );
    log_in_from(&server, EMAIL, PASSWORD, "192.0.2.2").data();
    server.clock.advance(Duration::from_secs(wait));
    log_in_from(&server, EMAIL, PASSWORD, "192.0.2.1").data();
}

#[test]
fn unknown_account_is_limited_like_a_known_one() {
    let server = server_behind_a_proxy();
    let outcome = |email, from| {
        let responses: Vec<Response> = (0..12).map(|_| log_in_from(&server, email, "wrong", from)).collect();
        responses
            .into_iter()
            .map(|response| (response.status, response.header("retry-after").is_some(), response.body))
            .collect::<Vec<_>>()
    };
    assert_eq!(outcome(EMAIL, "192.0.2.1"), outcome("unknown@example.com", "192.0.2.2"));
}

/// Two replicas on PostgreSQL, and Ann.
fn two_replicas(database: &Arc<TestDatabase>) -> [TestServer; 2] {
    let start = || TestServer::on(Arc::clone(database), TestClock::default(), &[BEHIND_A_PROXY]);
    let servers = [start(), start()];
    servers[0].add_user(EMAIL, PASSWORD);
    servers
}

/// The same under load, where a login may be shed with 503.
fn verified_under_load(responses: Vec<Response>) -> usize {
    let (unserved, served): (Vec<_>, Vec<_>) = responses.into_iter().partition(|response| response.status == 503);
    for response in unserved {
        assert!(response.header("retry-after").is_some(), "{response:?}");
    }
    verified(served)
}

#[test]
fn guesses_in_turn_over_two_replicas_share_one_limit() {
    let database = Arc::new(TestDatabase::on_postgresql());
    let servers = two_replicas(&database);
    let guesses = (0..200).map(|number| log_in_from(&servers[number % 2], EMAIL, "wrong", "192.0.2.1")).collect();
    assert_eq!(verified_under_load(guesses), 10, "the limit of one server");
    drop(servers);
    for _ in 0..2 {
        let new = TestServer::on(Arc::clone(&database), TestClock::default(), &[BEHIND_A_PROXY]);
        let rejected = log_in_from(&new, EMAIL, PASSWORD, "192.0.2.1");
        rejected.assert_error(429, "Too many requests", "the failures outlive a restart of both");
    }
}

#[test]
fn simultaneous_guesses_exceed_the_limit_by_the_permits_at_most() {
    // A password that is being verified has not been counted yet; each replica verifies one per core.
    let cores = std::thread::available_parallelism().unwrap().get();
    let most = 10 + 2 * cores;
    for postgresql in [true, false] {
        let database = Arc::new(if postgresql { TestDatabase::on_postgresql() } else { TestDatabase::new() });
        let servers = two_replicas(&database);
        let start = Barrier::new(100);
        let responses: Vec<Response> = std::thread::scope(|scope| {
            let guessing: Vec<_> = (0..100)
                .map(|number| {
                    let (server, start) = (&servers[number % 2], &start);
                    scope.spawn(move || {
                        start.wait();
                        log_in_from(server, EMAIL, "wrong", "192.0.2.1")
                    })
                })
                .collect();
            guessing.into_iter().map(|guessing| guessing.join().unwrap()).collect()
        });
        let first = verified_under_load(responses);
        assert!((1..=most).contains(&first), "{first} of {most}");
        drop(servers);
        let new = TestServer::on(database, TestClock::default(), &[BEHIND_A_PROXY]);
        let more = (0..20).map(|_| log_in_from(&new, EMAIL, "wrong", "192.0.2.1")).collect();
        assert!(first + verified_under_load(more) <= most, "the failures outlive a restart");
    }
}

#[test]
fn one_password_on_many_accounts_is_limited_by_address() {
    let server = server_behind_a_proxy();
    let guesses =
        (0..60).map(|number| log_in_from(&server, &format!("user{number}@example.com"), "Summer 2026!", "192.0.2.1"));
    assert!(verified(guesses) <= 20);
    log_in_from(&server, EMAIL, PASSWORD, "192.0.2.2").data();
}

#[test]
fn guesses_from_many_addresses_do_not_lock_out_the_owner() {
    let server = server_behind_a_proxy();
    log_in_from(&server, EMAIL, PASSWORD, "198.51.100.1").data();
    let guesses = (0..120).map(|number| log_in_from(&server, EMAIL, "wrong", &format!("192.0.2.{number}")));
    assert_eq!(verified(guesses), 100);
    log_in_from(&server, EMAIL, PASSWORD, "203.0.113.1").assert_error(
        429,
        "Too many requests",
        "an address without a login, while the limit lasts",
    );
    log_in_from(&server, EMAIL, PASSWORD, "198.51.100.1").data();
    server.clock.advance(Duration::from_mins(15));
    log_in_from(&server, EMAIL, PASSWORD, "203.0.113.1").data();
}

#[test]
fn email_that_looks_like_a_scope_is_not_one() {
    let server = server_behind_a_proxy();
    log_in_from(&server, EMAIL, PASSWORD, "198.51.100.1").data();
    for number in 0..40 {
        let decoy = [format!("{EMAIL} from 198.51.100.1"), format!("pair 198.51.100.1 {EMAIL}")][number % 2].clone();
        log_in_from(&server, &decoy, "wrong", &format!("192.0.2.{number}"));
    }
    log_in_from(&server, EMAIL, "a typo", "198.51.100.1").assert_unauthorized("a typo");
    log_in_from(&server, EMAIL, PASSWORD, "198.51.100.1").data();
}

#[test]
fn success_resets_its_account_and_address_only() {
    let server = server_behind_a_proxy();
    for _ in 0..25 {
        log_in_from(&server, EMAIL, PASSWORD, "192.0.2.1").data();
    }
    for _ in 0..2 {
        assert_eq!(verified((0..9).map(|_| log_in_from(&server, EMAIL, "wrong", "192.0.2.2"))), 9);
        log_in_from(&server, EMAIL, PASSWORD, "192.0.2.2").data();
        server.clock.advance(Duration::from_mins(1));
    }
}

#[test]
fn simultaneous_right_passwords_are_never_throttled() {
    let server = server_behind_a_proxy();
    let responses: Vec<Response> = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..40).map(|_| scope.spawn(|| log_in_from(&server, EMAIL, PASSWORD, "192.0.2.1"))).collect();
        logins.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(
        responses.iter().all(|response| matches!(response.status, 200 | 503)),
        "503 where this machine is too slow, never 429: {responses:?}"
    );
    assert!(responses.iter().any(|response| response.status == 200), "{responses:?}");
    log_in_from(&server, EMAIL, PASSWORD, "192.0.2.1").data();
}

#[test]
fn clients_that_disconnect_cost_the_others_nothing() {
    let server = server_behind_a_proxy();
    let body = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..15 {
        let mut connection = server.client().connect();
        connection.send(request.as_bytes());
        std::thread::park_timeout(Duration::from_millis(12));
        connection.reset();
    }
    log_in_from(&server, EMAIL, PASSWORD, "192.0.2.1").data();
}

#[test]
fn throttled_login_writes_nothing() {
    let server = server_behind_a_proxy();
    let guesses = (0..200).map(|number| log_in_from(&server, &format!("user{number}@example.com"), "wrong", "192.0.2.1"));
    assert!(verified(guesses) <= 20);
    let rows = server.rows("login_failures");
    assert!(rows <= 2 * 20 + 1, "one for the address, and two for each verified password: {rows}");
}

#[test]
fn forged_client_address_is_ignored() {
    let server = TestServer::with_account(&[]);
    let guesses = (0..20).map(|number| log_in_from(&server, EMAIL, "wrong", &format!("192.0.2.{number}")));
    assert_eq!(verified(guesses), 10, "without trusted proxies");
    let server = server_behind_a_proxy();
    let guesses = (0..20).map(|number| log_in_from(&server, EMAIL, "wrong", &format!("10.9.8.{number}, 192.0.2.1")));
    assert_eq!(verified(guesses), 10, "entries left of the one that the trusted proxy added");
}

#[test]
fn malformed_input_is_not_counted() {
    let server = server_behind_a_proxy();
    for _ in 0..15 {
        log_in_from(&server, EMAIL, &"x".repeat(1025), "192.0.2.1").assert_error(
            400,
            "password is longer than 1024 bytes.",
            "too long",
        );
    }
    log_in_from(&server, EMAIL, PASSWORD, "192.0.2.1").data();
}

#[test]
fn login_that_cannot_be_counted_is_500() {
    let server = server_behind_a_proxy();
    let (fault, repair): (&[&str], &str) = if on_postgres() {
        (
            &[
                "CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$",
                "CREATE TRIGGER rejects BEFORE INSERT ON login_failures FOR EACH ROW EXECUTE FUNCTION reject()",
            ],
            "DROP TRIGGER rejects ON login_failures",
        )
    } else {
        (
            &["CREATE TRIGGER rejects BEFORE INSERT ON login_failures BEGIN SELECT RAISE(ABORT, 'no'); END"],
            "DROP TRIGGER rejects",
        )
    };
    for sql in fault {
        server.execute_sql(sql);
    }
    for password in [PASSWORD, "wrong"] {
        log_in_from(&server, EMAIL, password, "192.0.2.1").assert_error(500, "Internal server error", password);
    }
    assert_eq!((server.rows("sessions"), server.rows("refresh_tokens"), server.rows("login_failures")), (0, 0, 0));
    server.execute_sql(repair);
    log_in_from(&server, EMAIL, PASSWORD, "192.0.2.1").data();
    assert_eq!((server.rows("sessions"), server.rows("refresh_tokens")), (1, 1));
}
