//! The commands of the built binary, each run in its own workspace.

mod api_keys;
mod backup;
mod dev;
mod files;
mod identity;
mod user_delete;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::client::Client;
use crate::support::database::{TestDatabase, on_postgres};
use crate::support::{EMAIL, PASSWORD, SECRET, secrets, tokens};
use proconf_app_server::sandbox::{Reply, Script};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A working directory and a database.
pub struct Workspace {
    folder: TempDir,
    database: Option<TestDatabase>,
}

impl Workspace {
    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The binary in `workspace`, with no environment but what is given, and the database's URL where it is not the default one.
pub fn command(workspace: &Workspace, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
    command.args(arguments).current_dir(workspace.path()).env_clear().env("APP_MANAGEMENT__LISTEN", "127.0.0.1:0");
    if let Some(database) = &workspace.database {
        command.env("APP_DATABASE__URL", &database.url);
    }
    command.env("RUST_LOG", "trace").envs(environment.iter().copied());
    secrets::register_settings(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Begins the warning of a command that creates the database's file as root, as in most containers that run the tests.
const ROOT_WARNING: &str = "warning: running as root";

/// Exit code, standard output, standard error without the warning about root.
fn run(workspace: &Workspace, arguments: &[&str], environment: &[(&str, &str)], stdin: &str) -> (i32, String, String) {
    let mut child = command(workspace, arguments, environment).stdin(Stdio::piped()).spawn().unwrap();
    if arguments.contains(&"--password-stdin") {
        secrets::register_phrase(stdin.trim_end());
    }
    // The command may exit without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    secrets::assert_absent(&text(output.stderr.clone()), "a command");
    let stderr: String = text(output.stderr).split_inclusive('\n').filter(|line| !line.starts_with(ROOT_WARNING)).collect();
    (output.status.code().expect("not killed"), text(output.stdout), stderr)
}

fn user_add(workspace: &Workspace, email: &str, password: &str) -> (i32, String, String) {
    run(workspace, &["user", "add", "--email", email, "--name", "Ann", "--password-stdin"], &[], password)
}

/// A process that is killed when dropped.
pub struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What was read of its log.
    log: String,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, log: String::new() }
    }

    pub fn line_with(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "no line starts with {start}");
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// The port in the log's `listening` line.
    fn address_in_log(&mut self) -> SocketAddr {
        let mut byte = [0];
        let mut log = Vec::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        loop {
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&log));
            log.push(byte[0]);
            if log.ends_with(b"\n") && String::from_utf8_lossy(&log).contains("listening") {
                break;
            }
        }
        let log = String::from_utf8(log).unwrap();
        self.log.push_str(&log);
        let address = log.split("address").last().unwrap().trim_matches(|c: char| !c.is_ascii_digit());
        address.split('"').next().unwrap().parse().unwrap()
    }

    /// Sends the shutdown signal; returns the exit code and the rest of the log.
    fn stop(mut self) -> (i32, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        self.log.push_str(&log);
        (self.child.wait().unwrap().code().expect("not killed"), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut self.log));
        secrets::assert_absent(&self.log, "a command");
    }
}

pub fn workspace() -> Workspace {
    Workspace { folder: tempfile::tempdir().unwrap(), database: on_postgres().then(TestDatabase::new) }
}

/// Writes a file into the workspace; returns its path.
fn write_file(workspace: &Workspace, name: &str, content: &str) -> String {
    let path = workspace.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn serve_with_a_bad_setting_names_it_and_exits_78() {
    let workspace = workspace();
    for arguments in [&["serve"] as &[&str], &[]] {
        let (code, stdout, stderr) = run(&workspace, arguments, &[], "");
        assert_eq!((code, stdout.as_str()), (78, ""));
        assert!(
            stderr.contains("APP_ADMIN_CONTROL__BASE_URL is required; for example APP_ADMIN_CONTROL__BASE_URL=https://"),
            "{stderr}"
        );
        assert!(stderr.contains("APP_AUTH__JWT_SECRET is required"), "{stderr}");
    }
    let good = [("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET)];
    for (name, value, says) in [
        ("APP_AUTH__JWT_SECRET", "changeme", "must be 32 bytes or more"),
        ("APP_AUTH__JWT_SECRET", "                                  ", "must have no comma, and no blank at its ends"),
        ("APP_SERVER__LISTEN", "everywhere", "must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080"),
        ("APP_SERVER__LISTEM", "127.0.0.1:0", "is not a setting"),
    ] {
        let mut environment = good.to_vec();
        environment.retain(|(known, _)| *known != name);
        environment.push((name, value));
        let (code, _, stderr) = run(&workspace, &["serve"], &environment, "");
        assert_eq!((code, stderr.lines().count()), (78, 1), "{stderr}");
        assert!(stderr.starts_with(&format!("{name} {says}")) && !stderr.contains(value), "{stderr}");
    }
    assert!(!workspace.path().join("var").exists(), "nothing is touched before the settings are good");
}

#[test]
fn serve_reports_a_bad_address_or_database() {
    let workspace = workspace();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut environment = vec![
        ("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"),
        ("APP_AUTH__JWT_SECRET", SECRET),
        ("APP_SERVER__LISTEN", &address),
        ("APP_GUESTS__INVITATIONS", "required"),
    ];
    let (code, _, stderr) = run(&workspace, &["serve"], &environment, "");
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("can't listen on {address} (APP_SERVER__LISTEN)")), "{stderr}");
    assert!(!stderr.contains("unwise"), "{stderr}");
    environment.push(("APP_SERVER__TRUSTED_PROXIES", "0.0.0.0/0"));
    let (_, _, stderr) = run(&workspace, &["serve"], &environment, "");
    assert!(
        stderr.contains("unwise settings") && stderr.contains("APP_SERVER__TRUSTED_PROXIES contains every address"),
        "{stderr}"
    );

    environment.push(("APP_DATABASE__URL", "sqlite:///proc/no/such/folder/app.db"));
    let (code, _, stderr) = run(&workspace, &["serve"], &environment, "");
    assert_eq!(code, 1);
    assert!(stderr.contains("APP_DATABASE__URL"), "{stderr}");
}

#[test]
fn failed_start_is_logged_as_json_if_the_log_is_json() {
    let workspace = workspace();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(workspace.path().join("json.toml"), "[log]\nformat = \"json\"\n[serverr]\nlisten = \"x\"\n").unwrap();
    let json = ("APP_LOG__FORMAT", "json");
    let good = [("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET), json];
    let bind = [&good[..], &[("APP_SERVER__LISTEN", address.as_str()), ("APP_SERVER__KEEP_ALIVE", "30s")]].concat();
    for (arguments, environment, code, causes) in [
        (
            &["serve"][..],
            &[json][..],
            78,
            &["APP_ADMIN_CONTROL__BASE_URL is required", "APP_AUTH__JWT_SECRET is required"][..],
        ),
        (&[], &[json, ("APP_SERVERR", "1")], 78, &["APP_SERVERR is not a setting"]),
        (&["--config", "json.toml"], &[], 78, &["json.toml: serverr is not a setting"]),
        (&["--config", "none.toml"], &[json], 78, &["--config none.toml cannot be read"]),
        (&["serve"], &[&good[..], &[("RUST_LOG", "warning")]].concat(), 78, &["RUST_LOG must be a level"]),
        (&["serve"], &bind, 1, &["can't listen on "]),
    ] {
        let (ended, stdout, stderr) = run(&workspace, arguments, environment, "");
        assert_eq!((ended, stdout.as_str()), (code, ""), "{stderr}");
        let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let fatal: Vec<&str> =
            lines.iter().filter(|line| line["level"] == "ERROR").map(|line| line["cause"].as_str().unwrap()).collect();
        assert_eq!(fatal.len(), causes.len(), "{stderr}");
        assert!(fatal.iter().zip(causes).all(|(cause, start)| cause.starts_with(start)), "{stderr}");
        assert!(lines.iter().all(|line| line["time"].is_string() && line["message"].is_string()), "{stderr}");
    }
    let (code, _, stderr) = run(&workspace, &["user", "list"], &[json, ("APP_SERVERR", "1")], "");
    assert!(code == 78 && stderr.starts_with("APP_SERVERR is not"), "a command for a terminal: {stderr}");
}

#[test]
fn root_is_warned_before_it_creates_the_database() {
    let workspace = Workspace { folder: tempfile::tempdir().unwrap(), database: None };
    let is_root = String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap().trim() == "0";
    let warned = |arguments: &[&str], url: &str| {
        let output = command(&workspace, arguments, &[("APP_DATABASE__URL", url)]).output().unwrap();
        String::from_utf8(output.stderr).unwrap().lines().filter(|line| line.starts_with(ROOT_WARNING)).count()
    };
    for (arguments, url) in [(&["migrate"][..], "sqlite://a.db"), (&["user", "list"], "sqlite://folder/b.db")] {
        assert_eq!(warned(arguments, url), usize::from(is_root), "{arguments:?}");
        assert_eq!(warned(arguments, url), 0, "{arguments:?}: the file exists");
    }
    assert_eq!(warned(&["migrate"], "sqlite://c.db?mode=rw"), 0, "no file is created");
    let settings = [
        ("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"),
        ("APP_AUTH__JWT_SECRET", SECRET),
        ("APP_SERVER__LISTEN", "127.0.0.1:0"),
        ("APP_DATABASE__URL", "sqlite://d.db"),
    ];
    let mut server = Running::start(command(&workspace, &["serve"], &settings));
    server.address_in_log();
    assert_eq!(server.log.matches("running as root").count(), usize::from(is_root), "{}", server.log);
}

#[test]
fn dev_without_settings_prints_a_working_command() {
    let workspace = workspace();
    let mut dev = Running::start(command(&workspace, &["dev"], &[("APP_SERVER__LISTEN", "127.0.0.1:0")]));
    let login = dev.line_with("Demo login:");
    let curl = dev.line_with("curl ");
    let (authorization, url) = curl.trim().split_once("' http://").unwrap();
    let token = authorization.strip_prefix("curl -H 'Authorization: Bearer ").unwrap();
    let (address, path) = url.split_once('/').unwrap();
    let client = Client::new(address.parse().unwrap());

    let catch_up = client.get(&format!("/{path}"), Some(token)).data();
    assert!(catch_up.as_str().unwrap().len() > 50, "{catch_up}");
    client.get("/callCatchUp/quietRoom", Some(token)).assert_success("\"\"");
    let summary = client.get("/callSummary/endedRoom", Some(token)).data();
    assert!(summary.as_str().unwrap().len() > 50, "{summary}");
    client.get("/callCatchUp/nowhere", Some(token)).assert_error(404, "Not found", "a room that does not exist");
    let (email, password) = login.strip_prefix("Demo login:").unwrap().trim().split_once(" / ").unwrap();
    assert_eq!(client.log_in(email, password).data()["user"]["email"], email);
    assert!(workspace.path().join("var/dev/app.db").exists());
    assert_eq!(dev.stop().0, 0);

    // Again, with an existing account and a .env written for production.
    let production = "APP_ADMIN_CONTROL__BASE_URL=http://127.0.0.1:1/api\nAPP_DATABASE__URL=postgres://nowhere.invalid/x\n\
        APP_AUTH__JWT_SECRET_FILE=/run/secrets/none\n";
    std::fs::write(workspace.path().join(".env"), production).unwrap();
    let mut dev = Running::start(command(&workspace, &["dev"], &[("APP_SERVER__LISTEN", "127.0.0.1:0")]));
    dev.line_with("curl ");
    assert_eq!(dev.stop().0, 0);
}

#[test]
fn sandbox_serves_admin_control() {
    let workspace = workspace();
    let mut sandbox = Running::start(command(&workspace, &["sandbox", "--listen", "127.0.0.1:0"], &[]));
    let line = sandbox.line_with("Sandbox Admin Control:");
    let address = line.trim().rsplit("http://").next().unwrap().trim_end_matches("/api");
    let response = Client::new(address.parse().unwrap()).get("/api/call-catchup/testRoom", None);
    assert_eq!(response.status, 200);
    assert!(response.text().starts_with(r#"{"error":null,"data":""#));
    assert_eq!(sandbox.stop().0, 0);
}

#[test]
fn added_user_can_log_in_to_a_running_server() {
    let workspace = workspace();
    let environment = [
        ("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"),
        ("APP_AUTH__JWT_SECRET", SECRET),
        ("APP_SERVER__LISTEN", "127.0.0.1:0"),
    ];
    let mut server = Running::start(command(&workspace, &["serve"], &environment));
    let client = Client::new(server.address_in_log());
    client.log_in(EMAIL, PASSWORD).assert_unauthorized("no account yet");
    let (code, stdout, stderr) = user_add(&workspace, EMAIL, &format!("{PASSWORD}\n"));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "added\n", ""));
    client.log_in(EMAIL, PASSWORD).data();
    assert_eq!(server.stop().0, 0);
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let workspace = workspace();
    let environment = [
        ("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"),
        ("APP_AUTH__JWT_SECRET", SECRET),
        ("APP_SERVER__LISTEN", "127.0.0.1:0"),
    ];
    assert_eq!(user_add(&workspace, EMAIL, PASSWORD).0, 0);
    let refresh = |client: Client, token: &Value| client.post("/auth/refresh", &json!({"refreshToken": token}).to_string());
    let (mut live, mut ended): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let mut server = Running::start(command(&workspace, &["serve"], &environment));
        let client = Client::new(server.address_in_log());
        for token in &ended {
            refresh(client, token).assert_unauthorized("a revoked session stays revoked");
        }
        for token in &mut live {
            *token = refresh(client, token).data()["refreshToken"].take();
        }
        for _ in 0..3 {
            live.push(client.log_in(EMAIL, PASSWORD).data()["refreshToken"].take());
        }
        let last = client.log_in(EMAIL, PASSWORD).data()["refreshToken"].take();
        client.post("/auth/logout", &json!({"refreshToken": last}).to_string()).assert_success("null");
        ended.push(last);
        // Killed right after the last response.
        server.child.kill().unwrap();
        server.child.wait().unwrap();
    }
    assert_eq!((live.len(), ended.len()), (12, 4));
}

#[test]
fn user_commands_list_disable_enable_and_set_a_password() {
    let workspace = workspace();
    let user = |arguments: &[&str], stdin: &str| run(&workspace, &[&["user"], arguments].concat(), &[], stdin);
    assert_eq!(user(&["list"], ""), (0, String::new(), String::new()));
    for email in ["bo@example.com", EMAIL] {
        assert_eq!(user_add(&workspace, email, PASSWORD).0, 0);
    }
    let list = || user(&["list"], "").1;
    let states = |list: &str| -> Vec<String> {
        list.lines().map(|line| line.split('\t').take(3).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(states(&list()), ["ann@example.com Ann enabled", "bo@example.com Ann enabled"]);
    assert!(!list().contains("argon2"));
    assert_eq!(user(&["disable", "--email", "ANN@example.com"], "").0, 0);
    assert_eq!(states(&list())[0], "ann@example.com Ann disabled");
    assert_eq!(user(&["enable", "--email", EMAIL], "").0, 0);
    assert_eq!(states(&list())[0], "ann@example.com Ann enabled");
    let set = |email: &str, password: &str| user(&["set-password", "--email", email, "--password-stdin"], password);
    assert_eq!(set(EMAIL, "another horse, another battery\r\n").0, 0);
    for (outcome, says) in [
        (user(&["disable", "--email", "unknown@example.com"], ""), "there is no account with this e-mail"),
        (user(&["enable", "--email", "unknown@example.com"], ""), "there is no account with this e-mail"),
        (set("unknown@example.com", "another horse, another battery"), "there is no account with this e-mail"),
        (set(EMAIL, "short"), "password is too short: at least 15 characters."),
        (set(EMAIL, "123456789012345"), "password is too easy to guess: it is common, a name, a sequence or a repetition."),
    ] {
        assert_eq!((outcome.0, outcome.1.as_str(), outcome.2.trim()), (1, "", says));
    }
}

#[test]
fn user_add_rejects_invalid_accounts() {
    let workspace = workspace();
    assert_eq!(user_add(&workspace, EMAIL, PASSWORD).0, 0);
    for (email, password, says) in [
        (EMAIL, PASSWORD, "there is an account with this e-mail already"),
        ("ANN@example.com", PASSWORD, "there is an account with this e-mail already"),
        ("bo", PASSWORD, "email is not an e-mail address."),
        ("bo\u{200b}@example.com", PASSWORD, "email must not contain control or invisible characters."),
        ("bo\u{202e}@example.com", PASSWORD, "email must not contain control or invisible characters."),
        ("bo@example.com", "fourteen chars", "password is too short: at least 15 characters."),
        ("bo@example.com", "", "password is too short: at least 15 characters."),
        ("bo@example.com", &"x".repeat(1025), "password is longer than 1024 bytes."),
        ("bo@example.com", &"x".repeat(100_000), "password is longer than 1024 bytes."),
    ] {
        let (code, stdout, stderr) = user_add(&workspace, email, password);
        assert_eq!((code, stdout.as_str(), stderr.trim()), (1, "", says));
    }
}

#[test]
fn email_in_two_normal_forms_is_one_account() {
    let workspace = workspace();
    let (composed, decomposed) = ("caf\u{e9}@example.com", "CAFE\u{301}@example.com");
    assert_eq!(user_add(&workspace, decomposed, PASSWORD).0, 0);
    let (code, _, stderr) = user_add(&workspace, composed, PASSWORD);
    assert_eq!((code, stderr.trim()), (1, "there is an account with this e-mail already"));
    for email in [composed, decomposed] {
        assert_eq!(run(&workspace, &["user", "disable", "--email", email], &[], "").0, 0);
    }
    let list = run(&workspace, &["user", "list"], &[], "").1;
    assert!(list.starts_with(&format!("{composed}\tAnn\tdisabled\t")) && list.lines().count() == 1, "{list}");
}

#[test]
fn terminal_output_escapes_control_and_bidirectional_characters() {
    let workspace = workspace();
    let hostile = "a\u{202e}b\u{2028}c\u{61c}d\u{2066}e";
    let escaped = "a\\u202eb\\u2028c\\u061cd\\u2066e";
    let add =
        |name: &str| run(&workspace, &["user", "add", "--email", EMAIL, "--name", name, "--password-stdin"], &[], PASSWORD);
    let (code, _, stderr) = add(hostile);
    assert_eq!((code, stderr.trim()), (1, "name must be at most 255 bytes, without control characters."));
    assert_eq!(add("a\u{2028}b\u{61c}c").0, 0);
    let list = run(&workspace, &["user", "list"], &[], "").1;
    assert!(list.starts_with(&format!("{EMAIL}\ta\\u2028b\\u061cc\tenabled\t")), "{list}");
    let hostile_line = format!("{hostile}\u{1b}[2J\r");
    let escaped_line = format!("{escaped}\\u001b[2J\\u000d");
    let unknown = run(&workspace, &[&hostile_line], &[], "");
    assert_eq!((unknown.0, unknown.1.as_str()), (2, ""));
    assert!(unknown.2.contains(escaped), "clap drops ANSI sequences itself: {}", unknown.2);
    let bad = run(&workspace, &["user", "list"], &[(&format!("APP_{hostile_line}"), "1")], "");
    assert!(bad.0 == 78 && bad.2.to_lowercase().contains(&escaped_line.to_lowercase()), "{}", bad.2);
    let issuer = format!("{hostile_line}\n# database: ok");
    let environment = [
        ("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"),
        ("APP_AUTH__ISSUER", issuer.as_str()),
        ("APP_AUTH__JWT_SECRET", SECRET),
    ];
    let (_, shown, _) = run(&workspace, &["check-config"], &environment, "");
    assert!(shown.contains(&format!("APP_AUTH__ISSUER={escaped_line}\\u000a# database: ok\n")), "{shown}");
}

#[test]
fn migrate_creates_the_database_and_is_repeatable() {
    let workspace = workspace();
    let url = format!("sqlite://{}/deep/er/app.db", workspace.path().display());
    for _ in 0..2 {
        let (code, _, stderr) = run(&workspace, &["migrate"], &[("APP_DATABASE__URL", &url)], "");
        assert_eq!((code, stderr.as_str()), (0, ""));
    }
    assert!(workspace.path().join("deep/er/app.db").exists());
}

#[test]
fn concurrent_migrations_all_succeed() {
    for _ in 0..3 {
        let workspace = workspace();
        let all: Vec<Running> = (0..6).map(|_| Running::start(command(&workspace, &["migrate"], &[]))).collect();
        for mut one in all {
            assert!(one.child.wait().unwrap().success());
        }
    }
}

#[test]
fn secrets_tokens_and_catch_ups_are_never_logged() {
    const CATCH_UP: &str = "a catch-up that is a canary";
    for format in ["text", "json"] {
        let workspace = workspace();
        let script = Script::echo();
        script.catch_up("r1", Reply::data(&format!("{CATCH_UP:?}")));
        script.catch_up("bad", Reply::body(500, CATCH_UP));
        let sandbox = crate::support::SandboxServer::start(script);
        let environment = [
            ("APP_ADMIN_CONTROL__BASE_URL", sandbox.base_url.as_str()),
            ("APP_ADMIN_CONTROL__AUTHORIZATION", "the key of Admin Control"),
            ("APP_AUTH__JWT_SECRET", SECRET),
            ("APP_SERVER__LISTEN", "127.0.0.1:0"),
            ("APP_LOG__FORMAT", format),
            ("RUST_LOG", "trace"),
        ];
        assert_eq!(user_add(&workspace, EMAIL, PASSWORD).0, 0);
        let mut server = Running::start(command(&workspace, &["serve"], &environment));
        let client = Client::new(server.address_in_log());
        let login = client.log_in(EMAIL, PASSWORD).data();
        let (token, refresh) = (login["token"].as_str().unwrap(), login["refreshToken"].as_str().unwrap());
        let guest = client.get("/auth/joinmember?roomName=r1", None).data();
        client.log_in(EMAIL, "a wrong canary").assert_unauthorized("wrong");
        client.post("/auth/login", r#"{"password":"a malformed canary"#);
        client.get("/callCatchUp/r1", Some(token)).data();
        client.get("/callCatchUp/bad", Some(token)).assert_error(500, "Internal server error", "bad");
        client.get(&format!("/callCatchUp/r1?token={token}"), Some("a forged canary")).assert_unauthorized("forged");
        client.get("/callCatchUp/%0aforged%20line", Some(token));
        let (code, log) = server.stop();
        assert_eq!(code, 0);
        assert!(log.lines().count() >= 9, "{log}");
        for secret in [
            SECRET,
            "key of Admin Control",
            "canary",
            token,
            refresh,
            guest.as_str().unwrap(),
            &tokens::b64(SECRET),
            "INSERT",
            "argon2id",
        ] {
            assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
        }
        assert!(log.contains("Admin Control failed") && log.contains("status 500"), "the true reason is there: {log}");
        for line in log.lines() {
            match format {
                "json" => assert!(serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].is_string()),
                _ => assert!(line.starts_with("20"), "{line}"),
            }
        }
    }
}

#[test]
fn check_config_shows_settings_without_secrets() {
    let workspace = workspace();
    let sandbox = crate::support::SandboxServer::start(Script::echo());
    let mut environment = vec![
        ("APP_ADMIN_CONTROL__BASE_URL", sandbox.base_url.as_str()),
        ("APP_ADMIN_CONTROL__AUTHORIZATION", "Bearer canary"),
        ("APP_AUTH__JWT_SECRET", SECRET),
        ("APP_AUTH__PREVIOUS_JWT_SECRETS", "a canary: another secret of thirty-two bytes or more"),
    ];
    let (code, stdout, stderr) = run(&workspace, &["check-config"], &environment, "");
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(!stdout.contains("canary") && !stdout.contains(SECRET), "{stdout}");
    for line in [
        "APP_AUTH__JWT_SECRET=[redacted]",
        "APP_ADMIN_CONTROL__AUTHORIZATION=[redacted]",
        "APP_ADMIN_CONTROL__TIMEOUT=15s # default",
        "APP_LOG__ACCESS=true # default",
        "RUST_LOG=trace",
        "# APP_SERVER__WORKERS is not set",
        "# Admin Control: ok, reachable",
        "# summary store: ok, the folder can be used",
    ] {
        assert!(stdout.lines().any(|there| there == line), "{line} is not in\n{stdout}");
    }
    assert!(stdout.contains("\n# database: ok, "), "{stdout}");
    let warnings: Vec<&str> = stdout.lines().filter(|line| line.starts_with("# warning")).collect();
    assert!(matches!(warnings[..], [one] if one.contains("APP_GUESTS__INVITATIONS is optional")), "{warnings:?}");
    let unwise = [&environment[..], &[("APP_SERVER__REQUEST_TIMEOUT", "5s")]].concat();
    let (code, said, _) = run(&workspace, &["check-config"], &unwise, "");
    assert!(code == 0 && said.contains("\n# warning: APP_ADMIN_CONTROL__TIMEOUT is not below"), "{said}");
    assert_eq!(std::fs::read_dir(workspace.path()).unwrap().count(), 0, "nothing is made");

    let secret = write_file(&workspace, "jwt", &format!("{SECRET}\n"));
    std::fs::write(workspace.path().join(".env"), format!("APP_AUTH__JWT_SECRET_FILE={secret}\n")).unwrap();
    let (code, shown, stderr) = run(&workspace, &["check-config"], &environment[..2], "");
    assert_eq!((code, stderr.as_str()), (0, ""), "{shown}");
    assert!(shown.contains(&format!("\nAPP_AUTH__JWT_SECRET=[redacted] # from {secret}\n")), "{shown}");
    std::fs::remove_file(workspace.path().join(".env")).unwrap();

    environment[0].1 = "http://127.0.0.1:1/api";
    environment.push(("APP_DATABASE__URL", "postgres://ann:canary@127.0.0.1:1/db?options=canary&sslmode=require"));
    environment.push(("APP_SUMMARIES__URL", "s3://bucket"));
    environment.push(("AWS_ACCESS_KEY_ID", "canary-id"));
    environment.push(("AWS_SECRET_ACCESS_KEY", "canary-key"));
    environment.push(("AWS_ENDPOINT", "http://127.0.0.1:1"));
    let (code, stdout, stderr) = run(&workspace, &["check-config"], &environment, "");
    assert_eq!(
        (code, stderr.trim()),
        (
            69,
            "can't be reached: database (APP_DATABASE__URL), Admin Control (APP_ADMIN_CONTROL__BASE_URL), summary store \
             (APP_SUMMARIES__URL)"
        ),
        "{stdout}"
    );
    assert_eq!(stdout.matches(": FAILED, ").count(), 3, "{stdout}");
    assert!(!stdout.contains("canary"), "{stdout}");
    let url = "APP_DATABASE__URL=postgres://ann:[redacted]@127.0.0.1:1/db?options=[redacted]&sslmode=require\n";
    assert!(stdout.contains(url), "{stdout}");

    let (code, stdout, stderr) = run(&workspace, &["check-config"], &[("APP_SERVER__LISTEM", "x")], "");
    assert_eq!((code, stdout.as_str()), (78, ""));
    assert!(stderr.starts_with("APP_SERVER__LISTEM is not a setting"), "{stderr}");
}

#[test]
fn check_config_rejects_whatever_serve_rejects() {
    let workspace = workspace();
    let file = workspace.path().join("settings.toml");
    std::fs::write(&file, format!("[auth]\njwt_secret = [\"canary\", \"{SECRET}\"]\n")).unwrap();
    let good = [("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET)];
    let s3 = ("APP_SUMMARIES__URL", "s3://bucket");
    let keys = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")];
    for (names, bad, config) in [
        ("APP_DATABASE__URL", vec![("APP_DATABASE__URL", "postgres://canary:canary@127.0.0.1:99999/x")], None),
        ("APP_DATABASE__URL", vec![("APP_DATABASE__URL", "postgres://127.0.0.1/x?sslmode=canary")], None),
        ("APP_DATABASE__URL", vec![("APP_DATABASE__URL", "postgres://127.0.0.1/x?passwd=canary")], None),
        ("APP_DATABASE__URL", vec![("APP_DATABASE__URL", "sqlite://var/app.db?mode=canary")], None),
        ("APP_CACHE__REDIS_URL", vec![("APP_CACHE__REDIS_URL", "redis://:canary@127.0.0.1:99999")], None),
        ("APP_CACHE__REDIS_URL", vec![("APP_CACHE__REDIS_URL", "redis://127.0.0.1/canary")], None),
        ("APP_MANAGEMENT__LISTEN", vec![("APP_MANAGEMENT__LISTEN", "127.0.0.1:8080")], None),
        ("APP_MANAGEMENT__LISTEN", vec![("APP_MANAGEMENT__LISTEN", "0.0.0.0:8080")], None),
        ("APP_SUMMARIES__URL", vec![s3], None),
        ("AWS_ENDPOINT", vec![s3, keys[0], keys[1], ("AWS_ENDPOINT", "canary")], None),
        ("settings.toml: auth.jwt_secret ", vec![("APP_AUTH__JWT_SECRET", "")], Some("settings.toml")),
        ("RUST_LOG must be a level", vec![("RUST_LOG", "inof")], None),
        ("APP_AUTH__JWT_SECRET and APP_AUTH__JWT_SECRET_FILE", vec![("APP_AUTH__JWT_SECRET_FILE", "settings.toml")], None),
        ("APP_CACHE__REDIS_URL_FILE (none) can't be read", vec![("APP_CACHE__REDIS_URL_FILE", "none")], None),
        ("APP_CACHE__REDIS_URL_FILE (settings.toml) must be", vec![("APP_CACHE__REDIS_URL_FILE", "settings.toml")], None),
        ("--config no-such-file.toml", vec![], Some("no-such-file.toml")),
    ] {
        for command in ["serve", "check-config"] {
            let arguments: Vec<&str> = config.map_or(vec![command], |file| vec![command, "--config", file]);
            let (code, stdout, stderr) = run(&workspace, &arguments, &[&good[..], &bad].concat(), "");
            assert_eq!((code, stdout.as_str(), stderr.lines().count()), (78, "", 1), "{command} {names}: {stderr}");
            assert!(stderr.starts_with(names) && !stderr.contains("canary"), "{command} {names}: {stderr}");
        }
    }
    assert!(!workspace.path().join("var").exists(), "nothing is touched before the settings are good");
}

#[test]
fn check_config_probes_redis_and_the_listen_addresses() {
    let workspace = workspace();
    let sandbox = crate::support::SandboxServer::start(Script::echo());
    let redis = crate::support::redis::Redis::start();
    let url_as = |user: &str| format!("redis://{user}127.0.0.1:{}", redis.port);
    let (right, wrong) = (url_as(":canary@"), url_as(":no-canary@"));
    let user = |name: &str, but: &str| {
        redis.user(name, "canary", but);
        url_as(&format!("{name}:canary@"))
    };
    let (enough, no_keys) = (user("enough", ""), user("no-keys", "~proconf:*"));
    let (no_renewal, no_set) = (user("no-renewal", "+pexpire"), user("no-set", "+set"));
    redis.command(&["CONFIG", "SET", "requirepass", "canary"]);
    for (shared, listen, code, says) in [
        (right.as_str(), "127.0.0.1:0", 0, ""),
        (&enough, "127.0.0.1:0", 0, ""),
        (&no_keys, "127.0.0.1:0", 69, "can't be reached: shared cache (APP_CACHE__REDIS_URL)"),
        (&no_renewal, "127.0.0.1:0", 69, "can't be reached: shared cache (APP_CACHE__REDIS_URL)"),
        (&no_set, "127.0.0.1:0", 69, "can't be reached: shared cache (APP_CACHE__REDIS_URL)"),
        (&wrong, "127.0.0.1:0", 69, "can't be reached: shared cache (APP_CACHE__REDIS_URL)"),
        (&url_as(""), "127.0.0.1:0", 69, "can't be reached: shared cache (APP_CACHE__REDIS_URL)"),
        ("redis://127.0.0.1:1", "127.0.0.1:0", 69, "can't be reached: shared cache (APP_CACHE__REDIS_URL)"),
        // A documentation address (RFC 5737).
        (
            &right,
            "192.0.2.1:80",
            78,
            "APP_SERVER__LISTEN can't be listened on: Cannot assign requested address (os error 99)",
        ),
    ] {
        let environment = [
            ("APP_ADMIN_CONTROL__BASE_URL", sandbox.base_url.as_str()),
            ("APP_AUTH__JWT_SECRET", SECRET),
            ("APP_CACHE__REDIS_URL", shared),
            ("APP_SERVER__LISTEN", listen),
        ];
        let (ended, stdout, stderr) = run(&workspace, &["check-config"], &environment, "");
        assert_eq!((ended, stderr.trim()), (code, says), "{stdout}");
        assert!(!stdout.contains("canary"), "{stdout}");
    }
}

#[test]
fn healthcheck_reports_readiness() {
    let server = crate::support::TestServer::start();
    let workspace = workspace();
    let check = |listen: &str| run(&workspace, &["healthcheck"], &[("APP_MANAGEMENT__LISTEN", listen)], "");
    assert_eq!(check(&server.management.to_string()), (0, String::new(), String::new()));
    let anywhere = format!("0.0.0.0:{}", server.management.port());
    assert_eq!(check(&anywhere), (0, String::new(), String::new()), "what listens everywhere listens here");
    let port = server.management;
    drop(server);
    let (code, _, stderr) = check(&port.to_string());
    assert_eq!(code, 1);
    assert!(stderr.starts_with("not ready: "), "{stderr}");
    let unhealthy = crate::support::fake_upstream::FakeUpstream::with_response(crate::support::fake_upstream::http(
        "503 Service Unavailable",
        "{}",
    ));
    let (code, _, stderr) = check(&format!("127.0.0.1:{}", unhealthy.port));
    assert_eq!((code, stderr.trim()), (1, "not ready: /health/ready returned 503"));
    assert_eq!(check("nonsense").0, 1, "and never another code");
}

#[test]
fn closed_stdout_ends_a_command_but_not_a_server() {
    let workspace = workspace();
    let settings =
        [("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET), ("RUST_LOG", "off")];
    let unread = |arguments: &[&str]| {
        let mut child = command(&workspace, arguments, &settings).stdin(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        // It prints nothing before it has read the password.
        let _ = child.stdin.take().unwrap().write_all(PASSWORD.as_bytes());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let lines = stderr.split_inclusive('\n').filter(|line| !line.starts_with(ROOT_WARNING));
        (output.status.code().expect("not killed"), lines.collect::<String>())
    };
    secrets::register_phrase(PASSWORD);
    for arguments in [
        &["openapi"][..],
        &["--help"],
        &["--version"],
        &["migrate"],
        &["user", "add", "--email", EMAIL, "--name", "Ann", "--password-stdin"],
        &["user", "list"],
        &["user", "disable", "--email", EMAIL],
    ] {
        assert_eq!(unread(arguments), (0, String::new()), "{arguments:?}");
    }
    // The exit code still reports the result.
    let (code, stderr) = unread(&["check-config"]);
    assert!(code == 69 && stderr.starts_with("can't be reached: ") && stderr.lines().count() == 1, "{code} {stderr}");
    let (_, listed, _) = run(&workspace, &["user", "list"], &settings, "");
    assert!(listed.contains("\tdisabled\t"), "{listed}");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for arguments in [&["dev"][..], &["sandbox", "--listen", &address.to_string()]] {
        let own = [("APP_SERVER__LISTEN", &*address.to_string()), ("RUST_LOG", "off")];
        let mut child = command(&workspace, arguments, &own).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        let started = std::time::Instant::now();
        // It listens before it logs so; the signal must come after that.
        while std::net::TcpStream::connect(address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "{arguments:?} ended");
            assert!(started.elapsed() < std::time::Duration::from_secs(20), "{arguments:?} does not listen");
        }
        std::thread::park_timeout(std::time::Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "{arguments:?} ended");
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
}
