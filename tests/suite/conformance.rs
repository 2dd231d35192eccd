//! The conformance suite: on the embedded server, on wrong servers, on an Express server, and as a command.

mod command;
mod express;
mod faulty;

use std::sync::Arc;

use crate::support::{EMAIL, PASSWORD, TestServer, tokens};
use proconf_app_server::conformance::{Case, Report, Target, TargetConfig, all_cases, run_cases};
use proconf_app_server::sandbox::Reply;
use serde_json::json;

/// An origin that the server under test allows.
const ORIGIN: &str = "https://app.example.com";
/// A room that Admin Control does not know.
const UNKNOWN_ROOM: &str = "conformance unknown room";

/// Starts a server with everything that a case needs.
fn start_server() -> TestServer {
    // The proxies of these tests notice late that a client has closed its stream.
    let settings = [("APP_SERVER__CORS_ORIGINS", ORIGIN), ("APP_LIVE__MAX_PER_CALLER", "100")];
    let server = TestServer::with_account(&settings);
    server.put_summary("r1_1718871014/summary.txt", "What was decided.");
    server.script.set("call-catchup", UNKNOWN_ROOM, Reply::not_found());
    server
}

/// Returns what the suite may use of that server, at the URL of a proxy in front of it.
fn config(server: &TestServer, url: String) -> TargetConfig {
    TargetConfig {
        url,
        login: Some((EMAIL.to_owned(), PASSWORD.to_owned())),
        token: None,
        expired_token: Some(expired_token()),
        room: Some("r1".to_owned()),
        summary_room: Some("r1".to_owned()),
        sandbox: Some(server.sandbox_control()),
        origin: Some(ORIGIN.to_owned()),
        reuse_after: None,
        wait: Arc::new(|_| {}),
    }
}

fn base_url(server: &TestServer) -> String {
    format!("http://{}", server.address)
}

/// Returns a token that expired a minute ago.
fn expired_token() -> String {
    let mut claims = tokens::user_claims();
    claims["iat"] = json!(tokens::now() - 660);
    claims["exp"] = json!(tokens::now() - 60);
    tokens::signed(tokens::HEADER, &claims.to_string())
}

/// Runs all cases.
fn run_all(config: TargetConfig, jobs: usize) -> Report {
    let cases: Vec<&'static Case> = all_cases().collect();
    run_cases(&Target::connect(config).unwrap(), &cases, jobs)
}

#[test]
fn embedded_server_conforms() {
    let server = start_server();
    let clock = server.clock.clone();
    let config = TargetConfig {
        reuse_after: Some(std::time::Duration::from_secs(61)),
        wait: Arc::new(move |time| clock.advance(time)),
        ..config(&server, base_url(&server))
    };
    // One at a time, because one case advances the clock.
    let report = run_all(config, 1);
    assert_eq!(report.failed_cases(), [""; 0], "{}", report.to_text());
    assert_eq!(report.count("held"), all_cases().count(), "every case is tried\n{}", report.to_text());
    assert!(report.requests < 500, "{} requests", report.requests);
}

#[test]
fn run_ends_its_sessions_and_causes_one_failed_login() {
    let server = start_server();
    run_all(config(&server, base_url(&server)), 4);
    assert_eq!(server.rows("sessions WHERE revoked_at IS NULL"), 0);
    // By address, by account and address, and by account.
    assert_eq!(server.rows("login_failures WHERE failed_at > 0"), 3);
    let sent = server.script.requests().iter().filter(|request| request.method == "POST").count();
    assert_eq!(sent, 2, "calls that create something in Admin Control");
}

#[test]
fn deployment_without_credentials_or_room_is_not_tried_where_they_are_needed() {
    let server = TestServer::start();
    let report = run_all(
        TargetConfig {
            login: None,
            expired_token: None,
            room: None,
            summary_room: None,
            sandbox: None,
            origin: None,
            ..config(&server, base_url(&server))
        },
        4,
    );
    assert_eq!(report.failed_cases(), [""; 0], "{}", report.to_text());
    assert!(report.count("not tried") > 40 && report.count("held") > 20, "{}", report.to_text());
}

#[test]
fn deployment_without_guests_is_not_tried_as_a_guest() {
    let server = TestServer::with_account(&[("APP_GUESTS__ENABLED", "false")]);
    let report = run_all(TargetConfig { sandbox: None, ..config(&server, base_url(&server)) }, 4);
    let failed = report.failed_cases();
    assert!(failed.iter().all(|name| !name.contains("guest")), "{failed:?}");
}
