//! `POST /auth/refresh` and `/auth/logout`, and everything else that ends a session.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use proconf_app_server::accounts::admin;
use proconf_app_server::clock::Clock;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::response::Response;
use crate::support::{TestClock, TestServer, full_size, tokens};

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse battery 🐎";
/// What the contract allows until a revocation is known: here, and on another replica.
const HERE: Duration = Duration::from_secs(1);
const ELSEWHERE: Duration = Duration::from_secs(2);

fn server_with_ann() -> TestServer {
    let server = TestServer::start();
    server.add_user(EMAIL, PASSWORD);
    server
}

fn log_in(server: &TestServer) -> Value {
    server.client().post("/auth/login", &json!({"email": EMAIL, "password": PASSWORD}).to_string()).data()
}

fn refresh(server: &TestServer, token: &str) -> Response {
    server.client().post("/auth/refresh", &json!({"refreshToken": token}).to_string())
}

fn log_out(server: &TestServer, token: &str) {
    server.client().post("/auth/logout", &json!({"refreshToken": token}).to_string()).assert_success("null");
}

fn text<'a>(login: &'a Value, name: &str) -> &'a str {
    login[name].as_str().unwrap()
}

fn opens(server: &TestServer, login: &Value) -> bool {
    match server.client().get("/callCatchUp/r1", Some(text(login, "token"))) {
        answer if answer.status == 200 => true,
        answer => {
            answer.assert_unauthorized("revoked");
            false
        }
    }
}

/// Fails unless the token is refused within `limit`.
#[track_caller]
fn is_shut_within(limit: Duration, server: &TestServer, login: &Value) {
    let started = Instant::now();
    while opens(server, login) {
        assert!(started.elapsed() < limit, "still open after {limit:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn refresh_token_is_exchanged_for_new_tokens() {
    let server = server_with_ann();
    let first = log_in(&server);
    let second = refresh(&server, text(&first, "refreshToken")).data();
    let third = refresh(&server, text(&second, "refreshToken")).data();
    let all: HashSet<&str> = [&first, &second, &third].map(|login| text(login, "refreshToken")).into();
    assert_eq!(all.len(), 3);
    assert_eq!(
        (&second["user"], &second["tokenType"], &second["expiresIn"]),
        (&first["user"], &"Bearer".into(), &3600.into())
    );
    assert!(opens(&server, &first) && opens(&server, &second) && opens(&server, &third));
}

#[test]
fn reused_refresh_token_ends_its_session_after_ten_seconds() {
    let server = server_with_ann();
    let other_session = log_in(&server);
    let first = log_in(&server);
    let second = refresh(&server, text(&first, "refreshToken")).data();
    server.clock.advance(Duration::from_millis(9_500));
    let again = refresh(&server, text(&first, "refreshToken")).data();
    assert_eq!(again["refreshToken"], second["refreshToken"], "the very same successor");
    server.clock.advance(Duration::from_millis(700));
    refresh(&server, text(&first, "refreshToken")).assert_unauthorized("a spent token");
    is_shut_within(HERE, &server, &second);
    assert!(!opens(&server, &first));
    refresh(&server, text(&second, "refreshToken")).assert_unauthorized("its family is dead");
    assert!(opens(&server, &other_session), "the account's other session goes on");
}

#[test]
fn simultaneous_refreshes_leave_one_live_successor() {
    for database in [TestDatabase::on_postgresql(), TestDatabase::new()].map(Arc::new) {
        let [server, replica] = [0, 1].map(|_| TestServer::on(Arc::clone(&database), TestClock::default(), &[]));
        server.add_user(EMAIL, PASSWORD);
        for round in 0..if full_size() { 100 } else { 10 } {
            let login = log_in(&server);
            let (token, start) = (text(&login, "refreshToken"), Barrier::new(50));
            let answers: Vec<Response> = std::thread::scope(|scope| {
                let asking: Vec<_> = (0..50)
                    .map(|number| {
                        let (server, start) = (if number % 2 == 0 { &server } else { &replica }, &start);
                        scope.spawn(move || {
                            start.wait();
                            refresh(server, token)
                        })
                    })
                    .collect();
                asking.into_iter().map(|asking| asking.join().unwrap()).collect()
            });
            let successors: HashSet<String> =
                answers.iter().map(|answer| text(&answer.data(), "refreshToken").to_owned()).collect();
            assert_eq!(successors.len(), 1, "round {round}");
            let next = refresh(&server, successors.iter().next().unwrap()).data();
            assert!(opens(&replica, &next));
            assert_eq!(server.rows("sessions"), round + 1);
            assert_eq!(server.rows("refresh_tokens WHERE spent_at IS NULL"), round + 1, "one live token a session");
        }
    }
}

#[test]
fn invalid_refresh_token_is_401_and_malformed_input_400() {
    let server = server_with_ann();
    let login = log_in(&server);
    for token in ["x", &"x".repeat(10_000), text(&login, "token"), &tokens::guest("r1"), "' OR 1=1 --"] {
        refresh(&server, token).assert_unauthorized(token);
    }
    let long_ago = text(&login, "refreshToken");
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
    refresh(&server, long_ago).data();
}

#[test]
fn session_ends_after_thirty_days_or_a_week_idle() {
    let server = server_with_ann();
    let mut login = log_in(&server);
    for hours in [6 * 24, 6 * 24, 6 * 24, 6 * 24, 6 * 24 - 1] {
        server.clock.advance(Duration::from_hours(hours));
        login = refresh(&server, text(&login, "refreshToken")).data();
    }
    server.clock.advance(Duration::from_hours(1));
    refresh(&server, text(&login, "refreshToken")).assert_unauthorized("thirty days are over");

    let login = log_in(&server);
    server.clock.advance(Duration::from_hours(7 * 24));
    refresh(&server, text(&login, "refreshToken")).assert_unauthorized("unused for a week");
}

#[test]
fn clock_jump_revives_no_session_and_ends_none() {
    let server = server_with_ann();
    let replica = server.replica(&[]);
    let (kept, ended) = (log_in(&server), log_in(&server));
    log_out(&server, text(&ended, "refreshToken"));
    is_shut_within(ELSEWHERE, &replica, &ended);
    // Seen here only once what was revoked has been read again.
    let read_again = || {
        let login = log_in(&server);
        log_out(&replica, text(&login, "refreshToken"));
        is_shut_within(ELSEWHERE, &server, &login);
    };
    for jump in [Duration::from_hours(1), Duration::from_hours(10 * 365 * 24)] {
        server.clock.advance(jump);
        assert!(!opens(&server, &kept), "expired");
        read_again();
        server.clock.rewind(jump);
        assert!(opens(&server, &kept), "good again");
        for _ in 0..2 {
            assert!(!opens(&server, &ended), "over for good");
            assert!(!opens(&replica, &ended), "over on the replica too");
            read_again();
        }
    }
    refresh(&server, text(&kept, "refreshToken")).data();
}

#[test]
fn logout_ends_one_session_on_all_replicas() {
    let server = server_with_ann();
    let replica = server.replica(&[]);
    let (login, other) = (log_in(&server), log_in(&server));
    assert!(opens(&replica, &login));
    log_out(&server, text(&login, "refreshToken"));
    assert!(!opens(&server, &login), "at once, where it was said");
    is_shut_within(ELSEWHERE, &replica, &login);
    refresh(&replica, text(&login, "refreshToken")).assert_unauthorized("logged out");
    log_out(&server, text(&login, "refreshToken"));
    log_out(&server, "an unknown token");
    assert!(opens(&server, &other) && opens(&replica, &other));
    assert!(!opens(&server.replica(&[]), &login), "a new replica knows it from the start");
}

#[test]
fn used_refresh_token_can_still_log_out() {
    let server = server_with_ann();
    let first = log_in(&server);
    let second = refresh(&server, text(&first, "refreshToken")).data();
    log_out(&server, text(&first, "refreshToken"));
    assert!(!opens(&server, &second) && !opens(&server, &first));
}

#[test]
fn disabled_account_is_rejected_until_enabled() {
    let server = server_with_ann();
    let login = log_in(&server);
    server.manage(async |database, clock| admin::disable(&database, " ANN@example.com", &clock).await);
    is_shut_within(ELSEWHERE, &server, &login);
    refresh(&server, text(&login, "refreshToken")).assert_unauthorized("disabled");
    let body = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    server.client().post("/auth/login", &body).assert_unauthorized("disabled");
    server.manage(async |database, _| admin::enable(&database, EMAIL).await);
    assert!(opens(&server, &log_in(&server)));
    assert!(!opens(&server, &login), "what was ended stays ended");
}

#[test]
fn password_change_ends_all_sessions() {
    let server = server_with_ann();
    let logins = [log_in(&server), log_in(&server)];
    let new = "another horse, another battery";
    server.manage(async |database, clock| admin::set_password(&database, EMAIL, new, 15, &clock).await);
    for login in &logins {
        is_shut_within(ELSEWHERE, &server, login);
        refresh(&server, text(login, "refreshToken")).assert_unauthorized("of the old password");
    }
    let sign_in = |password| server.client().post("/auth/login", &json!({"email": EMAIL, "password": password}).to_string());
    sign_in(PASSWORD).assert_unauthorized("the old password");
    sign_in(new).data();
}

#[test]
fn login_racing_a_password_change_leaves_no_session() {
    let server = server_with_ann();
    let (old, new) = ("the first horse, the first battery", "the second horse, the second battery");
    for _ in 0..5 {
        // The failures of the last round are forgotten.
        server.clock.advance(Duration::from_mins(31));
        server.manage(async |database, clock| admin::set_password(&database, EMAIL, old, 15, &clock).await);
        let (done, signed_in) = (AtomicBool::new(false), AtomicBool::new(false));
        let sign_in = || server.client().post("/auth/login", &json!({"email": EMAIL, "password": old}).to_string());
        let logins: Vec<Value> = std::thread::scope(|scope| {
            let signing_in: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut logins = Vec::new();
                        while !done.load(Ordering::SeqCst) {
                            let answer = sign_in();
                            if answer.status == 200 {
                                signed_in.store(true, Ordering::SeqCst);
                                logins.push(answer.data());
                            }
                        }
                        logins
                    })
                })
                .collect();
            let started = Instant::now();
            while !signed_in.load(Ordering::SeqCst) {
                assert!(started.elapsed() < Duration::from_secs(20), "nobody signs in");
                std::thread::park_timeout(Duration::from_millis(20));
            }
            server.manage(async |database, clock| admin::set_password(&database, EMAIL, new, 15, &clock).await);
            done.store(true, Ordering::SeqCst);
            signing_in.into_iter().flat_map(|one| one.join().unwrap()).collect()
        });
        assert!(!logins.is_empty());
        for login in &logins {
            is_shut_within(ELSEWHERE, &server, login);
        }
    }
}

#[test]
fn clock_ahead_elsewhere_hides_no_revocation() {
    let server = server_with_ann();
    server.add_user("bo@example.com", PASSWORD);
    let login = log_in(&server);
    let of_bo = json!({"email": "bo@example.com", "password": PASSWORD}).to_string();
    server.client().post("/auth/login", &of_bo).data();
    server.manage(async |database, _| {
        let ahead = Clock::from_fn(|| std::time::SystemTime::now() + Duration::from_hours(1));
        admin::disable(&database, "bo@example.com", &ahead).await
    });
    server.client().post("/auth/login", &of_bo).assert_unauthorized("disabled");
    std::thread::park_timeout(Duration::from_millis(700));
    server.manage(async |database, clock| admin::disable(&database, EMAIL, &clock).await);
    is_shut_within(ELSEWHERE, &server, &login);
}

#[test]
fn previous_secret_is_accepted_while_it_is_listed() {
    let server = server_with_ann();
    let new = ("APP_AUTH__JWT_SECRET", "another test secret: 9Zy8Xw7Vu6Ts5Rq4Po3N");
    let changed = server.replica(&[new, ("APP_AUTH__PREVIOUS_JWT_SECRETS", crate::support::SECRET)]);
    let done = server.replica(&[new]);
    let (before, after) = (log_in(&server), log_in(&changed));
    assert!(opens(&changed, &before), "the previous secret still opens");
    assert!(!opens(&server, &after), "and never signs");
    assert!(opens(&done, &after) && !opens(&done, &before));
    // An answer that was lost across the change is still given again.
    let second = refresh(&server, text(&before, "refreshToken")).data();
    let again = refresh(&changed, text(&before, "refreshToken")).data();
    assert_eq!(again["refreshToken"], second["refreshToken"]);
    assert!(opens(&done, &refresh(&changed, text(&again, "refreshToken")).data()));
}
