//! `POST /auth/refresh`, `/auth/logout`, and the other ends of a session.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use proconf_app_server::accounts::admin;
use proconf_app_server::clock::Clock;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::response::Response;
use crate::support::{EMAIL, PASSWORD, TestClock, TestServer, full_size, tokens, wait_until};

/// The longest delay until a revocation is known on the same replica, and on another one.
const HERE: Duration = Duration::from_secs(1);
const ELSEWHERE: Duration = Duration::from_secs(2);

fn refresh(server: &TestServer, token: &str) -> Response {
    server.client().post("/auth/refresh", &json!({"refreshToken": token}).to_string())
}

fn log_out(server: &TestServer, token: &str) {
    server.client().post("/auth/logout", &json!({"refreshToken": token}).to_string()).assert_success("null");
}

fn text<'a>(login: &'a Value, name: &str) -> &'a str {
    login[name].as_str().unwrap()
}

fn is_valid(server: &TestServer, login: &Value) -> bool {
    match server.client().get("/callCatchUp/r1", Some(text(login, "token"))) {
        response if response.status == 200 => true,
        response => {
            response.assert_unauthorized("revoked");
            false
        }
    }
}

/// Asserts that the token is rejected within `limit`.
#[track_caller]
fn assert_rejected_within(limit: Duration, server: &TestServer, login: &Value) {
    let started = Instant::now();
    while is_valid(server, login) {
        assert!(started.elapsed() < limit, "accepted after {limit:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Waits until `server` has read the revocations again.
#[track_caller]
fn wait_for_revocations(server: &TestServer, replica: &TestServer) {
    let login = server.log_in().data();
    log_out(replica, text(&login, "refreshToken"));
    assert_rejected_within(ELSEWHERE, server, &login);
}

#[test]
fn refresh_token_is_exchanged_for_new_tokens() {
    let server = TestServer::with_account(&[]);
    let first = server.log_in().data();
    let second = refresh(&server, text(&first, "refreshToken")).data();
    let third = refresh(&server, text(&second, "refreshToken")).data();
    let all: HashSet<&str> = [&first, &second, &third].map(|login| text(login, "refreshToken")).into();
    assert_eq!(all.len(), 3);
    assert_eq!(
        (&second["user"], &second["tokenType"], &second["expiresIn"]),
        (&first["user"], &"Bearer".into(), &3600.into())
    );
    assert!(is_valid(&server, &first) && is_valid(&server, &second) && is_valid(&server, &third));
}

#[test]
fn refresh_token_reused_after_the_grace_ends_its_session() {
    let server = TestServer::with_account(&[]);
    let other_session = server.log_in().data();
    let first = server.log_in().data();
    let second = refresh(&server, text(&first, "refreshToken")).data();
    server.clock.advance(Duration::from_millis(29_500));
    let again = refresh(&server, text(&first, "refreshToken")).data();
    assert_eq!(again["refreshToken"], second["refreshToken"], "the same successor");
    server.clock.advance(Duration::from_millis(700));
    refresh(&server, text(&first, "refreshToken")).assert_unauthorized("a reused token");
    assert_rejected_within(HERE, &server, &second);
    assert!(!is_valid(&server, &first));
    refresh(&server, text(&second, "refreshToken")).assert_unauthorized("its session has ended");
    assert!(is_valid(&server, &other_session), "another session is unaffected");
}

#[test]
fn simultaneous_refreshes_leave_one_live_successor() {
    for database in [TestDatabase::on_postgresql(), TestDatabase::new()].map(Arc::new) {
        let [server, replica] = [0, 1].map(|_| TestServer::on(Arc::clone(&database), TestClock::default(), &[]));
        server.add_user(EMAIL, PASSWORD);
        for round in 0..if full_size() { 100 } else { 10 } {
            let login = server.log_in().data();
            let (token, start) = (text(&login, "refreshToken"), Barrier::new(50));
            let responses: Vec<Response> = std::thread::scope(|scope| {
                let requests: Vec<_> = (0..50)
                    .map(|number| {
                        let (server, start) = (if number % 2 == 0 { &server } else { &replica }, &start);
                        scope.spawn(move || {
                            start.wait();
                            refresh(server, token)
                        })
                    })
                    .collect();
                requests.into_iter().map(|request| request.join().unwrap()).collect()
            });
            let successors: HashSet<String> =
                responses.iter().map(|response| text(&response.data(), "refreshToken").to_owned()).collect();
            assert_eq!(successors.len(), 1, "round {round}");
            let next = refresh(&server, successors.iter().next().unwrap()).data();
            assert!(is_valid(&replica, &next));
            assert_eq!(server.rows("sessions"), round + 1);
            assert_eq!(server.rows("refresh_tokens WHERE spent_at IS NULL"), round + 1, "one unused token for each session");
        }
    }
}

#[test]
fn invalid_refresh_token_is_401_and_malformed_input_400() {
    let server = TestServer::with_account(&[]);
    let login = server.log_in().data();
    for token in ["x", &"x".repeat(10_000), text(&login, "token"), &tokens::guest("r1"), "' OR 1=1 --"] {
        refresh(&server, token).assert_unauthorized(token);
    }
    let refresh_token = text(&login, "refreshToken");
    for (sent, message) in [
        ("{}", "refreshToken is required."),
        (r#"{"refreshToken":1}"#, "refreshToken must be a string."),
        (r#"{"refreshToken":""}"#, "refreshToken must not be empty."),
        ("[]", "The body must be one JSON object with each member once."),
    ] {
        for target in ["/auth/refresh", "/auth/logout"] {
            server.client().post(target, sent).assert_error(400, message, sent);
        }
    }
    refresh(&server, refresh_token).data();
}

#[test]
fn session_ends_after_thirty_days_or_a_week_idle() {
    let server = TestServer::with_account(&[]);
    let mut login = server.log_in().data();
    for hours in [6 * 24, 6 * 24, 6 * 24, 6 * 24, 6 * 24 - 1] {
        server.clock.advance(Duration::from_hours(hours));
        login = refresh(&server, text(&login, "refreshToken")).data();
    }
    server.clock.advance(Duration::from_hours(1));
    refresh(&server, text(&login, "refreshToken")).assert_unauthorized("after thirty days");

    let login = server.log_in().data();
    server.clock.advance(Duration::from_hours(7 * 24));
    refresh(&server, text(&login, "refreshToken")).assert_unauthorized("unused for a week");
}

#[test]
fn clock_jump_revives_no_session_and_ends_none() {
    let server = TestServer::with_account(&[]);
    let replica = server.replica(&[]);
    let (active, ended) = (server.log_in().data(), server.log_in().data());
    log_out(&server, text(&ended, "refreshToken"));
    assert_rejected_within(ELSEWHERE, &replica, &ended);
    for jump in [Duration::from_hours(1), Duration::from_hours(10 * 365 * 24)] {
        server.clock.advance(jump);
        assert!(!is_valid(&server, &active), "expired");
        wait_for_revocations(&server, &replica);
        server.clock.rewind(jump);
        assert!(is_valid(&server, &active), "valid again");
        for _ in 0..2 {
            assert!(!is_valid(&server, &ended), "still revoked");
            assert!(!is_valid(&replica, &ended), "revoked on the replica too");
            wait_for_revocations(&server, &replica);
        }
    }
    refresh(&server, text(&active, "refreshToken")).data();
}

#[test]
fn logout_ends_one_session_on_all_replicas() {
    let server = TestServer::with_account(&[]);
    let replica = server.replica(&[]);
    let (login, other) = (server.log_in().data(), server.log_in().data());
    assert!(is_valid(&replica, &login));
    log_out(&server, text(&login, "refreshToken"));
    assert!(!is_valid(&server, &login), "at once on the same replica");
    assert_rejected_within(ELSEWHERE, &replica, &login);
    refresh(&replica, text(&login, "refreshToken")).assert_unauthorized("logged out");
    log_out(&server, text(&login, "refreshToken"));
    log_out(&server, "an unknown token");
    assert!(is_valid(&server, &other) && is_valid(&replica, &other));
    assert!(!is_valid(&server.replica(&[]), &login), "known to a new replica at its start");
}

#[test]
fn used_refresh_token_can_still_log_out() {
    let server = TestServer::with_account(&[]);
    let first = server.log_in().data();
    let second = refresh(&server, text(&first, "refreshToken")).data();
    log_out(&server, text(&first, "refreshToken"));
    assert!(!is_valid(&server, &second) && !is_valid(&server, &first));
}

#[test]
fn disabled_account_is_rejected_until_enabled() {
    let server = TestServer::with_account(&[]);
    let login = server.log_in().data();
    server.manage(async |database, clock| admin::disable(&database, " ANN@example.com", &clock).await);
    assert_rejected_within(ELSEWHERE, &server, &login);
    refresh(&server, text(&login, "refreshToken")).assert_unauthorized("disabled");
    server.log_in().assert_unauthorized("disabled");
    server.manage(async |database, _| admin::enable(&database, EMAIL).await);
    assert!(is_valid(&server, &server.log_in().data()));
    assert!(!is_valid(&server, &login), "the old session stays revoked");
}

#[test]
fn password_change_ends_all_sessions() {
    let server = TestServer::with_account(&[]);
    let logins = [server.log_in().data(), server.log_in().data()];
    let new = "another horse, another battery";
    server.manage(async |database, clock| admin::set_password(&database, EMAIL, new, 15, &clock).await);
    for login in &logins {
        assert_rejected_within(ELSEWHERE, &server, login);
        refresh(&server, text(login, "refreshToken")).assert_unauthorized("a session of the old password");
    }
    server.log_in().assert_unauthorized("the old password");
    server.client().log_in(EMAIL, new).data();
}

#[test]
fn login_racing_a_password_change_leaves_no_session() {
    let server = TestServer::with_account(&[]);
    let (old, new) = ("the first horse, the first battery", "the second horse, the second battery");
    for _ in 0..5 {
        // The login limit forgets the failures of the last round.
        server.clock.advance(Duration::from_mins(31));
        server.manage(async |database, clock| admin::set_password(&database, EMAIL, old, 15, &clock).await);
        let (done, logged_in) = (AtomicBool::new(false), AtomicBool::new(false));
        let log_in = || server.client().log_in(EMAIL, old);
        let logins: Vec<Value> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut logins = Vec::new();
                        while !done.load(Ordering::SeqCst) {
                            let response = log_in();
                            if response.status == 200 {
                                logged_in.store(true, Ordering::SeqCst);
                                logins.push(response.data());
                            }
                        }
                        logins
                    })
                })
                .collect();
            wait_until("a login succeeds", || logged_in.load(Ordering::SeqCst));
            server.manage(async |database, clock| admin::set_password(&database, EMAIL, new, 15, &clock).await);
            done.store(true, Ordering::SeqCst);
            clients.into_iter().flat_map(|one| one.join().unwrap()).collect()
        });
        assert!(!logins.is_empty());
        for login in &logins {
            assert_rejected_within(ELSEWHERE, &server, login);
        }
    }
}

#[test]
fn clock_ahead_elsewhere_hides_no_revocation() {
    let server = TestServer::with_account(&[]);
    server.add_user("bo@example.com", PASSWORD);
    let login = server.log_in().data();
    let log_in_as_bo = || server.client().log_in("bo@example.com", PASSWORD);
    log_in_as_bo().data();
    server.manage(async |database, _| {
        let ahead = Clock::from_fn(|| std::time::SystemTime::now() + Duration::from_hours(1));
        admin::disable(&database, "bo@example.com", &ahead).await
    });
    log_in_as_bo().assert_unauthorized("disabled");
    wait_for_revocations(&server, &server.replica(&[]));
    server.manage(async |database, clock| admin::disable(&database, EMAIL, &clock).await);
    assert_rejected_within(ELSEWHERE, &server, &login);
}

#[test]
fn previous_secret_is_accepted_while_it_is_listed() {
    let server = TestServer::with_account(&[]);
    let new = ("APP_AUTH__JWT_SECRET", "another test secret: 9Zy8Xw7Vu6Ts5Rq4Po3N");
    let changed = server.replica(&[new, ("APP_AUTH__PREVIOUS_JWT_SECRETS", crate::support::SECRET)]);
    let without_old = server.replica(&[new]);
    let (before, after) = (server.log_in().data(), changed.log_in().data());
    assert!(is_valid(&changed, &before), "the previous secret verifies");
    assert!(!is_valid(&server, &after), "but does not sign");
    assert!(is_valid(&without_old, &after) && !is_valid(&without_old, &before));
    // A lost response is repeated across the change.
    let second = refresh(&server, text(&before, "refreshToken")).data();
    let again = refresh(&changed, text(&before, "refreshToken")).data();
    assert_eq!(again["refreshToken"], second["refreshToken"]);
    assert!(is_valid(&without_old, &refresh(&changed, text(&again, "refreshToken")).data()));
}
