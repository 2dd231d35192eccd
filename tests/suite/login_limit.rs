//! The limit on failed logins. Clients have addresses of their own by `X-Forwarded-For`, behind a trusted proxy on loopback.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::json;

use crate::support::answer::Answer;
use crate::support::database::{TestDatabase, on_postgres};
use crate::support::{TestClock, TestServer};

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse battery 🐎";
const BEHIND_A_PROXY: (&str, &str) = ("APP_SERVER__TRUSTED_PROXIES", "127.0.0.0/8");

fn server_with_ann() -> TestServer {
    let server = TestServer::with(&[BEHIND_A_PROXY]);
    server.add_user(EMAIL, PASSWORD);
    server
}

fn log_in(server: &TestServer, email: &str, password: &str, from: &str) -> Answer {
    let headers = format!("Content-Type: application/json\r\nX-Forwarded-For: {from}\r\n");
    let body = json!({"email": email, "password": password}).to_string();
    server.client().post_as("/auth/login", &headers, body.as_bytes())
}

/// How many of so many wrong passwords were looked at.
fn checked(answers: impl IntoIterator<Item = Answer>) -> usize {
    answers
        .into_iter()
        .filter(|answer| {
            if answer.status == 401 {
                return true;
            }
            answer.is_error(429, "Too many requests", "a guess");
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=901).contains(&wait), "{wait}");
            false
        })
        .count()
}

#[test]
fn eleventh_guess_on_an_account_from_one_address_is_throttled() {
    let server = server_with_ann();
    let guesses = (0..30).map(|_| log_in(&server, EMAIL, "wrong", "192.0.2.1"));
    assert_eq!(checked(guesses), 10);
    let refused = log_in(&server, EMAIL, PASSWORD, "192.0.2.1");
    refused.is_error(429, "Too many requests", "the right password is not looked at either");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((28..=31).contains(&wait), "{wait}");
    assert_eq!(
        checked((0..3).map(|_| log_in(&server, "ANN@example.com ", "wrong", "192.0.2.1"))),
        0,
        "however it is spelled"
    );
    log_in(&server, EMAIL, PASSWORD, "192.0.2.2").data();
    server.clock.put_forward(Duration::from_secs(wait));
    log_in(&server, EMAIL, PASSWORD, "192.0.2.1").data();
}

#[test]
fn unknown_account_is_limited_like_a_known_one() {
    let server = server_with_ann();
    let outcome = |email, from| {
        let answers: Vec<Answer> = (0..12).map(|_| log_in(&server, email, "wrong", from)).collect();
        answers
            .into_iter()
            .map(|answer| (answer.status, answer.header("retry-after").is_some(), answer.body))
            .collect::<Vec<_>>()
    };
    assert_eq!(outcome(EMAIL, "192.0.2.1"), outcome("nobody@example.com", "192.0.2.2"));
}

/// Two replicas on PostgreSQL, and Ann.
fn replicas_with_ann(database: &Arc<TestDatabase>) -> [TestServer; 2] {
    let start = || TestServer::on(Arc::clone(database), TestClock::default(), &[BEHIND_A_PROXY]);
    let servers = [start(), start()];
    servers[0].add_user(EMAIL, PASSWORD);
    servers
}

/// How many guesses were looked at; one that could not be is no answer about the password either.
fn looked_at(answers: Vec<Answer>) -> usize {
    let (unanswered, answered): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 503);
    for answer in unanswered {
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    checked(answered)
}

#[test]
fn guesses_in_turn_over_two_replicas_share_one_limit() {
    let database = Arc::new(TestDatabase::on_postgresql());
    let servers = replicas_with_ann(&database);
    let guesses = (0..200).map(|number| log_in(&servers[number % 2], EMAIL, "wrong", "192.0.2.1")).collect();
    assert_eq!(looked_at(guesses), 10, "the limit of one server");
    drop(servers);
    for _ in 0..2 {
        let new = TestServer::on(Arc::clone(&database), TestClock::default(), &[BEHIND_A_PROXY]);
        let refused = log_in(&new, EMAIL, PASSWORD, "192.0.2.1");
        refused.is_error(429, "Too many requests", "a restart of both forgets nothing");
    }
}

#[test]
fn simultaneous_guesses_exceed_the_limit_by_the_permits_at_most() {
    // A password that is being checked has not been counted yet, and each replica checks one a core.
    let cores = std::thread::available_parallelism().unwrap().get();
    let most = 10 + 2 * cores;
    for postgresql in [true, false] {
        let database = Arc::new(if postgresql { TestDatabase::on_postgresql() } else { TestDatabase::new() });
        let servers = replicas_with_ann(&database);
        let start = Barrier::new(100);
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let guessing: Vec<_> = (0..100)
                .map(|number| {
                    let (server, start) = (&servers[number % 2], &start);
                    scope.spawn(move || {
                        start.wait();
                        log_in(server, EMAIL, "wrong", "192.0.2.1")
                    })
                })
                .collect();
            guessing.into_iter().map(|guessing| guessing.join().unwrap()).collect()
        });
        let looked_at = looked_at(answers);
        assert!((1..=most).contains(&looked_at), "{looked_at} of {most}");
        drop(servers);
        let new = TestServer::on(database, TestClock::default(), &[BEHIND_A_PROXY]);
        let more = (0..20).map(|_| log_in(&new, EMAIL, "wrong", "192.0.2.1")).collect();
        assert!(looked_at + self::looked_at(more) <= most, "a restart forgets nothing");
    }
}

#[test]
fn one_password_on_many_accounts_is_limited_by_address() {
    let server = server_with_ann();
    let guesses = (0..60).map(|number| log_in(&server, &format!("user{number}@example.com"), "Summer 2026!", "192.0.2.1"));
    assert!(checked(guesses) <= 20);
    log_in(&server, EMAIL, PASSWORD, "192.0.2.2").data();
}

#[test]
fn guesses_from_many_addresses_do_not_lock_out_the_owner() {
    let server = server_with_ann();
    log_in(&server, EMAIL, PASSWORD, "198.51.100.1").data();
    let guesses = (0..120).map(|number| log_in(&server, EMAIL, "wrong", &format!("192.0.2.{number}")));
    assert_eq!(checked(guesses), 100);
    log_in(&server, EMAIL, PASSWORD, "203.0.113.1").is_error(429, "Too many requests", "a new place, while it lasts");
    log_in(&server, EMAIL, PASSWORD, "198.51.100.1").data();
    server.clock.put_forward(Duration::from_mins(15));
    log_in(&server, EMAIL, PASSWORD, "203.0.113.1").data();
}

#[test]
fn email_that_looks_like_a_scope_is_no_scope() {
    let server = server_with_ann();
    log_in(&server, EMAIL, PASSWORD, "198.51.100.1").data();
    for number in 0..40 {
        let decoy = [format!("{EMAIL} from 198.51.100.1"), format!("pair 198.51.100.1 {EMAIL}")][number % 2].clone();
        log_in(&server, &decoy, "wrong", &format!("192.0.2.{number}"));
    }
    log_in(&server, EMAIL, "a typo", "198.51.100.1").is_unauthorized("a typo");
    log_in(&server, EMAIL, PASSWORD, "198.51.100.1").data();
}

#[test]
fn success_resets_its_account_and_address_only() {
    let server = server_with_ann();
    for _ in 0..25 {
        log_in(&server, EMAIL, PASSWORD, "192.0.2.1").data();
    }
    for _ in 0..2 {
        assert_eq!(checked((0..9).map(|_| log_in(&server, EMAIL, "wrong", "192.0.2.2"))), 9);
        log_in(&server, EMAIL, PASSWORD, "192.0.2.2").data();
        server.clock.put_forward(Duration::from_mins(1));
    }
}

#[test]
fn simultaneous_right_passwords_are_never_throttled() {
    let server = server_with_ann();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let signing_in: Vec<_> = (0..40).map(|_| scope.spawn(|| log_in(&server, EMAIL, PASSWORD, "192.0.2.1"))).collect();
        signing_in.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let let_in = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(
        answers.iter().all(|answer| matches!(answer.status, 200 | 503)),
        "503 where this machine is too slow, never 429"
    );
    assert!(let_in >= 20, "{let_in}");
    log_in(&server, EMAIL, PASSWORD, "192.0.2.1").data();
}

#[test]
fn clients_that_disconnect_cost_the_others_nothing() {
    let server = server_with_ann();
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
    log_in(&server, EMAIL, PASSWORD, "192.0.2.1").data();
}

#[test]
fn throttled_login_writes_nothing() {
    let server = server_with_ann();
    let guesses = (0..200).map(|number| log_in(&server, &format!("user{number}@example.com"), "wrong", "192.0.2.1"));
    assert!(checked(guesses) <= 20);
    let rows = server.rows("login_failures");
    assert!(rows <= 2 * 20 + 1, "an address, and two for each guess: {rows}");
}

#[test]
fn forged_client_address_is_ignored() {
    let server = TestServer::start();
    server.add_user(EMAIL, PASSWORD);
    let guesses = (0..20).map(|number| log_in(&server, EMAIL, "wrong", &format!("192.0.2.{number}")));
    assert_eq!(checked(guesses), 10, "without trusted proxies");
    let server = server_with_ann();
    let guesses = (0..20).map(|number| log_in(&server, EMAIL, "wrong", &format!("10.9.8.{number}, 192.0.2.1")));
    assert_eq!(checked(guesses), 10, "left of what the trusted proxy wrote");
}

#[test]
fn malformed_input_is_not_counted() {
    let server = server_with_ann();
    for _ in 0..15 {
        log_in(&server, EMAIL, &"x".repeat(1025), "192.0.2.1").is_error(
            400,
            "password is longer than 1024 bytes.",
            "too long",
        );
    }
    log_in(&server, EMAIL, PASSWORD, "192.0.2.1").data();
}

#[test]
fn login_that_can_not_be_counted_fails() {
    let server = server_with_ann();
    let (refuse, allow): (&[&str], &str) = if on_postgres() {
        (
            &[
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$",
                "CREATE TRIGGER refuses BEFORE INSERT ON login_failures FOR EACH ROW EXECUTE FUNCTION refuse()",
            ],
            "DROP TRIGGER refuses ON login_failures",
        )
    } else {
        (
            &["CREATE TRIGGER refuses BEFORE INSERT ON login_failures BEGIN SELECT RAISE(ABORT, 'no'); END"],
            "DROP TRIGGER refuses",
        )
    };
    for sql in refuse {
        server.on_the_database_do(sql);
    }
    for password in [PASSWORD, "wrong"] {
        log_in(&server, EMAIL, password, "192.0.2.1").is_error(500, "Internal server error", password);
    }
    assert_eq!((server.rows("sessions"), server.rows("refresh_tokens"), server.rows("login_failures")), (0, 0, 0));
    server.on_the_database_do(allow);
    log_in(&server, EMAIL, PASSWORD, "192.0.2.1").data();
    assert_eq!((server.rows("sessions"), server.rows("refresh_tokens")), (1, 1));
}
