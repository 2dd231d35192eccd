//! SQLite's file under a running server: disk full, read-only, deleted or replaced.
//!
//! Requests without a write are served. Without space or permission, writes are 500 and acknowledged writes survive.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Script;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::support::client::Client;
use crate::support::database::on_postgres;
use crate::support::process::ServerProcess;
use crate::support::response::Response;
use crate::support::small_disk::SmallDisk;
use crate::support::{EMAIL, PASSWORD, SandboxServer, secrets, skip, tokens};

const BINARY: &str = env!("CARGO_BIN_EXE_proconf-app-server");
/// Maximum time to recovery.
const RECOVERY_TIME: Duration = Duration::from_secs(2);

fn post(client: Client, route: &str, body: &Value) -> Response {
    client.post(route, &body.to_string())
}

fn refresh(client: Client, token: &Value) -> Response {
    post(client, "/auth/refresh", &json!({"refreshToken": token}))
}

fn refresh_token(response: &Response) -> Value {
    response.data()["refreshToken"].take()
}

/// Adds the account with `user add`; `command` runs the binary where the database is.
fn add_account(mut command: Command, url: &str) {
    use std::io::Write as _;
    secrets::register_phrase(PASSWORD);
    command.args(["user", "add", "--email", EMAIL, "--name", "Ann", "--password-stdin"]);
    command.env_clear().env("APP_DATABASE__URL", url).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Asserts that requests without a write are served.
#[track_caller]
fn assert_reads_served(client: Client) {
    for _ in 0..20 {
        client.get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
        client.get("/auth/joinmember?roomName=r1", None).data();
        client.get("/health/live", None).data();
    }
}

/// Logs in until that fails; returns the acknowledged refresh tokens.
fn log_in_until_it_fails(client: Client) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    loop {
        match client.log_in(EMAIL, PASSWORD) {
            response if response.status == 200 => acknowledged.push(refresh_token(&response)),
            response => {
                response.assert_error(500, "Internal server error", "no space");
                return acknowledged;
            }
        }
        assert!(acknowledged.len() < 2_000, "it never fails");
    }
}

#[track_caller]
fn assert_recovered(client: Client) {
    let started = Instant::now();
    while client.log_in(EMAIL, PASSWORD).status != 200 {
        assert!(started.elapsed() < RECOVERY_TIME, "not recovered after {:?}", started.elapsed());
    }
}

/// Checks a copy of the database together with its write-ahead log.
fn integrity(file: &Path) -> String {
    let copy = tempfile::tempdir().unwrap();
    for (suffix, is_required) in [("", true), ("-wal", false)] {
        let name = format!("{}{suffix}", file.file_name().unwrap().to_str().unwrap());
        let copied = fs::copy(file.with_file_name(&name), copy.path().join(format!("app.db{suffix}")));
        assert!(copied.is_ok() || !is_required, "{copied:?}");
    }
    let url = format!("sqlite://{}/app.db", copy.path().display());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap()
    })
}

/// Exhausts the space twice, and asserts that writes fail meanwhile and recover.
fn writes_fail_while_there_is_no_space(server: &mut ServerProcess, file: &Path, exhaust: impl Fn(), free: impl Fn()) {
    let client = server.client();
    let (valid, ended) = (refresh_token(&client.log_in(EMAIL, PASSWORD)), refresh_token(&client.log_in(EMAIL, PASSWORD)));
    for _ in 0..2 {
        let from = server.logged();
        exhaust();
        let acknowledged = log_in_until_it_fails(client);
        // Concurrent failing logins must not block later ones.
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert!(matches!(client.log_in(EMAIL, PASSWORD).status, 200 | 500 | 503)));
            }
        });
        assert_reads_served(client);
        client.get("/health/ready", None).data();
        refresh(client, &json!("an unknown token")).assert_unauthorized("known without a write");
        let line = server.line(from, |line| line["message"] == "account request failed");
        let cause = line["cause"].as_str().unwrap();
        assert!(cause.contains("disk"), "{line}");
        assert!(!["INSERT", "UPDATE", "SELECT", "argon2"].iter().any(|word| cause.contains(word)), "{line}");
        free();
        assert_recovered(client);
        for token in &acknowledged {
            refresh(client, token).data();
        }
    }
    refresh(client, &valid).data();
    post(client, "/auth/logout", &json!({"refreshToken": ended})).assert_success("null");
    server.kill();
    assert_eq!(integrity(file), "ok");
}

#[test]
fn full_disk_makes_writes_500_until_space_returns() {
    if on_postgres() {
        return;
    }
    let Some(disk) = SmallDisk::mount() else { return };
    let sandbox = SandboxServer::start(Script::echo());
    let url = format!("sqlite://{}/app.db", disk.folder().display());
    add_account(disk.command(Path::new("/"), BINARY), &url);
    let working_folder = tempfile::tempdir().unwrap();
    let mut command = disk.command(working_folder.path(), BINARY);
    command.arg("serve");
    let mut server = ServerProcess::run_by(command, url, &sandbox.base_url, &[]);
    writes_fail_while_there_is_no_space(&mut server, &disk.file("app.db"), || disk.fill(), || disk.free());
}

#[test]
fn file_size_limit_makes_writes_500_until_it_is_lifted() {
    if on_postgres() {
        return;
    }
    let sandbox = SandboxServer::start(Script::echo());
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/app.db", folder.path().display());
    add_account(Command::new(BINARY), &url);
    let mut command = Command::new("sh");
    // SIGXFSZ would end the process.
    command.args(["-c", r#"trap "" XFSZ; exec "$0" serve"#, BINARY]);
    let mut server = ServerProcess::run_by(command, url, &sandbox.base_url, &[]);
    let id = server.id().to_string();
    let limit = |to: &str| {
        let done = Command::new("prlimit").args(["--pid", &id, &format!("--fsize={to}:")]).status().unwrap();
        assert!(done.success());
    };
    let (fill, free) = (|| limit("4096"), || limit("unlimited"));
    writes_fail_while_there_is_no_space(&mut server, &folder.path().join("app.db"), fill, free);
}

#[test]
fn log_on_a_full_disk_is_dropped_and_requests_go_on() {
    let Some(disk) = SmallDisk::mount() else { return };
    let sandbox = SandboxServer::start(Script::echo());
    let working_folder = tempfile::tempdir().unwrap();
    let free_port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, management): (SocketAddr, SocketAddr) = (free_port(), free_port());
    let mut command = disk.command(working_folder.path(), "sh");
    command.args(["-c", r#"exec "$0" serve >"$1/log" 2>&1"#, BINARY]).arg(disk.folder()).env_clear();
    command.envs([
        ("PATH", "/usr/bin:/bin"),
        ("APP_SERVER__LISTEN", &address.to_string()),
        ("APP_MANAGEMENT__LISTEN", &management.to_string()),
        ("APP_ADMIN_CONTROL__BASE_URL", &sandbox.base_url),
        ("APP_AUTH__JWT_SECRET", crate::support::SECRET),
        ("APP_DATABASE__URL", &format!("sqlite://{}/app.db", working_folder.path().display())),
        ("RUST_LOG", "trace"),
    ]);
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not start");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let client = Client::new(address);
    assert_reads_served(client);
    disk.fill();
    let length = || fs::metadata(disk.file("log")).unwrap().len();
    let full = length();
    for _ in 0..20 {
        assert_reads_served(client);
    }
    // The file may grow to the end of its last page.
    assert!(length() < full + 4096, "it was not full");
    let page = Client::new(management).get("/metrics", None);
    let dropped = page.text().lines().find_map(|line| line.strip_prefix("proconf_log_lines_dropped_total ")).unwrap();
    assert!(dropped.parse::<u64>().unwrap() > 0, "what is lost is counted");
    disk.free();
    let wanted = length();
    while length() <= wanted {
        assert_reads_served(client);
        assert!(started.elapsed() < Duration::from_secs(40), "it does not go on");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Makes files immutable until dropped.
struct Immutable(Vec<String>);

impl Immutable {
    fn make(files: Vec<String>) -> Option<Self> {
        let immutable = Self(files);
        immutable.change("+i").then_some(immutable)
    }

    fn change(&self, to: &str) -> bool {
        let changed = Command::new("chattr").arg(to).args(&self.0).stderr(Stdio::null()).status();
        changed.is_ok_and(|status| status.success())
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        self.change("-i");
    }
}

#[test]
fn read_only_database_makes_writes_500_and_prevents_a_start() {
    if on_postgres() {
        return;
    }
    let sandbox = SandboxServer::start(Script::echo());
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/app.db", folder.path().display());
    add_account(Command::new(BINARY), &url);
    let server = ServerProcess::run_by(serve(), url.clone(), &sandbox.base_url, &[]);
    let client = server.client();
    let token = refresh_token(&client.log_in(EMAIL, PASSWORD));
    let files = ["app.db", "app.db-wal"].map(|name| folder.path().join(name).display().to_string());
    let Some(read_only) = Immutable::make(files.into()) else {
        return skip("a database file that can only be read", "chattr +i is rejected here");
    };
    let from = server.logged();
    // More than there are connections, so that new ones are opened too.
    std::thread::scope(|scope| {
        for _ in 0..15 {
            scope.spawn(|| client.log_in(EMAIL, PASSWORD).assert_error(500, "Internal server error", "read-only"));
        }
    });
    refresh(client, &token).assert_error(500, "Internal server error", "read-only");
    assert_reads_served(client);
    client.get("/health/ready", None).data();
    server.line(from, |line| line["message"] == "account request failed");
    for command in ["serve", "check-config"] {
        // `timeout` exits with 124 if the server starts.
        let mut another = Command::new("timeout");
        another.args(["20", BINARY, command]).current_dir(folder.path()).env_clear().env("PATH", "/usr/bin:/bin");
        another.envs([
            ("APP_SERVER__LISTEN", "127.0.0.1:0"),
            ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0"),
            ("APP_ADMIN_CONTROL__BASE_URL", sandbox.base_url.as_str()),
            ("APP_AUTH__JWT_SECRET", crate::support::SECRET),
            ("APP_DATABASE__URL", &url),
        ]);
        let output = another.output().unwrap();
        let code = if command == "serve" { 1 } else { 69 };
        assert_eq!(output.status.code(), Some(code), "{command}: {output:?}");
    }
    drop(read_only);
    assert_recovered(client);
    for _ in 0..15 {
        assert_eq!(client.log_in(EMAIL, PASSWORD).status, 200, "no connection stays read-only");
    }
    refresh(client, &token).data();
}

fn serve() -> Command {
    let mut command = Command::new(BINARY);
    command.arg("serve");
    command
}

#[test]
fn deleted_or_replaced_file_makes_the_server_not_ready() {
    if on_postgres() {
        return;
    }
    let sandbox = SandboxServer::start(Script::echo());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let url = format!("sqlite://{}", path.display());
    add_account(Command::new(BINARY), &url);
    let server = ServerProcess::run_by(serve(), url.clone(), &sandbox.base_url, &[]);
    let client = server.client();
    let valid = refresh_token(&client.log_in(EMAIL, PASSWORD));
    let moved = folder.path().join("moved");
    let delete = || fs::rename(&path, &moved).unwrap();
    let replace = || {
        delete();
        fs::write(&path, "").unwrap();
    };
    for break_file in [&delete as &dyn Fn(), &replace] {
        let from = server.logged();
        // Readiness is cached for a moment.
        client.get("/health/ready", None).data();
        break_file();
        wait_for_readiness(client, 503, Duration::from_secs(1));
        assert_reads_served(client);
        let detail = Client::new(server.management).get("/health/ready", None);
        assert_eq!(detail.header("x-not-ready"), Some("database"));
        let line = server.line(from, |line| line["message"] == "not ready: the database fails");
        assert_eq!(line["cause"], "its file was deleted, or another one was put in its place");
        let length = fs::metadata(&path).map_or(0, |file| file.len());
        assert_eq!(length, 0, "no new database is created");
        fs::rename(&moved, &path).unwrap();
        wait_for_readiness(client, 200, Duration::from_secs(10));
        assert_eq!(client.log_in(EMAIL, PASSWORD).status, 200, "the same database is used again");
    }
    refresh(client, &valid).data();
}

#[track_caller]
fn wait_for_readiness(client: Client, status: u16, within: Duration) {
    let started = Instant::now();
    while client.get("/health/ready", None).status != status {
        assert!(started.elapsed() < within, "readiness does not become {status}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
