//! PostgreSQL under a running server: restarts, exhausted connections, a changed password, missing privileges.
//!
//! `database` tests a PostgreSQL that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher as _;
use serde_json::json;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::runtime::Runtime;

use crate::support::client::{Client, request};
use crate::support::database::{Cluster, TestDatabase, on_postgres};
use crate::support::process::{ServerProcess, run_command};
use crate::support::replicas::metric;
use crate::support::writers::{WriteOutcome, Writer, assert_nothing_lost};
use crate::support::{EMAIL, PASSWORD, SandboxServer, TestClock, TestServer, full_size, tokens, wait_until};
use proconf_app_server::sandbox::Script;

const TRUSTED_PROXY: (&str, &str) = ("APP_SERVER__TRUSTED_PROXIES", "127.0.0.0/8");

fn log_in(client: Client) -> u16 {
    client.log_in(EMAIL, PASSWORD).status
}

/// The longest recovery; a busy machine takes longer.
fn recovery_time() -> Duration {
    Duration::from_secs(if full_size() { 2 } else { 4 })
}

/// Sends requests that need no database until `done`; returns the response times.
fn send_requests_without_database(client: Client, done: &AtomicBool) -> Vec<Duration> {
    let (mut connection, user) = (client.connect(), tokens::user());
    let mut took = Vec::new();
    while !done.load(Ordering::SeqCst) {
        let started = Instant::now();
        connection.request(&request("GET", b"/callCatchUp/r1", Some(&user))).assert_success(r#""r1""#);
        connection.request(&request("GET", b"/auth/joinmember?roomName=r1", None)).data();
        took.push(started.elapsed() / 2);
    }
    took
}

/// Asserts a bound on the 99th percentile.
#[track_caller]
fn assert_fast(mut took: Vec<Duration>) {
    took.sort_unstable();
    let slowest = took[took.len() * 99 / 100];
    let allowed = Duration::from_millis(if full_size() { 50 } else { 500 });
    assert!(slowest <= allowed, "{slowest:?} of {}", took.len());
}

#[test]
fn restarts_under_load_lose_no_acknowledged_write() {
    if !on_postgres() {
        return;
    }
    let (restarts, interval) = if full_size() { (6, Duration::from_secs(10)) } else { (4, Duration::from_millis(500)) };
    let cluster = Cluster::start();
    let url = cluster.new_database();
    let server = TestServer::on(Arc::new(TestDatabase::at(url.clone())), TestClock::default(), &[TRUSTED_PROXY]);
    let mut writers: Vec<Writer> = (0..4).map(|number| Writer::new(number, PASSWORD)).collect();
    for writer in &writers {
        server.add_user(&writer.email, PASSWORD);
    }
    let (done, written, client) = (AtomicBool::new(false), AtomicUsize::new(0), server.client());
    let (mut outages, mut failed, mut took) = (Vec::new(), Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let writing: Vec<_> = writers
            .iter_mut()
            .enumerate()
            .map(|(number, writer)| {
                let (done, written) = (&done, &written);
                scope.spawn(move || {
                    let (mut connection, from) = (client.connect(), format!("10.0.0.{number}"));
                    let mut failed = Vec::new();
                    while !done.load(Ordering::SeqCst) {
                        match writer.write(&mut connection, &from) {
                            WriteOutcome::Done => {
                                written.fetch_add(1, Ordering::SeqCst);
                            }
                            WriteOutcome::Failed(500) => failed.push(Instant::now()),
                            other => panic!("{other:?}"),
                        }
                    }
                    failed
                })
            })
            .collect();
        let reading: Vec<_> = (0..2).map(|_| scope.spawn(|| send_requests_without_database(client, &done))).collect();
        for restart in 0..restarts {
            let (before, started) = (written.load(Ordering::SeqCst), Instant::now());
            wait_until("writes succeed", || {
                written.load(Ordering::SeqCst) >= before + 40 && (restart == 0 || started.elapsed() >= interval)
            });
            let stopped = Instant::now();
            cluster.pg_ctl(&["stop", "-m", if restart % 2 == 0 { "fast" } else { "immediate" }]);
            cluster.pg_ctl(&["start"]);
            outages.push((stopped, Instant::now()));
        }
        let before = written.load(Ordering::SeqCst);
        wait_until("writes succeed again", || written.load(Ordering::SeqCst) >= before + 40);
        done.store(true, Ordering::SeqCst);
        failed.extend(writing.into_iter().flat_map(|writing| writing.join().unwrap()));
        took.extend(reading.into_iter().flat_map(|reading| reading.join().unwrap()));
    });
    let is_late = |at: &&Instant| !outages.iter().any(|(from, to)| (*from..=*to + recovery_time()).contains(*at));
    assert_eq!(failed.iter().filter(is_late).count(), 0, "of {} failures", failed.len());
    let tally = assert_nothing_lost(&url, &writers);
    println!(
        "{restarts} restarts: {} acknowledged writes, none lost; {} failed; {} responses without a database",
        tally.acknowledged,
        failed.len(),
        took.len() * 2
    );
    assert_fast(took);
}

/// Starts a server whose database role has no special privileges.
fn server_with_common_role(cluster: &Cluster, limit: usize) -> (TestServer, String) {
    let url = cluster.new_database();
    let name = url.rsplit('/').next().unwrap();
    cluster.sql(&url, &format!("CREATE ROLE app LOGIN PASSWORD 'canary-1' CONNECTION LIMIT {limit}"));
    cluster.sql(&url, &format!("ALTER DATABASE {name} OWNER TO app"));
    cluster.require_password_of("app");
    let app_url = url.replace("tests@", "app:canary-1@");
    let server = TestServer::on(Arc::new(TestDatabase::at(app_url)), TestClock::default(), &[]);
    server.add_user(EMAIL, PASSWORD);
    assert_eq!(log_in(server.client()), 200);
    (server, url)
}

/// Asserts that requests that need the database are 500 in time, and that others are served.
#[track_caller]
fn assert_database_unavailable(server: &TestServer) {
    let (done, client) = (AtomicBool::new(false), server.client());
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| send_requests_without_database(client, &done));
        // More than there are connections.
        let waiting: Vec<_> = (0..15)
            .map(|_| {
                scope.spawn(move || {
                    let started = Instant::now();
                    (log_in(client), started.elapsed())
                })
            })
            .collect();
        for waited in waiting {
            let (status, waited) = waited.join().unwrap();
            assert_eq!(status, 500);
            assert!(waited < Duration::from_secs(3) + recovery_time() / 2, "{waited:?}");
        }
        wait_until("the outage is noticed", || server.degraded().as_deref() == Some("database"));
        done.store(true, Ordering::SeqCst);
        assert_fast(reading.join().unwrap());
    });
}

#[track_caller]
fn assert_recovers(server: &TestServer) {
    let started = Instant::now();
    wait_until("a login succeeds", || log_in(server.client()) == 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    wait_until("the end of the outage is noticed", || server.degraded().is_none());
}

const TERMINATE_SERVER_CONNECTIONS: &str = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
     WHERE usename = 'app' AND application_name <> 'holder'";

#[test]
fn exhausted_connections_are_500_after_three_seconds() {
    if !on_postgres() {
        return;
    }
    let cluster = Cluster::start();
    let (server, url) = server_with_common_role(&cluster, 12);
    let holder_url = format!("{}?application_name=holder", server.database.url);
    let runtime = runtime();
    let mut connections = Vec::new();
    let started = Instant::now();
    // The server reconnects in between.
    while connections.len() < 12 {
        cluster.sql(&url, TERMINATE_SERVER_CONNECTIONS);
        while let Ok(connection) = runtime.block_on(AnyConnection::connect(&holder_url)) {
            connections.push(connection);
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{} connections", connections.len());
    }
    assert_database_unavailable(&server);
    for connection in connections {
        runtime.block_on(connection.close()).unwrap();
    }
    assert_recovers(&server);
}

#[test]
fn changed_database_password_is_500_until_it_is_restored() {
    if !on_postgres() {
        return;
    }
    let cluster = Cluster::start();
    let (server, url) = server_with_common_role(&cluster, 30);
    cluster.sql(&url, "ALTER ROLE app PASSWORD 'canary-2'");
    assert_eq!(log_in(server.client()), 200, "open connections stay valid");
    cluster.sql(&url, TERMINATE_SERVER_CONNECTIONS);
    assert_database_unavailable(&server);
    cluster.sql(&url, "ALTER ROLE app PASSWORD 'canary-1'");
    assert_recovers(&server);
}

fn runtime() -> Runtime {
    sqlx::any::install_default_drivers();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a command on the database at `url`; returns the exit code and the line on the database.
fn run(command: &str, url: &str, base_url: &str) -> (i32, String) {
    let (code, stdout, _) = run_command(command, url, base_url, &[]);
    let line = stdout.lines().find_map(|line| line.strip_prefix("# database: ")).unwrap_or_default();
    (code, line.to_owned())
}

#[test]
fn check_config_reports_lost_privileges_and_changed_migrations() {
    let cluster = Cluster::start();
    let sandbox = SandboxServer::start(Script::echo());
    let url = cluster.new_database();
    cluster.sql(&url, "CREATE ROLE app LOGIN");
    cluster.sql(&url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let app_url = url.replace("tests@", "app@");
    let count_relations = "SELECT COUNT(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let check = |code: i32, text: &str| {
        let before = cluster.sql(&url, count_relations);
        let (exit_code, line) = run("check-config", &app_url, &sandbox.base_url);
        assert!(exit_code == code && line.contains(text), "{exit_code}: {line}, not {code}: {text}");
        assert_eq!(cluster.sql(&url, count_relations), before, "nothing is created");
    };
    check(69, "permission denied for schema public");
    assert_eq!(run("migrate", &app_url, &sandbox.base_url).0, 1, "as predicted");
    cluster.sql(&url, "GRANT CREATE ON SCHEMA public TO app");
    check(0, "ok, reachable; the schema will be created");
    // Another role owns the tables, as after a restore.
    assert_eq!(run("migrate", &url, &sandbox.base_url).0, 0);
    check(69, "permission denied for table");
    let grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app";
    for privilege in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
        cluster.sql(&url, grant);
        cluster.sql(&url, &format!("REVOKE {privilege} ON stream_tickets FROM app"));
        check(69, "permission denied for table stream_tickets");
    }
    cluster.sql(&url, grant);
    check(0, "ok, reachable");
    assert_eq!(run("migrate", &app_url, &sandbox.base_url).0, 0, "as predicted");
    cluster.sql(&url, "ALTER ROLE app SET default_transaction_read_only = on");
    check(69, "in a read-only transaction");
    cluster.sql(&url, "ALTER ROLE app RESET default_transaction_read_only");
    cluster.sql(&url, "REVOKE CREATE ON SCHEMA public FROM app");
    check(0, "ok, reachable");
    assert_eq!(run("migrate", &app_url, &sandbox.base_url).0, 0, "as predicted: nothing is pending");
    cluster.sql(&url, "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1");
    check(69, "FAILED, migration 1 was previously applied but has been modified");
    assert_eq!(run("migrate", &app_url, &sandbox.base_url).0, 1, "as predicted");
}

/// Holds a lock while `meanwhile` runs; its argument waits until another session waits for the lock.
fn with_lock(url: &str, lock: &str, release: &str, meanwhile: impl FnOnce(&dyn Fn())) {
    let runtime = runtime();
    let mut holder = runtime.block_on(AnyConnection::connect(url)).unwrap();
    runtime.block_on(async {
        holder.execute("BEGIN").await.unwrap();
        holder.execute(sqlx::AssertSqlSafe(lock.to_owned())).await.unwrap();
    });
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let wait_for_waiter = || {
        wait_until("a session waits for the lock", || {
            runtime.block_on(async {
                let mut other = AnyConnection::connect(url).await.unwrap();
                let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut other).await.unwrap();
                other.close().await.unwrap();
                count > 0
            })
        });
    };
    meanwhile(&wait_for_waiter);
    runtime.block_on(holder.execute(sqlx::AssertSqlSafe(release.to_owned()))).unwrap();
}

fn postgresql_server_with_account() -> TestServer {
    let server = TestServer::on(Arc::new(TestDatabase::on_postgresql()), TestClock::default(), &[]);
    server.add_user(EMAIL, PASSWORD);
    server
}

#[test]
fn login_is_checked_against_a_password_changed_meanwhile() {
    let server = postgresql_server_with_account();
    for (new_password, status) in [(PASSWORD, 200), ("another horse, another battery", 401)] {
        let hash = argon2::Argon2::default().hash_password(new_password.as_bytes()).unwrap().to_string();
        let change = format!("UPDATE users SET password_hash = '{hash}'");
        std::thread::scope(|scope| {
            let mut login = None;
            with_lock(&server.database.url, &change, "COMMIT", |wait_for_waiter| {
                login = Some(scope.spawn(|| log_in(server.client())));
                wait_for_waiter();
            });
            assert_eq!(login.unwrap().join().unwrap(), status, "{new_password}");
        });
    }
}

#[test]
fn client_reset_does_not_cancel_logout_or_reuse_detection() {
    let server = postgresql_server_with_account();
    let post = |route: &str, body: &serde_json::Value| server.client().post(route, &body.to_string()).data();
    for route in ["/auth/logout", "/auth/refresh"] {
        let login = server.log_in().data();
        let body = json!({"refreshToken": login["refreshToken"]}).to_string();
        if route == "/auth/refresh" {
            post(route, &json!({"refreshToken": login["refreshToken"]}));
            server.clock.advance(Duration::from_secs(31));
        }
        let is_valid = || server.client().get("/callCatchUp/r1", Some(login["token"].as_str().unwrap())).status == 200;
        assert!(is_valid());
        with_lock(&server.database.url, "LOCK TABLE refresh_tokens", "ROLLBACK", |wait_for_waiter| {
            let mut connection = server.client().connect();
            let head = format!("POST {route} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n");
            connection.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
            wait_for_waiter();
            connection.reset();
            wait_until("the server sees the reset", || {
                metric(server.management_client(), "proconf_http_requests_in_flight ") == 0
            });
        });
        wait_until("its session has ended", || !is_valid());
    }
}

#[test]
fn replica_frozen_in_a_transaction_delays_logins_by_seconds() {
    if !on_postgres() {
        return;
    }
    let cluster = Cluster::start();
    let url = cluster.new_database();
    let database = Arc::new(TestDatabase::at(url.clone()));
    let sandbox = SandboxServer::start(Script::echo());
    let replica = TestServer::on(Arc::clone(&database), TestClock::default(), &[]);
    replica.add_user(EMAIL, PASSWORD);
    let frozen = ServerProcess::on(database, &sandbox.base_url, &[]);
    let (done, client) = (AtomicBool::new(false), frozen.client());
    std::thread::scope(|scope| {
        // One login at a time: several would lock the account in turn.
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                log_in(client);
            }
        });
        wait_until("the replica freezes within a transaction", || {
            std::thread::park_timeout(Duration::from_millis(5));
            frozen.signal("STOP");
            let locking = "SELECT COUNT(*) FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE state = 'idle in transaction' \
                 AND relation = 'login_failures'::regclass AND mode = 'RowExclusiveLock'";
            let in_transaction = cluster.sql(&url, locking).trim() != "0";
            if !in_transaction {
                frozen.signal("CONT");
            }
            in_transaction
        });
        let statuses: Vec<u16> = (0..3).map(|_| log_in(replica.client())).collect();
        done.store(true, Ordering::SeqCst);
        frozen.signal("CONT");
        assert_eq!(statuses, [200; 3]);
    });
    wait_until("the frozen replica recovers", || log_in(client) == 200);
}

#[test]
fn connection_limit_and_name_are_settings() {
    let database = TestDatabase::on_postgresql();
    let (url, name) = (database.url.clone(), ("APP_DATABASE__APPLICATION_NAME", "meet me"));
    let settings = [("APP_DATABASE__MAX_CONNECTIONS", "2"), name];
    let server = TestServer::on(Arc::new(database), TestClock::default(), &settings);
    let named = Arc::new(TestDatabase::at(format!("{url}?application_name=own")));
    let _other = TestServer::on(named, TestClock::default(), &[name]);
    server.add_user(EMAIL, PASSWORD);
    std::thread::scope(|scope| {
        // On a busy machine the queue of passwords may be full for a moment.
        let log_in = || wait_until("a login", || log_in(server.client()) == 200);
        for _ in 0..8 {
            scope.spawn(log_in);
        }
    });
    assert_eq!(metric(server.management_client(), "proconf_database_connections_max "), 2);
    let open = "SELECT application_name, COUNT(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name <> '' GROUP BY 1 ORDER BY 1";
    let open: Vec<(String, i64)> = runtime().block_on(async {
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        sqlx::query_as(open).fetch_all(&mut connection).await.unwrap()
    });
    let [(ref ours, count @ 1..=2), (ref other, 1..)] = open[..] else { panic!("{open:?}") };
    assert_eq!((ours.as_str(), other.as_str()), ("meet me", "own"), "{count}");
}
