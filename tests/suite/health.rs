//! `/health/live` and `/health/ready`, on both listeners.

use serde_json::Value;

use crate::support::client::{Client, request};
use crate::support::process::ServerProcess;
use crate::support::{TestServer, tokens, wait_until};

#[test]
fn health_details_are_on_the_management_listener_only() {
    let server = TestServer::start();
    for client in [server.client(), server.management_client()] {
        client.get("/health/live", None).assert_success(r#"{"status":"live"}"#);
    }
    server.client().get("/health/ready", None).assert_success(r#"{"status":"ready"}"#);
    let detail = server.management_client().get("/health/ready", None).data();
    assert_eq!((&detail["status"], &detail["database"]), (&"ready".into(), &"passing".into()));
    assert_eq!(detail["adminControl"]["call-catchup"], "reachable");
    assert_eq!(detail["adminControl"].as_object().unwrap().len(), 6);
    assert_eq!(server.calls(), 0);
}

#[test]
fn head_is_supported_and_other_methods_are_404() {
    let server = TestServer::start();
    for client in [server.client(), server.management_client()] {
        for target in ["/health/live", "/health/ready"] {
            let mut connection = client.connect();
            connection.send(format!("HEAD {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes());
            let raw = connection.read_to_end();
            assert!(raw.starts_with("HTTP/1.1 200 ") && raw.ends_with("\r\n\r\n"), "{raw}");
            assert!(raw.to_lowercase().contains("content-type: application/json"), "{raw}");
            for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
                client.request(&request(method, target.as_bytes(), None)).assert_error(404, "Not found", method);
            }
        }
    }
}

#[test]
fn metrics_are_on_the_management_listener_only() {
    let server = TestServer::start();
    assert_eq!(server.management_client().get("/metrics", None).status, 200);
    for target in ["/metrics", "/metrics/", "/debug", "/debug/pprof", "/actuator", "/health", "/healthz", "/status"] {
        server.client().get(target, None).assert_error(404, "Not found", target);
    }
    for target in ["/", "/callConfig", "/auth/login", "/debug", "/openapi.json"] {
        server.management_client().get(target, None).assert_error(404, "Not found", target);
    }
}

#[test]
fn server_is_ready_without_admin_control_or_summary_store() {
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
fn unreachable_endpoint_is_reported_and_server_stays_ready() {
    let server = TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api")]);
    for _ in 0..6 {
        server.client().get("/callConfig", Some(&tokens::user()));
    }
    let detail = server.management_client().get("/health/ready", None).data();
    assert_eq!(detail["adminControl"]["configuration"], "unreachable");
    assert_eq!(detail["adminControl"]["call-catchup"], "reachable");
    assert_eq!((&detail["status"], &detail["degraded"]), (&"ready".into(), &Value::Null));
}

#[test]
fn draining_server_is_not_ready_and_names_unreachable_endpoints() {
    let server = ServerProcess::start("http://127.0.0.1:1/api", &[("APP_SERVER__DRAIN_FOR", "20s")]);
    for _ in 0..6 {
        server.client().get("/callConfig", Some(&tokens::user()));
    }
    server.signal("TERM");
    let management = Client::new(server.management);
    wait_until("the server drains", || management.get("/health/ready", None).status == 503);
    let response = management.get("/health/ready", None);
    assert_eq!(
        (response.header("x-not-ready"), response.header("x-admin-control-unreachable")),
        (Some("draining"), Some("configuration"))
    );
    assert_metrics(management, &["proconf_ready 0", "proconf_draining 1", "proconf_database_up 1"]);
}

/// Asserts that these lines are among the metrics.
#[track_caller]
fn assert_metrics(management: Client, expected: &[&str]) {
    let metrics = management.get("/metrics", None);
    for line in expected {
        assert!(metrics.text().lines().any(|metric| metric == *line), "{line}: {}", metrics.text());
    }
}

#[test]
fn database_outage_degrades_a_server_that_stays_ready() {
    let server = TestServer::start();
    let detail = || server.management_client().get("/health/ready", None).data();
    assert_eq!((server.degraded(), &detail()["database"]), (None, &"passing".into()));
    assert_metrics(server.management_client(), &["proconf_ready 1", "proconf_database_up 1"]);
    server.execute_sql("ALTER TABLE users RENAME TO elsewhere");
    // Checked twice a second.
    wait_until("the outage is noticed", || server.degraded().as_deref() == Some("database"));
    assert_eq!((&detail()["status"], &detail()["database"]), (&"ready".into(), &"failing".into()));
    server.client().get("/health/ready", None).assert_success(r#"{"status":"ready"}"#);
    for client in [server.client(), server.management_client()] {
        client.get("/health/live", None).data();
    }
    assert_metrics(server.management_client(), &["proconf_ready 1", "proconf_database_up 0"]);
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
    server.execute_sql("ALTER TABLE elsewhere RENAME TO users");
    wait_until("the end of the outage is noticed", || server.degraded().is_none());
    assert_metrics(server.management_client(), &["proconf_ready 1", "proconf_database_up 1"]);
}
