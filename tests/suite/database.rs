//! Databases that restart, hang or are locked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Script;
use sqlx::{Connection as _, Executor as _};

use crate::support::client::Client;
use crate::support::database::{Cluster, TestDatabase, on_postgres};
use crate::support::process::ServerProcess;
use crate::support::{EMAIL, PASSWORD, SandboxServer, TestClock, TestServer, tokens, wait_until};

fn log_in(server: &TestServer) -> u16 {
    server.log_in().status
}

#[test]
fn server_recovers_after_a_postgresql_restart() {
    let cluster = Cluster::start();
    let database = Arc::new(TestDatabase::at(cluster.new_database()));
    let server = TestServer::on(database, TestClock::default(), &[]);
    server.add_user(EMAIL, PASSWORD);
    for mode in ["fast", "immediate"] {
        assert_eq!(log_in(&server), 200);
        cluster.pg_ctl(&["stop", "-m", mode]);
        for _ in 0..5 {
            server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
            server.client().get("/auth/joinmember?roomName=r1", None).data();
        }
        let started = Instant::now();
        let response = server.log_in();
        response.assert_error(500, "Internal server error", "the database is down");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        cluster.pg_ctl(&["start"]);
        assert_login_recovers(&server);
    }
}

#[track_caller]
fn assert_login_recovers(server: &TestServer) {
    let started = Instant::now();
    wait_until("a login succeeds", || log_in(server) == 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn cause_of_an_outage_is_logged() {
    let (cluster, sandbox) = (Cluster::start(), SandboxServer::start(Script::echo()));
    let server = ServerProcess::on(Arc::new(TestDatabase::at(cluster.new_database())), &sandbox.base_url, &[]);
    let management = Client::new(server.management);
    wait_until("the server is ready", || management.get("/health/ready", None).status == 200);
    cluster.pg_ctl(&["stop", "-m", "fast"]);
    wait_until("the outage is noticed", || management.get("/health/ready", None).data()["degraded"] == "database");
    let line = server.line(0, |line| line["message"] == "degraded: the database fails");
    assert!(line["cause"].as_str().unwrap().contains("Connection refused"), "{line}");
}

#[test]
fn hanging_postgresql_delays_only_requests_that_need_it() {
    if !on_postgres() {
        return;
    }
    let cluster = Cluster::start();
    let server = TestServer::on(Arc::new(TestDatabase::at(cluster.new_database())), TestClock::default(), &[]);
    server.add_user(EMAIL, PASSWORD);
    assert_eq!(log_in(&server), 200);
    cluster.signal("STOP");
    std::thread::scope(|scope| {
        // More logins than connections.
        for _ in 0..15 {
            scope.spawn(|| {
                let started = Instant::now();
                assert_eq!(log_in(&server), 500);
                assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
            });
        }
        let started = Instant::now();
        wait_until("the outage is noticed", || server.degraded().as_deref() == Some("database"));
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        for _ in 0..50 {
            let started = Instant::now();
            server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
            server.client().get("/health/live", None).data();
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
    });
    cluster.signal("CONT");
    wait_until("the end of the outage is noticed", || server.degraded().is_none());
    assert_login_recovers(&server);
}

/// Locks the database of `server` exclusively while `meanwhile` runs.
fn with_locked_database<T>(server: &TestServer, meanwhile: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut other = runtime.block_on(sqlx::SqliteConnection::connect(&server.database.url)).unwrap();
    runtime.block_on(other.execute("BEGIN EXCLUSIVE")).unwrap();
    let done = meanwhile();
    runtime.block_on(other.execute("ROLLBACK")).unwrap();
    done
}

#[test]
fn locked_sqlite_delays_only_writes() {
    if on_postgres() {
        return;
    }
    let server = TestServer::with_account(&[]);
    let logins: [u16; 6] = std::thread::scope(|scope| {
        let logins = with_locked_database(&server, || {
            let logins = [(); 6].map(|()| scope.spawn(|| log_in(&server)));
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(1) {
                server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
            }
            logins
        });
        logins.map(|login| login.join().unwrap())
    });
    assert_eq!(logins, [200; 6], "delayed, not failed");
    let (logins, longest) = with_locked_database(&server, || {
        std::thread::scope(|scope| {
            // Staggered: a later login shares the wait of the first one.
            let logins = [0, 100, 200, 300, 400, 500].map(|after| {
                let server = &server;
                scope.spawn(move || {
                    std::thread::park_timeout(Duration::from_millis(after));
                    let started = Instant::now();
                    (log_in(server), started.elapsed())
                })
            });
            let mut longest = Duration::ZERO;
            while !logins.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                let started = Instant::now();
                server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
                assert_eq!(server.client().get("/health/ready", None).status, 200, "accounts can be read");
                longest = longest.max(started.elapsed());
            }
            (logins.map(|login| login.join().unwrap()), longest)
        })
    });
    for (status, took) in logins {
        assert_eq!(status, 500);
        assert!(took < Duration::from_millis(6_500), "{took:?}");
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert_eq!(log_in(&server), 200);
}
