//! PostgreSQL under a running server: restarted again and again, full, with another password, and with rights that are not
//! enough. What it takes to hang, or to be away for longer, is in `database`.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher as _;
use serde_json::json;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::runtime::Runtime;

use crate::support::client::{Client, request};
use crate::support::database::{Cluster, TestDatabase, on_postgres};
use crate::support::process::ServerProcess;
use crate::support::replicas::metric;
use crate::support::writers::{Told, Writer, nothing_is_lost};
use crate::support::{SandboxServer, TestClock, TestServer, full_size, tokens, wait_until};
use proconf_app_server::sandbox::Script;

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse battery 🐎";
const BEHIND_A_PROXY: (&str, &str) = ("APP_SERVER__TRUSTED_PROXIES", "127.0.0.0/8");

fn log_in(client: Client) -> u16 {
    client.post("/auth/login", &json!({"email": EMAIL, "password": PASSWORD}).to_string()).status
}

/// How long it may take until all is well again; a machine that does other things too takes longer.
fn soon() -> Duration {
    Duration::from_secs(if full_size() { 2 } else { 4 })
}

/// Asks for what needs no database, until `done`; gives how long each answer took.
fn ask_without_a_database(client: Client, done: &AtomicBool) -> Vec<Duration> {
    let (mut connection, user) = (client.connect(), tokens::user());
    let mut took = Vec::new();
    while !done.load(Ordering::SeqCst) {
        let started = Instant::now();
        connection.ask(&request("GET", b"/callCatchUp/r1", Some(&user))).assert_success(r#""r1""#);
        connection.ask(&request("GET", b"/auth/joinmember?roomName=r1", None)).data();
        took.push(started.elapsed() / 2);
    }
    took
}

/// Fails if the slowest of a hundred took longer than it may.
#[track_caller]
fn were_fast(mut took: Vec<Duration>) {
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
    let (restarts, apart) = if full_size() { (6, Duration::from_secs(10)) } else { (4, Duration::from_millis(500)) };
    let cluster = Cluster::start();
    let url = cluster.new_database();
    let server = TestServer::on(Arc::new(TestDatabase::at(url.clone())), TestClock::default(), &[BEHIND_A_PROXY]);
    let mut writers: Vec<Writer> = (0..4).map(|number| Writer::new(number, PASSWORD)).collect();
    for writer in &writers {
        server.add_user(&writer.email, PASSWORD);
    }
    let (done, written, client) = (AtomicBool::new(false), AtomicUsize::new(0), server.client());
    let (mut away, mut failed, mut took) = (Vec::new(), Vec::new(), Vec::new());
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
                            Told::Done => {
                                written.fetch_add(1, Ordering::SeqCst);
                            }
                            Told::Failed(500) => failed.push(Instant::now()),
                            other => panic!("{other:?}"),
                        }
                    }
                    failed
                })
            })
            .collect();
        let asking: Vec<_> = (0..2).map(|_| scope.spawn(|| ask_without_a_database(client, &done))).collect();
        for restart in 0..restarts {
            let (before, started) = (written.load(Ordering::SeqCst), Instant::now());
            wait_until("it is written to", || {
                written.load(Ordering::SeqCst) >= before + 40 && (restart == 0 || started.elapsed() >= apart)
            });
            let went = Instant::now();
            cluster.pg_ctl(&["stop", "-m", if restart % 2 == 0 { "fast" } else { "immediate" }]);
            cluster.pg_ctl(&["start"]);
            away.push((went, Instant::now()));
        }
        let before = written.load(Ordering::SeqCst);
        wait_until("it is written to again", || written.load(Ordering::SeqCst) >= before + 40);
        done.store(true, Ordering::SeqCst);
        failed.extend(writing.into_iter().flat_map(|writing| writing.join().unwrap()));
        took.extend(asking.into_iter().flat_map(|asking| asking.join().unwrap()));
    });
    let late = |at: &&Instant| !away.iter().any(|(went, back)| (*went..=*back + soon()).contains(*at));
    assert_eq!(failed.iter().filter(late).count(), 0, "of {} failures", failed.len());
    let tally = nothing_is_lost(&url, &writers);
    println!(
        "{restarts} restarts: {} writes were acknowledged and none was lost; {} failed meanwhile; {} answers needed no database",
        tally.acknowledged,
        failed.len(),
        took.len() * 2
    );
    were_fast(took);
}

/// A server whose role, unlike the tests' own, is nothing special.
fn server_of_a_common_role(cluster: &Cluster, limit: usize) -> (TestServer, String) {
    let url = cluster.new_database();
    let name = url.rsplit('/').next().unwrap();
    cluster.sql(&url, &format!("CREATE ROLE app LOGIN PASSWORD 'canary-1' CONNECTION LIMIT {limit}"));
    cluster.sql(&url, &format!("ALTER DATABASE {name} OWNER TO app"));
    cluster.asks_for_the_password_of("app");
    let of_app = url.replace("tests@", "app:canary-1@");
    let server = TestServer::on(Arc::new(TestDatabase::at(of_app)), TestClock::default(), &[]);
    server.add_user(EMAIL, PASSWORD);
    assert_eq!(log_in(server.client()), 200);
    (server, url)
}

/// While the database lets nobody in: 500 for those who need it, within the wait for a connection, and nobody else notices.
#[track_caller]
fn lets_nobody_in(server: &TestServer) {
    let (done, client) = (AtomicBool::new(false), server.client());
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_without_a_database(client, &done));
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
            assert!(waited < Duration::from_secs(3) + soon() / 2, "{waited:?}");
        }
        wait_until("it is not ready", || client.get("/health/ready", None).status == 503);
        done.store(true, Ordering::SeqCst);
        were_fast(asking.join().unwrap());
    });
}

#[track_caller]
fn recovers(server: &TestServer) {
    let started = Instant::now();
    while log_in(server.client()) != 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "it does not recover by itself");
    }
    wait_until("it is ready", || server.client().get("/health/ready", None).status == 200);
}

const END_THE_SERVERS: &str = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
     WHERE usename = 'app' AND application_name <> 'holder'";

#[test]
fn exhausted_connections_are_500_after_three_seconds() {
    if !on_postgres() {
        return;
    }
    let cluster = Cluster::start();
    let (server, url) = server_of_a_common_role(&cluster, 12);
    let holders = format!("{}?application_name=holder", server.database.url);
    let runtime = runtime();
    let mut held = Vec::new();
    let started = Instant::now();
    // The server tries to get back in between.
    while held.len() < 12 {
        cluster.sql(&url, END_THE_SERVERS);
        while let Ok(connection) = runtime.block_on(AnyConnection::connect(&holders)) {
            held.push(connection);
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{} are held", held.len());
    }
    lets_nobody_in(&server);
    for connection in held {
        runtime.block_on(connection.close()).unwrap();
    }
    recovers(&server);
}

#[test]
fn changed_database_password_is_500_until_it_is_restored() {
    if !on_postgres() {
        return;
    }
    let cluster = Cluster::start();
    let (server, url) = server_of_a_common_role(&cluster, 30);
    cluster.sql(&url, "ALTER ROLE app PASSWORD 'canary-2'");
    assert_eq!(log_in(server.client()), 200, "its connections are still good");
    cluster.sql(&url, END_THE_SERVERS);
    lets_nobody_in(&server);
    cluster.sql(&url, "ALTER ROLE app PASSWORD 'canary-1'");
    recovers(&server);
}

fn runtime() -> Runtime {
    sqlx::any::install_default_drivers();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a command of the binary on the database at `url`: its exit code, and the line on the database.
fn run(command: &str, url: &str, base_url: &str) -> (i32, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
    process.arg(command).current_dir(std::env::temp_dir()).env_clear();
    process.envs([
        ("APP_SERVER__LISTEN", "127.0.0.1:0"),
        ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0"),
        ("APP_ADMIN_CONTROL__BASE_URL", base_url),
        ("APP_AUTH__JWT_SECRET", crate::support::SECRET),
        ("APP_DATABASE__URL", url),
    ]);
    let output = process.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let line = stdout.lines().find_map(|line| line.strip_prefix("# database: ")).unwrap_or_default();
    (output.status.code().unwrap(), line.to_owned())
}

#[test]
fn check_config_predicts_what_postgresql_would_refuse() {
    let cluster = Cluster::start();
    let sandbox = SandboxServer::start(Script::echo());
    let url = cluster.new_database();
    cluster.sql(&url, "CREATE ROLE app LOGIN");
    cluster.sql(&url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let of_app = url.replace("tests@", "app@");
    let everything = "SELECT COUNT(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let check = |code: i32, says: &str| {
        let before = cluster.sql(&url, everything);
        let (ended, line) = run("check-config", &of_app, &sandbox.base_url);
        assert!(ended == code && line.contains(says), "{ended}: {line}, not {code}: {says}");
        assert_eq!(cluster.sql(&url, everything), before, "nothing is made");
    };
    check(78, "permission denied for schema public");
    assert_eq!(run("migrate", &of_app, &sandbox.base_url).0, 1, "which is true");
    cluster.sql(&url, "GRANT CREATE ON SCHEMA public TO app");
    check(0, "ok, it answers, and its schema will be made");
    // By somebody else, as after a restore.
    assert_eq!(run("migrate", &url, &sandbox.base_url).0, 0);
    check(78, "permission denied for table");
    cluster.sql(&url, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app");
    check(0, "ok, it answers");
    assert_eq!(run("migrate", &of_app, &sandbox.base_url).0, 0, "which is true");
    cluster.sql(&url, "ALTER ROLE app SET default_transaction_read_only = on");
    check(78, "in a read-only transaction");
    cluster.sql(&url, "ALTER ROLE app RESET default_transaction_read_only");
    cluster.sql(&url, "REVOKE CREATE ON SCHEMA public FROM app");
    check(78, "permission denied for schema public");
    assert_eq!(run("migrate", &of_app, &sandbox.base_url).0, 1, "which is true even though there is nothing to migrate");
    cluster.sql(&url, "GRANT CREATE ON SCHEMA public TO app");
    cluster.sql(&url, "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1");
    check(78, "FAILED, the migration failed: migration 1 was previously applied but has been modified");
    assert_eq!(run("migrate", &of_app, &sandbox.base_url).0, 1, "which is true");
}

/// Holds something of the database while `meanwhile` runs, and waits in there until somebody waits for it.
fn while_held(url: &str, hold: &str, release: &str, meanwhile: impl FnOnce(&dyn Fn())) {
    let runtime = runtime();
    let mut holder = runtime.block_on(AnyConnection::connect(url)).unwrap();
    runtime.block_on(async {
        holder.execute("BEGIN").await.unwrap();
        holder.execute(sqlx::AssertSqlSafe(hold.to_owned())).await.unwrap();
    });
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let somebody_waits = || {
        wait_until("somebody waits", || {
            runtime.block_on(async {
                let mut other = AnyConnection::connect(url).await.unwrap();
                let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut other).await.unwrap();
                other.close().await.unwrap();
                waiting > 0
            })
        });
    };
    meanwhile(&somebody_waits);
    runtime.block_on(holder.execute(sqlx::AssertSqlSafe(release.to_owned()))).unwrap();
}

fn server_with_ann() -> TestServer {
    let server = TestServer::on(Arc::new(TestDatabase::on_postgresql()), TestClock::default(), &[]);
    server.add_user(EMAIL, PASSWORD);
    server
}

#[test]
fn login_is_checked_against_a_password_changed_meanwhile() {
    let server = server_with_ann();
    for (becomes, status) in [(PASSWORD, 200), ("another horse, another battery", 401)] {
        let hash = argon2::Argon2::default().hash_password(becomes.as_bytes()).unwrap().to_string();
        let change = format!("UPDATE users SET password_hash = '{hash}'");
        std::thread::scope(|scope| {
            let mut login = None;
            while_held(&server.database.url, &change, "COMMIT", |somebody_waits| {
                login = Some(scope.spawn(|| log_in(server.client())));
                somebody_waits();
            });
            assert_eq!(login.unwrap().join().unwrap(), status, "{becomes}");
        });
    }
}

#[test]
fn client_reset_does_not_cancel_logout_or_reuse_detection() {
    let server = server_with_ann();
    let post = |route: &str, body: &serde_json::Value| server.client().post(route, &body.to_string()).data();
    for route in ["/auth/logout", "/auth/refresh"] {
        let login = post("/auth/login", &json!({"email": EMAIL, "password": PASSWORD}));
        let body = json!({"refreshToken": login["refreshToken"]}).to_string();
        if route == "/auth/refresh" {
            post(route, &json!({"refreshToken": login["refreshToken"]}));
            server.clock.advance(Duration::from_secs(11));
        }
        let opens = || server.client().get("/callCatchUp/r1", Some(login["token"].as_str().unwrap())).status == 200;
        assert!(opens());
        while_held(&server.database.url, "LOCK TABLE refresh_tokens", "ROLLBACK", |somebody_waits| {
            let mut connection = server.client().connect();
            let head = format!("POST {route} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n");
            connection.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
            somebody_waits();
            connection.reset();
            wait_until("the server notices", || metric(server.operator(), "proconf_http_requests_in_flight ") == 0);
        });
        wait_until("its session has ended", || !opens());
    }
}

#[test]
fn replica_frozen_in_a_transaction_delays_logins_elsewhere_by_seconds() {
    if !on_postgres() {
        return;
    }
    let cluster = Cluster::start();
    let url = cluster.new_database();
    let database = Arc::new(TestDatabase::at(url.clone()));
    let sandbox = SandboxServer::start(Script::echo());
    let replica = TestServer::on(Arc::clone(&database), TestClock::default(), &[]);
    replica.add_user(EMAIL, PASSWORD);
    let freezes = ServerProcess::on(database, &sandbox.base_url, &[]);
    let (done, client) = (AtomicBool::new(false), freezes.client());
    std::thread::scope(|scope| {
        // One at a time: of several, each would keep the account locked for as long in turn.
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                log_in(client);
            }
        });
        wait_until("it freezes within a transaction", || {
            std::thread::park_timeout(Duration::from_millis(5));
            freezes.signal("STOP");
            let locking = "SELECT COUNT(*) FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE state = 'idle in transaction' \
                 AND relation = 'login_failures'::regclass AND mode = 'RowExclusiveLock'";
            let frozen = cluster.sql(&url, locking).trim() != "0";
            if !frozen {
                freezes.signal("CONT");
            }
            frozen
        });
        let statuses: Vec<u16> = (0..3).map(|_| log_in(replica.client())).collect();
        done.store(true, Ordering::SeqCst);
        freezes.signal("CONT");
        assert_eq!(statuses, [200; 3]);
    });
    wait_until("it gets on too", || log_in(client) == 200);
}
