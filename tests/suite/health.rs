//! `/health/live` and `/health/ready`, on both listeners.

use crate::support::client::{Client, request};
use crate::support::{TestServer, wait_until};

/// Waits for this status; readiness is checked once a second.
fn wait_for_readiness(client: Client, status: u16) {
    wait_until(&format!("readiness is {status}"), || client.get("/health/ready", None).status == status);
}

#[test]
fn health_details_are_on_the_management_listener_only() {
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
fn head_is_supported_and_other_methods_are_404() {
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
fn metrics_are_on_the_management_listener_only() {
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
        server.client().get("/callConfig", Some(&crate::support::tokens::user()));
    }
    let detail = server.operator().get("/health/ready", None).data();
    assert_eq!(detail["adminControl"]["configuration"], "unreachable");
    assert_eq!(detail["adminControl"]["call-catchup"], "reachable");
    server.execute_sql("ALTER TABLE users RENAME TO elsewhere");
    wait_for_readiness(server.operator(), 503);
    let answer = server.operator().get("/health/ready", None);
    assert_eq!(
        (answer.header("x-not-ready"), answer.header("x-admin-control-unreachable")),
        (Some("database"), Some("configuration")),
        "also while something else is the matter"
    );
}

#[test]
fn failing_database_makes_the_server_not_ready_but_live() {
    let server = TestServer::start();
    for client in [server.client(), server.operator()] {
        client.get("/health/ready", None).data();
    }
    server.execute_sql("ALTER TABLE users RENAME TO elsewhere");
    for client in [server.client(), server.operator()] {
        wait_for_readiness(client, 503);
        let answer = client.get("/health/ready", None);
        answer.assert_error(503, "Service unavailable", "not ready");
        assert_eq!(answer.header("retry-after"), Some("1"));
        client.get("/health/live", None).data();
    }
    let why = |client: Client| client.get("/health/ready", None).header("x-not-ready").map(str::to_owned);
    assert_eq!((why(server.client()), why(server.operator())), (None, Some("database".to_owned())));
    let metrics = server.operator().get("/metrics", None);
    assert!(metrics.text().lines().any(|line| line == "proconf_ready 0"), "{}", metrics.text());
    server.execute_sql("ALTER TABLE elsewhere RENAME TO users");
    wait_for_readiness(server.client(), 200);
    wait_for_readiness(server.operator(), 200);
}
