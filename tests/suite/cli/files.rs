//! Files that the commands read and create: no wait for a FIFO, and private modes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Running, Workspace, command, run, workspace};
use crate::support::database::on_postgres;
use crate::support::{EMAIL, PASSWORD};
use crate::support::{SECRET, secrets};

const BINARY: &str = env!("CARGO_BIN_EXE_proconf-app-server");

/// A command of the binary that `program` and its first arguments become.
pub(super) fn by(
    program: &str,
    first: &[&str],
    workspace: &Workspace,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Command {
    let mut command = Command::new(program);
    command.args(first).arg(BINARY).args(arguments).current_dir(workspace.path()).env_clear().env("PATH", "/usr/bin:/bin");
    command.envs([
        ("APP_SERVER__LISTEN", "127.0.0.1:0"),
        ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0"),
        ("APP_ADMIN_CONTROL__BASE_URL", "https://127.0.0.1:1/api"),
        ("APP_AUTH__JWT_SECRET", SECRET),
    ]);
    command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn settings_file_that_is_no_regular_file_exits_78() {
    let workspace = workspace();
    let fifo = workspace.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let fifo = fifo.to_str().unwrap();
    let of_postgresql = format!("postgres://127.0.0.1:1/x?sslrootcert={fifo}");
    let of_sqlite = format!("sqlite://{fifo}");
    let s3 = [("APP_SUMMARIES__URL", "s3://bucket"), ("AWS_WEB_IDENTITY_TOKEN_FILE", fifo)];
    let file = |path| (vec!["--config", path], vec![]);
    for ((arguments, environment), says) in [
        (file(fifo), "--config "),
        (file("/"), "--config "),
        (file("/dev/zero"), "--config "),
        ((vec![], vec![("SSL_CERT_FILE", fifo)]), "SSL_CERT_FILE "),
        ((vec![], vec![("SSL_CERT_FILE", "/dev/zero")]), "SSL_CERT_FILE "),
        ((vec![], vec![("APP_DATABASE__URL", &*of_postgresql)]), "APP_DATABASE__URL "),
        ((vec![], s3.to_vec()), "AWS_WEB_IDENTITY_TOKEN_FILE "),
    ] {
        for name in ["serve", "check-config"] {
            let arguments = [&[name], &arguments[..]].concat();
            let output = by("timeout", &["20"], &workspace, &arguments, &environment).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            // `timeout` exits with 124 on a hang.
            assert_eq!(output.status.code(), Some(78), "{arguments:?} {says}: {stderr}");
            assert!(stderr.starts_with(says) && stderr.contains("regular file"), "{arguments:?}: {stderr}");
        }
    }
    for (name, code) in [("serve", 1), ("migrate", 1), ("check-config", 69)] {
        let output = by("timeout", &["20"], &workspace, &[name], &[("APP_DATABASE__URL", &of_sqlite)]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
    }
    fs::rename(fifo, workspace.path().join(".env")).unwrap();
    for name in ["serve", "check-config", "migrate", "healthcheck", "dev"] {
        let output = by("timeout", &["20"], &workspace, &[name], &[]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = if name == "healthcheck" { 1 } else { 78 };
        assert_eq!(output.status.code(), Some(code), "{name}: {stderr}");
        assert!(stderr.contains(".env can't be read: not a regular file"), "{name}: {stderr}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

/// A command of the binary under a umask that lets other users read what is made.
fn under_umask(umask: &str, workspace: &Workspace, arguments: &[&str]) -> Command {
    let script = format!(r#"umask {umask}; exec "$0" "$@""#);
    by("sh", &["-c", &script], workspace, arguments, &[("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api")])
}

/// Each file and folder below `folder` that other users can read, write or enter.
fn exposed(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(exposed(&entry));
        }
        // Files in a private folder are out of reach.
        if mode(&entry) & 0o077 != 0 && mode(folder) & 0o077 != 0 {
            found.push(format!("{} {:o}", entry.display(), mode(&entry)));
        }
    }
    found
}

#[test]
fn database_files_are_private_whatever_the_umask() {
    if on_postgres() {
        return;
    }
    secrets::register_phrase(PASSWORD);
    for umask in ["000", "022"] {
        for arguments in
            [&["migrate"][..], &["user", "add", "--email", EMAIL, "--name", "Ann", "--password-stdin"], &["serve"], &["dev"]]
        {
            let workspace = workspace();
            fs::set_permissions(workspace.path(), Permissions::from_mode(0o755)).unwrap();
            let mut command = under_umask(umask, &workspace, arguments);
            let var = if arguments == ["dev"] { "var/dev" } else { "var" };
            match arguments[0] {
                "serve" | "dev" => {
                    let mut running = Running::start(command);
                    running.address_in_log();
                    for beside in ["app.db-wal", "app.db-shm"] {
                        assert_eq!(mode(&workspace.path().join(var).join(beside)), 0o600, "{umask} {arguments:?} {beside}");
                    }
                    assert_eq!(mode(&workspace.path().join(var).join("summaries")), 0o700, "{umask} {arguments:?}");
                    assert_eq!(running.stop().0, 0);
                }
                _ => {
                    use std::io::Write as _;
                    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
                    // `migrate` reads nothing.
                    let _ = child.stdin.take().unwrap().write_all(PASSWORD.as_bytes());
                    assert!(child.wait_with_output().unwrap().status.success(), "{arguments:?}");
                }
            }
            assert_eq!(mode(&workspace.path().join(var).join("app.db")), 0o600, "{umask} {arguments:?}");
            assert_eq!(mode(&workspace.path().join("var")), 0o700, "{umask} {arguments:?}");
            assert_eq!(exposed(workspace.path()), [""; 0], "{umask} {arguments:?}");
        }
    }
}

#[test]
fn readable_database_keeps_its_mode_and_is_warned_of() {
    if on_postgres() {
        return;
    }
    let workspace = workspace();
    let sandbox = crate::support::SandboxServer::start(proconf_app_server::sandbox::Script::echo());
    let environment = [
        ("APP_ADMIN_CONTROL__BASE_URL", sandbox.base_url.as_str()),
        ("APP_AUTH__JWT_SECRET", SECRET),
        ("APP_SERVER__LISTEN", "127.0.0.1:0"),
    ];
    let warning = "APP_DATABASE__URL is a file that other users can read, with hashes of passwords in it: chmod 600";
    assert_eq!(run(&workspace, &["migrate"], &[], "").0, 0);
    let file = workspace.path().join("var/app.db");
    for (mode_before, warned) in [(0o600, false), (0o640, true), (0o604, true)] {
        fs::set_permissions(&file, Permissions::from_mode(mode_before)).unwrap();
        let (code, stdout, _) = run(&workspace, &["check-config"], &environment, "");
        assert_eq!((code, stdout.contains(&format!("# warning: {warning}\n"))), (0, warned), "{mode_before:o}: {stdout}");
        let mut server = Running::start(command(&workspace, &["serve"], &environment));
        server.address_in_log();
        assert_eq!(server.log.contains(warning), warned, "{mode_before:o}: {}", server.log);
        assert_eq!(server.stop().0, 0);
        assert_eq!(mode(&file), mode_before);
    }
}
