//! A PostgreSQL that is not there yet when the server starts, and the state that the service manager gets.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Script;
use serde_json::Value;

use crate::support::client::Client;
use crate::support::database::{Cluster, TestDatabase};
use crate::support::process::ServerProcess;
use crate::support::replicas::metric;
use crate::support::{EMAIL, PASSWORD, SandboxServer, TEST_TIMEOUT, tokens, wait_until};

const WAITING: &str = "not ready: waiting for the database";

fn start(url: &str, sandbox: &SandboxServer, settings: &[(&str, &str)]) -> ServerProcess {
    ServerProcess::on(Arc::new(TestDatabase::at(url.to_owned())), &sandbox.base_url, settings)
}

fn sandbox() -> SandboxServer {
    SandboxServer::start(Script::echo())
}

fn wait_until_ready(server: &ServerProcess) {
    wait_until("the server is ready", || server.client().get("/health/ready", None).status == 200);
}

fn migrate(url: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
    command.arg("migrate").current_dir(std::env::temp_dir()).env_clear().env("APP_DATABASE__URL", url);
    assert!(command.status().unwrap().success());
}

fn stop(cluster: &Cluster) {
    cluster.pg_ctl(&["stop", "-m", "fast"]);
}

/// Waits for a failed attempt whose cause contains `cause`.
fn wait_for_cause(server: &ServerProcess, cause: &str) -> Value {
    server.line(0, |line| line["message"] == WAITING && line["cause"].as_str().unwrap().contains(cause))
}

#[test]
fn server_waits_for_postgresql_and_migrates_it() {
    let (cluster, sandbox) = (Cluster::start(), sandbox());
    let url = cluster.new_database();
    stop(&cluster);
    let replicas = [(); 2].map(|()| start(&url, &sandbox, &[]));
    for server in &replicas {
        wait_for_cause(server, "Connection refused");
        let (client, management) = (server.client(), Client::new(server.management));
        for client in [client, management] {
            client.get("/health/live", None).assert_success(r#"{"status":"live"}"#);
            client.get("/health/ready", None).assert_error(503, "Service unavailable", "no contact");
        }
        assert_eq!(management.get("/health/ready", None).header("x-not-ready"), Some("database"));
        assert_eq!(metric(management, "proconf_ready "), 0);
        client.get("/callCatchUp/r1", Some(&tokens::guest("r1"))).assert_success(r#""r1""#);
        client.get("/auth/joinmember?roomName=r1", None).data();
        let started = Instant::now();
        client.log_in(EMAIL, PASSWORD).assert_error(500, "Internal server error", "login");
        let refresh = r#"{"refreshToken":"x"}"#;
        for route in ["/auth/refresh", "/auth/logout"] {
            client.post(route, refresh).assert_error(500, "Internal server error", route);
        }
        assert!(started.elapsed() < Duration::from_secs(2), "none waits for a connection: {:?}", started.elapsed());
    }
    cluster.pg_ctl(&["start"]);
    for server in &replicas {
        wait_until_ready(server);
        server.client().log_in(EMAIL, PASSWORD).assert_unauthorized("no account");
        server.line(0, |line| line["message"] == "the database responds; the server is ready");
        assert_eq!(server.lines(0, |line| line.to_string().contains("pool timed out")), [Value::Null; 0]);
    }
    let applied = cluster.sql(&url, "SELECT COUNT(*) = MAX(version) AND BOOL_AND(success) FROM _sqlx_migrations");
    assert_eq!(applied, "t");
}

#[test]
fn attempts_back_off_exponentially_with_jitter() {
    let server = start("postgres://ann@127.0.0.1:1/db", &sandbox(), &[]);
    let waits = || -> Vec<f64> {
        let lines = server.lines(0, |line| line["message"] == WAITING);
        lines.iter().map(|line| milliseconds(line["retry_in"].as_str().unwrap())).collect()
    };
    wait_until("five attempts", || waits().len() >= 5);
    for (wait, longest) in waits().into_iter().zip([250.0, 500.0, 1_000.0, 2_000.0, 4_000.0]) {
        assert!((longest / 2.0..longest).contains(&wait), "{wait} ms, not half to all of {longest} ms");
    }
}

/// Parses Rust's debug format of a duration.
fn milliseconds(text: &str) -> f64 {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().unwrap(),
        None => text.strip_suffix('s').unwrap().parse::<f64>().unwrap() * 1_000.0,
    }
}

#[test]
fn cause_of_a_failed_contact_is_logged() {
    let (cluster, sandbox) = (Cluster::start(), sandbox());
    let url = cluster.new_database();
    cluster.sql(&url, "CREATE ROLE app LOGIN PASSWORD 'canary-1'");
    cluster.require_password_of("app");
    let unresolved = start("postgres://app:canary-2@database.invalid/db", &sandbox, &[]);
    // Without a reachable resolver the lookup itself takes longer than the attempt.
    let is_cause = |cause: &str| cause.contains("lookup") || cause.contains("did not respond in time");
    unresolved.line(0, |line| line["message"] == WAITING && is_cause(line["cause"].as_str().unwrap()));
    for (url, cause) in [
        (url.replace("tests@", "app:canary-2@"), "password authentication failed"),
        (format!("{url}-missing"), "does not exist"),
        (url.replace("tests@", "app:canary-1@"), "permission denied"),
    ] {
        wait_for_cause(&start(&url, &sandbox, &[]), cause);
    }
    cluster.signal("STOP");
    wait_for_cause(&start(&url, &sandbox, &[]), "did not respond in time");
    cluster.signal("CONT");
}

#[test]
fn changed_migration_ends_a_server_that_waits() {
    let (cluster, sandbox) = (Cluster::start(), sandbox());
    let url = cluster.new_database();
    migrate(&url);
    cluster.sql(&url, "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1");
    stop(&cluster);
    let mut server = start(&url, &sandbox, &[]);
    wait_for_cause(&server, "Connection refused");
    cluster.pg_ctl(&["start"]);
    assert_eq!(server.exit().0, 1);
    server.line(0, |line| {
        let text = line.to_string();
        text.contains("APP_DATABASE__URL") && text.contains("migration 1 was previously applied but has been modified")
    });
}

#[test]
fn revoked_session_is_rejected_before_the_server_is_ready() {
    let (cluster, sandbox) = (Cluster::start(), sandbox());
    let url = cluster.new_database();
    migrate(&url);
    let now = "(extract(epoch FROM now()) * 1000)::bigint";
    cluster.sql(&url, "INSERT INTO users VALUES ('u1', 'e', 'n', 'h', 0)");
    cluster.sql(&url, &format!("INSERT INTO sessions VALUES ('s1', 'u1', 0, {now} + 3600000, {now})"));
    stop(&cluster);
    let server = start(&url, &sandbox, &[]);
    wait_for_cause(&server, "Connection refused");
    let fetch = || server.client().get("/callCatchUp/r1", Some(&tokens::user()));
    fetch().assert_error(500, "Internal server error", "revocations are not known");
    cluster.pg_ctl(&["start"]);
    wait_until_ready(&server);
    fetch().assert_unauthorized("revoked before the start");
}

#[test]
fn service_manager_is_notified_of_start_wait_and_stop() {
    let (cluster, sandbox, folder) = (Cluster::start(), sandbox(), tempfile::tempdir().unwrap());
    let (url, path) = (cluster.new_database(), folder.path().join("notify"));
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let receive = || {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap().trim_end().to_owned()
    };
    stop(&cluster);
    let mut server = start(&url, &sandbox, &[("NOTIFY_SOCKET", path.to_str().unwrap()), ("APP_SERVER__DRAIN_FOR", "0s")]);
    let waiting = receive();
    assert!(waiting.starts_with("STATUS=waiting for the database: ") && waiting.ends_with("(os error 111)"), "{waiting}");
    // Further attempts may come before and after.
    let next = |message: &str| while receive() != message {};
    next("READY=1");
    cluster.pg_ctl(&["start"]);
    next("STATUS=ready");
    server.signal("TERM");
    next("STATUS=draining");
    next("STOPPING=1");
    assert_eq!(server.exit().0, 0);
}

#[test]
fn shutdown_signal_ends_a_server_that_waits() {
    let mut server = start("postgres://ann@127.0.0.1:1/db", &sandbox(), &[("APP_SERVER__DRAIN_FOR", "0s")]);
    wait_for_cause(&server, "Connection refused");
    server.signal("TERM");
    let (code, took) = server.exit();
    assert!(code == 0 && took < Duration::from_secs(5), "{code} after {took:?}");
}
