//! PostgreSQL behind `PgBouncer`, and connections that became read-only.

use std::sync::Arc;

use proconf_app_server::sandbox::Script;
use serde_json::json;

use crate::support::client::Client;
use crate::support::database::{Cluster, TestDatabase};
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgresql_proxy::{Mode, PostgresqlProxy};
use crate::support::process::{ServerProcess, run_command};
use crate::support::replicas::metric;
use crate::support::{EMAIL, PASSWORD, SandboxServer, TestClock, TestServer, wait_until};

const POOLER: (&str, &str) = ("APP_DATABASE__POOLER", "transaction");

/// A database of the role `proconf`.
fn database(cluster: &Cluster) -> String {
    let url = cluster.new_database();
    cluster.sql(&url, "CREATE ROLE proconf LOGIN");
    cluster.sql(&url, &format!("ALTER DATABASE {} OWNER TO proconf", url.rsplit('/').next().unwrap()));
    url.replace("tests@", "proconf@")
}

/// Starts the shipped pooler, and a server behind it with an account.
fn server_behind_pooler(cluster: &Cluster, url: &str) -> (PgBouncer, TestServer) {
    let direct = TestServer::on(Arc::new(TestDatabase::at(url.to_owned())), TestClock::default(), &[]);
    direct.add_user(EMAIL, PASSWORD);
    drop(direct);
    let pooler = PgBouncer::start(cluster, url, |shipped| shipped);
    let server = TestServer::on(Arc::new(TestDatabase::at(pooler.url())), TestClock::default(), &[POOLER]);
    (pooler, server)
}

#[test]
fn transaction_pooler_serves_concurrent_sessions() {
    let cluster = Cluster::start();
    let url = database(&cluster);
    let (_pooler, server) = server_behind_pooler(&cluster, &url);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut statuses = Vec::new();
                    for _ in 0..25 {
                        let login = server.log_in();
                        statuses.push(login.status);
                        let token = login.data()["refreshToken"].clone();
                        let refresh = server.client().post("/auth/refresh", &json!({"refreshToken": token}).to_string());
                        statuses.push(refresh.status);
                        let token = refresh.data()["refreshToken"].clone();
                        let logout = server.client().post("/auth/logout", &json!({"refreshToken": token}).to_string());
                        statuses.push(logout.status);
                    }
                    statuses
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 600]);
    // The server has more connections, so that they did share.
    let count = "SELECT COUNT(*) FROM pg_stat_activity WHERE usename = 'proconf'";
    let sessions: usize = cluster.sql(&url, count).parse().unwrap();
    assert!((1..=3).contains(&sessions), "{sessions} sessions");
}

#[test]
fn undeclared_transaction_pooler_is_rejected_by_name() {
    let (cluster, sandbox) = (Cluster::start(), SandboxServer::start(Script::echo()));
    let url = database(&cluster);
    let pooler = PgBouncer::start(&cluster, &url, |shipped| shipped);
    let run = |command: &str, url: &str, settings: &[(&str, &str)]| {
        let (code, stdout, stderr) = run_command(command, url, &sandbox.base_url, settings);
        (code, format!("{stdout}{stderr}"))
    };
    let expect = |outcome: (i32, String), code: i32, text: &str| {
        assert!(outcome.0 == code && outcome.1.contains(text), "{code}, {text}: {outcome:?}");
    };
    let advice = "behind a connection pooler in transaction mode: set APP_DATABASE__POOLER=transaction";
    expect(run("check-config", &pooler.url(), &[]), 78, advice);
    expect(run("serve", &pooler.url(), &[]), 1, advice);
    let direct = "run `migrate` with APP_DATABASE__POOLER=none and the address of PostgreSQL itself";
    for (command, code) in [("check-config", 78), ("migrate", 1), ("serve", 1)] {
        expect(run(command, &pooler.url(), &[POOLER]), code, direct);
    }
    expect(run("migrate", &url, &[]), 0, "up to date");
    expect(run("check-config", &pooler.url(), &[POOLER]), 0, "# database: ok, reachable");
    expect(run("migrate", &pooler.url(), &[POOLER]), 0, "up to date");
    let session = PgBouncer::start(&cluster, &url, |ini| ini.replace("pool_mode = transaction", "pool_mode = session"));
    expect(run("check-config", &session.url(), &[]), 0, "# database: ok, reachable");
    drop(session);
    let strict = PgBouncer::start(&cluster, &url, |ini| ini.replace("ignore_startup_parameters", ";"));
    let parameter = "unsupported startup parameter: extra_float_digits: set ignore_startup_parameters";
    expect(run("check-config", &strict.url(), &[POOLER]), 78, parameter);
}

#[track_caller]
fn assert_read_only_connections_are_replaced(cluster: &Cluster, url: &str, server: &TestServer) {
    assert_eq!(server.log_in().status, 200);
    // As after a failover to a standby: all connections are new, and read-only.
    cluster.sql(url, "ALTER ROLE proconf SET default_transaction_read_only = on");
    cluster.sql(url, "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'proconf'");
    std::thread::scope(|scope| {
        // Several at once, so that there are several such connections.
        for _ in 0..4 {
            scope.spawn(|| assert_ne!(server.log_in().status, 200));
        }
    });
    wait_until("the outage is noticed", || server.degraded().as_deref() == Some("database"));
    assert_eq!(server.client().get("/health/ready", None).status, 200);
    assert_eq!(metric(server.management_client(), "proconf_database_up "), 0);
    cluster.sql(url, "ALTER ROLE proconf RESET default_transaction_read_only");
    let statuses: Vec<u16> = (0..8).map(|_| server.log_in().status).collect();
    assert_eq!(statuses, [200; 8], "no connection from before is used");
    wait_until("the end of the outage is noticed", || server.degraded().is_none());
}

#[test]
fn read_only_connections_are_replaced_once_writable() {
    let cluster = Cluster::start();
    let url = database(&cluster);
    let server = TestServer::on(Arc::new(TestDatabase::at(url.clone())), TestClock::default(), &[]);
    server.add_user(EMAIL, PASSWORD);
    assert_read_only_connections_are_replaced(&cluster, &url, &server);
}

#[test]
fn read_only_sessions_of_the_pooler_are_replaced() {
    let cluster = Cluster::start();
    let url = database(&cluster);
    let (_pooler, server) = server_behind_pooler(&cluster, &url);
    assert_read_only_connections_are_replaced(&cluster, &url, &server);
}

#[test]
fn outage_behind_the_pooler_is_logged_once() {
    let (cluster, sandbox) = (Cluster::start(), SandboxServer::start(Script::echo()));
    let url = database(&cluster);
    let (pooler, migrated) = server_behind_pooler(&cluster, &url);
    drop(migrated);
    let server = ServerProcess::on(Arc::new(TestDatabase::at(pooler.url())), &sandbox.base_url, &[POOLER]);
    let management = Client::new(server.management);
    wait_until("the server is ready", || management.get("/health/ready", None).status == 200);
    cluster.pg_ctl(&["stop", "-m", "fast"]);
    let failures = || metric(management, "proconf_dependency_operation_errors_total{dependency=\"database\"}");
    wait_until("several operations fail", || failures() >= 5);
    let warnings = server.lines(0, |line| line["message"].as_str().unwrap().contains("after_release"));
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn postgresql_behind_the_pooler_is_waited_for() {
    let (cluster, sandbox) = (Cluster::start(), SandboxServer::start(Script::echo()));
    let url = database(&cluster);
    let (pooler, migrated) = server_behind_pooler(&cluster, &url);
    drop(migrated);
    cluster.pg_ctl(&["stop", "-m", "fast"]);
    let server = ServerProcess::on(Arc::new(TestDatabase::at(pooler.url())), &sandbox.base_url, &[POOLER]);
    server.line(0, |line| line["message"] == "not ready: waiting for the database");
    let hidden = server.lines(0, |line| line["message"].as_str().unwrap().contains("not migrated"));
    assert!(hidden.is_empty(), "attempts without a backoff: {hidden:#?}");
    cluster.pg_ctl(&["start"]);
    let management = Client::new(server.management);
    wait_until("the server is ready", || management.get("/health/ready", None).status == 200);
}

/// Starts a server with an account and one connection, through a proxy.
fn server_with_one_connection() -> (Cluster, PostgresqlProxy, TestServer) {
    let cluster = Cluster::start();
    let url = database(&cluster);
    let proxy = PostgresqlProxy::to(cluster.port);
    let database = Arc::new(TestDatabase::at(proxy.url(&url)));
    let server = TestServer::on(database, TestClock::default(), &[("APP_DATABASE__MAX_CONNECTIONS", "1")]);
    server.add_user(EMAIL, PASSWORD);
    assert_eq!(server.log_in().status, 200);
    (cluster, proxy, server)
}

#[test]
fn connection_in_a_stray_transaction_is_not_reused() {
    let (cluster, proxy, server) = server_with_one_connection();
    let sessions = || cluster.sql(&server.database.url, "SELECT COUNT(*) FROM sessions");
    assert_eq!(sessions(), "1");
    proxy.set_mode(Mode::BeginForCommit);
    assert_eq!(server.log_in().status, 200);
    proxy.set_mode(Mode::PassThrough);
    assert_eq!(sessions(), "1", "the transaction is open");
    assert_eq!(server.log_in().status, 200);
    assert_eq!(sessions(), "2", "the next one is not part of it");
}

#[test]
fn silent_connection_frees_its_slot_in_seconds() {
    let (_cluster, proxy, server) = server_with_one_connection();
    proxy.set_mode(Mode::BlackHole);
    assert_eq!(server.log_in().status, 500);
    proxy.set_mode(Mode::PassThrough);
    wait_until("a login succeeds", || server.log_in().status == 200);
}
