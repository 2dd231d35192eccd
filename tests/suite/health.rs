//! `/health/live` and `/health/ready`, on both listeners.

use std::time::{Duration, Instant};

use crate::support::TestServer;
use crate::support::client::{Client, request};
use sqlx::Connection as _;

/// Asks until the answer has this status: readiness is looked at once a second.
fn becomes(client: Client, target: &str, status: u16) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while client.get(target, None).status != status {
        assert!(Instant::now() < deadline, "{target} never becomes {status}");
    }
}

#[test]
fn both_are_on_both_listeners_and_say_more_only_to_operators() {
    let server = TestServer::start();
    for client in [server.client(), server.operator()] {
        client.get("/health/live", None).assert_success(r#"{"status":"live"}"#);
    }
    server.client().get("/health/ready", None).assert_success(r#"{"status":"ready"}"#);
    let detail = server.operator().get("/health/ready", None).data();
    assert_eq!((&detail["status"], &detail["database"]), (&"ready".into(), &"answers".into()));
    assert_eq!(detail["adminControl"]["call-catchup"], "reachable");
    assert_eq!(detail["adminControl"].as_object().unwrap().len(), 6);
    assert_eq!(server.calls(), 0);
}

#[test]
fn head_is_answered_there_without_a_body_and_any_other_method_is_404() {
    let server = TestServer::start();
    for client in [server.client(), server.operator()] {
        for target in ["/health/live", "/health/ready"] {
            let mut connection = client.connect();
            connection.send(format!("HEAD {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes());
            let raw = connection.read_to_end();
            assert!(raw.starts_with("HTTP/1.1 200 ") && raw.ends_with("\r\n\r\n"), "{raw}");
            assert!(raw.to_lowercase().contains("content-type: application/json"), "{raw}");
            for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
                client.ask(&request(method, target.as_bytes(), None)).assert_error(404, "Not found", method);
            }
        }
    }
}

#[test]
fn metrics_are_on_the_management_listener_only_and_nothing_else_is_there() {
    let server = TestServer::start();
    assert_eq!(server.operator().get("/metrics", None).status, 200);
    for target in ["/metrics", "/metrics/", "/debug", "/debug/pprof", "/actuator", "/health", "/healthz", "/status"] {
        server.client().get(target, None).assert_error(404, "Not found", target);
    }
    for target in ["/", "/callConfig", "/auth/login", "/debug", "/openapi.json"] {
        server.operator().get(target, None).assert_error(404, "Not found", target);
    }
}

#[test]
fn the_server_starts_and_is_ready_while_admin_control_and_the_summary_bucket_are_down() {
    let server = TestServer::with(&[
        ("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"),
        ("APP_SUMMARIES__URL", "s3://nowhere"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_ENDPOINT", "http://127.0.0.1:1"),
    ]);
    server.client().get("/health/live", None).data();
    server.client().get("/health/ready", None).data();
}

#[test]
fn an_endpoint_of_admin_control_that_can_t_be_reached_is_reported_and_no_reason_not_to_be_ready() {
    let server = TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api")]);
    for _ in 0..6 {
        server.client().get("/callConfig", Some(&crate::support::tokens::user()));
    }
    let detail = server.operator().get("/health/ready", None).data();
    assert_eq!(detail["adminControl"]["configuration"], "unreachable");
    assert_eq!(detail["adminControl"]["call-catchup"], "reachable");
    execute(&server, "ALTER TABLE users RENAME TO elsewhere");
    becomes(server.operator(), "/health/ready", 503);
    let answer = server.operator().get("/health/ready", None);
    assert_eq!(
        (answer.header("x-not-ready"), answer.header("x-admin-control-unreachable")),
        (Some("database"), Some("configuration")),
        "also while something else is the matter"
    );
}

/// Does something to the database behind the server's back.
fn execute(server: &TestServer, sql: &'static str) {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&server.database.url).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    });
}

#[test]
fn a_database_that_fails_is_no_longer_ready_but_still_alive_until_it_is_back() {
    let server = TestServer::start();
    for client in [server.client(), server.operator()] {
        client.get("/health/ready", None).data();
    }
    execute(&server, "ALTER TABLE users RENAME TO elsewhere");
    for client in [server.client(), server.operator()] {
        becomes(client, "/health/ready", 503);
        let answer = client.get("/health/ready", None);
        answer.assert_error(503, "Service unavailable", "not ready");
        assert_eq!(answer.header("retry-after"), Some("1"));
        client.get("/health/live", None).data();
    }
    let why = |client: Client| client.get("/health/ready", None).header("x-not-ready").map(str::to_owned);
    assert_eq!((why(server.client()), why(server.operator())), (None, Some("database".to_owned())));
    let metrics = server.operator().get("/metrics", None);
    assert!(metrics.text().lines().any(|line| line == "proconf_ready 0"), "{}", metrics.text());
    execute(&server, "ALTER TABLE elsewhere RENAME TO users");
    becomes(server.client(), "/health/ready", 200);
    becomes(server.operator(), "/health/ready", 200);
}
