//! Runs the suite against an Express server written after the vendor's Node sample.
//!
//! Needs Node, npm and the npm registry; skipped where one is missing.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::failing;
use crate::support::{SECRET, SandboxServer, tokens};
use crate::target::Target;
use proconf_app_server::sandbox::{Reply, Script};

/// The cases that the sample fails; `docs/CONFORMANCE.md` explains them.
const WRONG: [&str; 30] = [
    "call_catch_up::sample_response",
    "call_catch_up::no_token_is_401",
    "call_catch_up::an_invalid_token_is_401",
    "call_catch_up::an_unsigned_token_is_401",
    "call_catch_up::an_expired_token_is_401",
    "call_catch_up::no_room_is_400",
    "call_catch_up::two_rooms_are_400",
    "call_catch_up::an_unknown_room_is_404",
    "call_catch_up::a_failure_behind_is_500_and_says_nothing",
    "call_catch_up::a_hostile_room_name_is_400",
    "call_catch_up::an_odd_room_name_is_one_room",
    "errors::the_token_is_checked_before_the_input",
    "errors::every_answer_has_a_request_id",
    "errors::head_is_404_without_a_body",
    "errors::a_body_over_the_limit_is_413",
    "login::wrong_credentials_are_401",
    "login::malformed_input_is_400",
    "refresh::an_access_token_is_no_refresh_token",
    "join_member::a_guest_sees_no_other_room",
    "join_member::no_room_is_400",
    "join_member::a_name_that_means_every_room_is_400",
    "proconf_token::sample_response",
    "proconf_token::a_guest_is_no_owner",
    "proconf_token::malformed_input_is_400",
    "call_config::sample_response",
    "call_status::sample_response",
    "call_status::room_in_the_path",
    "call_summary::sample_response",
    "meetings::sample_response",
    "meetings::a_guest_is_403",
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
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/express");
    for file in ["package.json", "server.js"] {
        std::fs::copy(sample.join(file), folder.join(file)).unwrap();
    }
    let install = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--silent", "--fetch-retries=1"];
    let installed =
        Command::new("npm").args(install).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        println!("not tried: Node, npm or its registry is missing");
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
    script.set("call-catchup", "unknown room", Reply::not_found());
    script.set("call-catchup", "failing room", Reply::body(500, "connect ECONNREFUSED, at the inside"));
    let sandbox = SandboxServer::start(script);
    let folder = tempfile::tempdir().unwrap();
    let Some((_express, base_url)) = start(folder.path(), &sandbox.base_url) else {
        return;
    };
    let target = Target { base_url, login: None, token: Some(tokens::user()), ..Target::embedded() };
    let failing = failing(&target);
    println!("{} cases fail", failing.len());
    assert_eq!(failing, WRONG);
}
