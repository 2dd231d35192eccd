//! `check-config` of the built binary.

use std::process::{Command, Stdio};

use super::{SECRET, secrets};

/// Runs `check-config` with these settings; returns the exit code, and what it prints.
pub fn check_config(settings: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let defaults = [
        ("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"),
        ("APP_AUTH__JWT_SECRET", SECRET),
        ("APP_SERVER__LISTEN", "127.0.0.1:0"),
        ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0"),
    ];
    secrets::register_settings(settings.iter().copied());
    let output = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"))
        .arg("check-config")
        .current_dir(folder.path())
        .env_clear()
        .envs(defaults.into_iter().chain(settings.iter().copied()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// The line of one external system.
#[track_caller]
pub fn check_line(system: &str, settings: &[(&str, &str)]) -> String {
    let (_, text) = check_config(settings);
    let line = text.lines().find(|line| line.starts_with(&format!("# {system}: ")));
    line.unwrap_or_else(|| panic!("no line of {system} in {text}")).to_owned()
}
