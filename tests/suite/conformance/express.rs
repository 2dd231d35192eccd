//! Runs the suite against an Express server written after the vendor's Node sample.
//!
//! Needs Node, npm and the npm registry; skipped where one is missing.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{UNKNOWN_ROOM, config, run_all, start_server};
use crate::support::{SECRET, SandboxServer, skip, tokens};
use proconf_app_server::conformance::{TargetConfig, all_cases};
use proconf_app_server::sandbox::{Reply, Script};

/// The cases that the sample fails; `docs/CONFORMANCE.md` explains them.
const WRONG: [&str; 76] = [
    "login::wrong_credentials_are_401",
    "login::malformed_input_is_400",
    "login::body_that_is_no_json_object_is_400",
    "login::wrong_content_type_is_400",
    "refresh::logout_with_unknown_token_is_null",
    "refresh::unknown_refresh_token_is_401",
    "refresh::access_token_is_no_refresh_token",
    "refresh::missing_refresh_token_is_400",
    "tokens::other_scheme_is_401",
    "tokens::scheme_is_case_insensitive",
    "tokens::missing_token_is_challenged",
    "tokens::invalid_token_is_challenged",
    "join_member::guest_sees_no_other_room",
    "join_member::guest_token_has_its_claims",
    "join_member::missing_room_is_400",
    "join_member::wildcard_room_is_400",
    "join_member::long_room_name_is_400",
    "call_catch_up::sample_response",
    "call_catch_up::missing_room_is_400",
    "call_catch_up::conflicting_rooms_are_400",
    "call_catch_up::hostile_room_name_is_400",
    "call_catch_up::unknown_room_is_404",
    "call_catch_up::reason_for_a_missing_catch_up",
    "call_catch_up::failure_of_admin_control_is_500",
    "call_catch_up::data_is_passed_on_unchanged",
    "call_catch_up::unusual_room_name_is_one_segment",
    "caching::catch_up_has_an_entity_tag",
    "caching::tag_changed_by_a_proxy_is_304",
    "caching::other_room_is_403_before_304",
    "live::first_event_is_the_catch_up",
    "live::stream_has_its_headers",
    "live::event_id_is_the_entity_tag",
    "live::known_version_is_not_repeated",
    "live::room_without_a_catch_up_is_none",
    "live::failure_of_admin_control_is_failed",
    "live::missing_token_is_401",
    "live::other_room_is_403",
    "live::hostile_room_name_is_400",
    "stream_ticket::ticket_opens_one_stream",
    "stream_ticket::ticket_of_another_room_is_403",
    "stream_ticket::ticket_is_no_bearer_token",
    "stream_ticket::token_is_no_ticket",
    "stream_ticket::missing_token_is_401",
    "stream_ticket::missing_room_is_400",
    "stream_ticket::guest_gets_no_ticket_of_another_room",
    "call_status::sample_response",
    "call_status::room_in_the_path",
    "call_status::missing_room_is_400",
    "call_status::conflicting_rooms_are_400",
    "call_summary::sample_response",
    "call_summary::missing_room_is_400",
    "call_summary::conflicting_rooms_are_400",
    "call_config::sample_response",
    "meetings::sample_response",
    "meetings::guest_is_403",
    "proconf_token::sample_response",
    "proconf_token::guest_enters_its_room_as_member",
    "proconf_token::guest_is_no_owner",
    "proconf_token::guest_enters_no_other_room",
    "proconf_token::unknown_role_is_403",
    "proconf_token::malformed_input_is_400",
    "proconf_token::hostile_room_name_is_400",
    "errors::unknown_url_has_its_reason",
    "errors::wrong_method_has_its_reason",
    "errors::unknown_room_has_its_reason",
    "errors::input_is_checked_before_the_permission",
    "errors::body_over_the_limit_is_413",
    "errors::chunked_body_over_the_limit_is_413",
    "request_id::every_response_has_one",
    "request_id::each_request_has_another",
    "request_id::valid_id_of_the_client_is_kept",
    "request_id::invalid_id_of_the_client_is_replaced",
    "head::head_of_an_api_route_is_404",
    "cors::preflight_allows_methods_and_headers",
    "cors::response_exposes_its_headers",
    "cors::error_is_readable",
];

/// Killed when dropped.
struct Express(Child);

impl Drop for Express {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Copies the sample into `folder`, installs Express and starts it; `None` if that is not possible.
fn start(folder: &Path, admin_control: &str) -> Option<(Express, String)> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/conformance/express");
    for file in ["package.json", "server.js"] {
        std::fs::copy(sample.join(file), folder.join(file)).unwrap();
    }
    let install = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--silent", "--fetch-retries=1"];
    let installed =
        Command::new("npm").args(install).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        skip("the Node sample", "Node, npm or its registry is missing");
        return None;
    }
    let mut server = Command::new("node")
        .arg("server.js")
        .current_dir(folder)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .envs([("PORT", "0"), ("SECRET", SECRET), ("ADMIN_BACKEND_URL", admin_control)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().rsplit(' ').next().unwrap().to_owned();
    Some((Express(server), format!("http://127.0.0.1:{port}")))
}

#[test]
fn documented_node_sample_fails_the_listed_cases() {
    let script = Script::echo();
    script.set("call-catchup", UNKNOWN_ROOM, Reply::not_found());
    let sandbox = SandboxServer::start(script);
    let folder = tempfile::tempdir().unwrap();
    let Some((_express, url)) = start(folder.path(), &sandbox.base_url) else {
        return;
    };
    let server = start_server();
    let control = format!("http://{}/sandbox", sandbox.address);
    let token = Some(tokens::user());
    let report = run_all(TargetConfig { login: None, token, sandbox: Some(control), ..config(&server, url) }, 4);
    assert_eq!(report.failed_cases(), WRONG, "{}", report.to_text());
    // The page repeats the numbers.
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFORMANCE.md")).unwrap();
    let row = format!("| failed cases, of {} | {} | 0 |", all_cases().count(), WRONG.len());
    assert!(page.contains(&row), "docs/CONFORMANCE.md lacks: {row}");
}
