//! The conformance suite: on the embedded server, on wrong servers, on an Express server, and as a command.

mod command;
mod express;
mod faulty;

use std::sync::Arc;

use crate::support::{EMAIL, PASSWORD, SandboxServer, TestServer, tokens};
use proconf_app_server::conformance::{Case, Report, Target, TargetConfig, Waivers, all_cases, run_cases};
use proconf_app_server::sandbox::{Reply, Script, WEBHOOK_SECRET};
use serde_json::json;

/// An origin that the server under test allows.
const ORIGIN: &str = "https://app.example.com";
/// A room that Admin Control does not know.
const UNKNOWN_ROOM: &str = "conformance unknown room";

/// Starts a server with everything that a case needs.
fn start_server() -> TestServer {
    start_server_with(&[])
}

fn start_server_with(settings: &[(&str, &str)]) -> TestServer {
    // The proxies of these tests notice late that a client has closed its stream.
    let usual = [("APP_SERVER__CORS_ORIGINS", ORIGIN), ("APP_LIVE__MAX_PER_CALLER", "100")];
    let server = TestServer::with_account(&[&usual[..], settings].concat());
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
    run_cases(&Target::connect(config).unwrap(), &cases, jobs, &Waivers::default())
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
fn case_without_its_credentials_or_room_is_not_tried() {
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

/// Returns the names of the cases that could not be tried.
fn untried_cases(report: &Report) -> Vec<&'static str> {
    let untried = report.results.iter().filter(|result| result.state.name() == "not tried");
    untried.map(|result| result.case.name).collect()
}

#[test]
fn deployment_without_password_login_conforms() {
    let server = start_server_with(&[("APP_AUTH__PASSWORD_LOGIN", "false")]);
    let with_login = config(&server, base_url(&server));
    let with_token = TargetConfig { login: None, token: Some(tokens::user()), ..with_login.clone() };
    let error = Target::connect(with_login).err();
    assert_eq!(error.as_deref(), Some("the deployment has no password login"));
    let report = run_all(with_token, 4);
    assert_eq!(report.failed_cases(), [""; 0], "{}", report.to_text());
    let untried = untried_cases(&report);
    assert_eq!(untried.iter().filter(|name| name.starts_with("login::")).count(), 6, "{untried:?}");
    for name in ["errors::body_over_the_limit_is_413", "errors::chunked_body_over_the_limit_is_413"] {
        assert!(untried.contains(&name), "{untried:?}");
    }
}

#[test]
fn deployment_whose_webhook_forbids_other_rooms_conforms() {
    let webhook = Script::echo();
    webhook.set("room-access", "", Reply::body(200, r#"{"allow":false}"#));
    webhook.set("room-access", "r1", Reply::body(200, r#"{"allow":true}"#));
    let sandbox = SandboxServer::start(webhook);
    let url = format!("http://{}/room-access", sandbox.address);
    let server = start_server_with(&[
        ("APP_ROOMS__ACCESS", "webhook"),
        ("APP_ROOMS__WEBHOOK_URL", &url),
        ("APP_ROOMS__WEBHOOK_SECRET", WEBHOOK_SECRET),
    ]);
    let report = run_all(config(&server, base_url(&server)), 4);
    assert_eq!(report.failed_cases(), [""; 0], "{}", report.to_text());
    let expected = [
        "refresh::reused_refresh_token_revokes_the_session",
        "call_catch_up::unknown_room_is_404",
        "call_catch_up::reason_for_a_missing_catch_up",
        "call_catch_up::failure_of_admin_control_is_500",
        "call_catch_up::data_is_passed_on_unchanged",
        "call_catch_up::unusual_room_name_is_one_segment",
        "caching::current_version_is_304_on_the_other_routes",
        "live::room_without_a_catch_up_is_none",
        "live::failure_of_admin_control_is_failed",
        "stream_ticket::ticket_of_another_room_is_403",
        "stream_ticket::ticket_is_no_bearer_token",
        "meetings::sample_response",
        "errors::unknown_room_has_its_reason",
    ];
    assert_eq!(untried_cases(&report), expected, "{}", report.to_text());
}
