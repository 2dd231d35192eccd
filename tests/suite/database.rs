//! Databases that restart, hang or are locked, and migrations.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _};

use crate::support::database::{Cluster, TestDatabase, on_postgres};
use crate::support::{EMAIL, PASSWORD, TestClock, TestServer, tokens, wait_until};

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
        let answer = server.log_in();
        answer.assert_error(500, "Internal server error", "the database is down");
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
        assert!(took < Duration::from_millis(5_800), "{took:?}");
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert_eq!(log_in(&server), 200);
}

/// Returns the number of migration files, and the migrations of a database.
fn migrations(url: &str) -> (usize, Vec<(i64, bool)>) {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let applied = runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
        // SQLite and PostgreSQL have different boolean types.
        let sql = "SELECT version, CASE WHEN success THEN 1 ELSE 0 END FROM _sqlx_migrations ORDER BY version";
        let rows: Vec<(i64, i32)> = sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
        rows.into_iter().map(|(version, success)| (version, success == 1)).collect()
    });
    (files, applied)
}

#[track_caller]
fn assert_migrated_once(url: &str) {
    let (files, applied) = migrations(url);
    let expected: Vec<(i64, bool)> = (1..=i64::try_from(files).unwrap()).map(|version| (version, true)).collect();
    assert_eq!(applied, expected);
}

fn new_databases() -> [TestDatabase; 2] {
    [TestDatabase::on_postgresql(), TestDatabase::new()]
}

#[test]
fn simultaneous_starts_migrate_an_empty_database_once() {
    for database in (0..3).flat_map(|_| new_databases()).map(Arc::new) {
        let url = database.url.clone();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let database = Arc::clone(&database);
                scope.spawn(move || assert_eq!(log_in(&TestServer::on(database, TestClock::default(), &[])), 401));
            }
        });
        assert_migrated_once(&url);
    }
}

#[test]
fn killed_migration_is_completed_by_the_next_start() {
    let migrate = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
        command.arg("migrate").current_dir(std::env::temp_dir()).env_clear().env("APP_DATABASE__URL", url);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let took = {
        let started = Instant::now();
        assert!(migrate(&TestDatabase::on_postgresql().url).wait().unwrap().success());
        started.elapsed()
    };
    for round in 0..20 {
        for database in new_databases() {
            let mut killed = migrate(&database.url);
            std::thread::park_timeout(took * round / 20);
            killed.kill().unwrap();
            killed.wait().unwrap();
            let (mut one, mut other) = (migrate(&database.url), migrate(&database.url));
            assert!(one.wait().unwrap().success() && other.wait().unwrap().success(), "round {round}");
            assert_migrated_once(&database.url);
        }
    }
}
