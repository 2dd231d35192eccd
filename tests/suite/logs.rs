//! The log of a server process: its lines, secrets that must be absent, and a stalled reader.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proconf_app_server::accounts::admin;
use proconf_app_server::clock::Clock;
use proconf_app_server::db::Database;
use proconf_app_server::sandbox::{Reply, Script};
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::client::{Client, request};
use crate::support::database::TestDatabase;
use crate::support::events::Events;
use crate::support::process::ServerProcess;
use crate::support::{EMAIL, PASSWORD, SECRET, SandboxServer, tokens};

fn database_with_a_user() -> Arc<TestDatabase> {
    let database = Arc::new(TestDatabase::new());
    actix_rt::System::new().block_on(async {
        let opened = Database::open(&database.url).await.unwrap();
        admin::add(&opened, EMAIL, "Ann", PASSWORD, 1, &Clock::system()).await.unwrap();
    });
    database
}

/// Sends a GET with these header lines.
fn get_with(client: Client, target: &str, headers: &str) -> crate::support::response::Response {
    client.request(format!("GET {target} HTTP/1.1\r\nHost: t\r\n{headers}\r\n").as_bytes())
}

/// Returns the lines with this request id, after the line of the request itself.
fn lines_of(server: &ServerProcess, id: &str) -> Vec<Value> {
    server.line(0, |line| line["message"] == "request" && line["request_id"] == id);
    // Other lines of a request follow its own at once; the line of the next request follows all of them.
    get_with(server.client(), "/callConfig", &format!("X-Request-Id: after.{id}\r\n"));
    server.line(0, |line| line["request_id"] == format!("after.{id}"));
    server.lines(0, |line| line["request_id"] == id)
}

#[test]
fn request_is_logged_in_one_line() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::start(&sandbox.base_url, &[]);
    let user = format!("Authorization: Bearer {}\r\nX-Request-Id: one\r\n", tokens::user());
    get_with(server.client(), "/callCatchUp/r%201?token=canary", &user).data();
    let lines = lines_of(&server, "one");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = &lines[0];
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&"GET".into(), &"/callCatchUp/r%201".into(), &200.into())
    );
    assert_eq!((&line["level"], &line["client"]), (&"INFO".into(), &"127.0.0.1".into()));
    assert!(line["ms"].as_f64().unwrap() > 0.0 && line["user"].is_string() && line["guest"].is_null(), "{line}");
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    assert!(humantime::parse_rfc3339(line["time"].as_str().unwrap()).is_ok());
    assert!(!line.to_string().contains("canary"), "{line}");

    let response = get_with(server.client(), "/nowhere", "");
    let line = server.line(0, |line| line["path"] == "/nowhere");
    assert_eq!(line["request_id"], response.header("x-request-id").unwrap());
    assert_eq!(line["request_id"], line["trace_id"], "an id of ours is the trace's");

    let traced = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let ids = [(); 2].map(|()| get_with(server.client(), "/traced", traced).header("x-request-id").unwrap().to_owned());
    assert_ne!(ids[0], ids[1], "two requests of one trace are two");
    for id in ids {
        assert_eq!(lines_of(&server, &id)[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}

#[test]
fn successful_probes_are_not_logged() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::start(&sandbox.base_url, &[("RUST_LOG", "info")]);
    for client in [server.client(), Client::new(server.management)] {
        client.get("/health/live", None).data();
        client.get("/health/ready", None).data();
    }
    server.client().get("/last", None);
    server.line(0, |line| line["path"] == "/last");
    assert_eq!(server.lines(0, |line| line["message"] == "request").len(), 1);
}

#[test]
fn disconnected_client_is_logged() {
    let script = Script::echo();
    script.catch_up("slow", Reply::hang());
    let sandbox = SandboxServer::start(script);
    let server = ServerProcess::start(&sandbox.base_url, &[("APP_ADMIN_CONTROL__TIMEOUT", "20s")]);
    let mut connection = server.client().connect();
    connection.send(&request("GET", b"/callCatchUp/slow", Some(&tokens::user())));
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).data();
    connection.reset();
    let line = server.line(0, |line| line["path"] == "/callCatchUp/slow");
    assert_eq!(line["status"], 499);
}

#[test]
fn security_event_is_logged_once_with_its_context() {
    let sandbox = SandboxServer::start(Script::echo());
    let settings = [("APP_SERVER__TRUSTED_PROXIES", "127.0.0.0/8")];
    let database = database_with_a_user();
    let mut server = ServerProcess::on(Arc::clone(&database), &sandbox.base_url, &settings);
    let client = server.client();
    let post = |id: &str, target: &str, body: &Value| {
        let headers = format!("Content-Type: application/json\r\nX-Forwarded-For: 192.0.2.7\r\nX-Request-Id: {id}\r\n");
        client.post_as(target, &headers, body.to_string().as_bytes())
    };
    let get = |id: &str, target: &str, token: &str| {
        let headers = format!("Authorization: Bearer {token}\r\nX-Forwarded-For: 192.0.2.7\r\nX-Request-Id: {id}\r\n");
        get_with(client, target, &headers)
    };
    let login = post("login", "/auth/login", &json!({"email": EMAIL, "password": PASSWORD})).data();
    let (user, token, refresh) = (&login["user"]["id"], login["token"].as_str().unwrap(), &login["refreshToken"]);
    post("failed", "/auth/login", &json!({"email": EMAIL, "password": "a wrong canary"})).assert_unauthorized("wrong");
    post("unknown", "/auth/login", &json!({"email": "no@example.com", "password": "wrong"})).assert_unauthorized("unknown");
    get("scope", "/callCatchUp/r2", &tokens::guest("r1")).assert_error(403, "Forbidden", "another room");
    get("rejected", "/callConfig", "a forged canary").assert_unauthorized("forged");
    get_with(client, "/callConfig", "X-Request-Id: none\r\n").assert_unauthorized("a missing token is no rejected one");
    post("logout", "/auth/logout", &json!({"refreshToken": refresh})).assert_success("null");
    post("again", "/auth/logout", &json!({"refreshToken": refresh})).assert_success("null");
    get("revoked", "/callConfig", token).assert_unauthorized("revoked");
    let refresh_with = |id: &str, token: &Value| post(id, "/auth/refresh", &json!({"refreshToken": token}));
    refresh_with("unknown-refresh", &json!("no such canary")).assert_unauthorized("no refresh token");
    refresh_with("revoked-refresh", refresh).assert_unauthorized("its session has ended");
    let spent = post("second", "/auth/login", &json!({"email": EMAIL, "password": PASSWORD})).data();
    refresh_with("refreshed", &spent["refreshToken"]).data();
    move_back_a_minute(&database, "spent_at");
    refresh_with("reused", &spent["refreshToken"]).assert_unauthorized("long after it was spent");
    while post("limited", "/auth/login", &json!({"email": EMAIL, "password": "wrong"})).status != 429 {}
    for (id, event, known) in [
        ("login", Some("login"), true),
        ("failed", Some("login-failed"), true),
        ("unknown", Some("login-failed"), false),
        ("scope", Some("access-denied"), false),
        ("rejected", Some("token-rejected"), false),
        ("none", None, false),
        ("logout", Some("logout"), true),
        ("again", None, false),
        ("revoked", Some("token-rejected"), true),
        ("unknown-refresh", Some("token-rejected"), false),
        ("revoked-refresh", Some("token-rejected"), false),
        ("second", Some("login"), true),
        ("refreshed", None, false),
        ("reused", Some("refresh-reused"), true),
    ] {
        let lines = lines_of(&server, id);
        let events: Vec<&Value> = lines.iter().filter(|line| line["event"].is_string()).collect();
        let expected: Vec<&str> = event.into_iter().collect();
        let names: Vec<&str> = events.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{id}");
        for line in events {
            assert_eq!(line["client"], "192.0.2.7", "{line}");
            assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
            assert_eq!(&line["user"] == user, known, "{line}");
        }
    }
    let denied = lines_of(&server, "scope");
    assert!(denied.iter().any(|line| line["reason"] == "room not permitted"), "{denied:?}");
    let limited = lines_of(&server, "limited");
    assert_eq!(limited.iter().filter(|line| line["event"] == "login-limited").count(), 1);
    let start = server.line(0, |line| line["event"] == "start");
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    server.signal("INT");
    server.exit();
    server.line(0, |line| line["event"] == "stop");
    for event in ["start", "stop"] {
        assert_eq!(server.lines(0, |line| line["event"] == event).len(), 1, "{event}");
    }
}

#[test]
fn security_event_is_logged_at_any_level() {
    let sandbox = SandboxServer::start(Script::echo());
    for (level, access) in [("off", "true"), ("warn", "true"), ("trace", "false")] {
        // Without the line that says where it listens, the test would not find the server.
        let filter = format!("{level},proconf_app_server::audit=off,proconf_app_server::app=info");
        let settings = [("RUST_LOG", filter.as_str()), ("APP_LOG__ACCESS", access)];
        let mut server = ServerProcess::on(database_with_a_user(), &sandbox.base_url, &settings);
        let client = server.client();
        client.log_in(EMAIL, PASSWORD).data();
        client.log_in(EMAIL, "a wrong canary").assert_unauthorized("wrong");
        client.get("/callConfig", Some("a forged canary")).assert_unauthorized("forged");
        client.get("/callCatchUp/r2", Some(&tokens::guest("r1"))).assert_error(403, "Forbidden", "another room");
        let ticket = client.post_with("/auth/streamticket", &tokens::guest("r1"), r#"{"room":"r1"}"#).data();
        let target = format!("/callCatchUp/r1/live?ticket={}", ticket.as_str().unwrap());
        drop(Events::open(server.address, &target, ""));
        client.get(&target, None).assert_unauthorized("used before");
        server.signal("INT");
        server.exit();
        for event in ["login", "login-failed", "token-rejected", "access-denied"] {
            server.line(0, |line| line["event"] == event);
        }
        server.line(0, |line| line["reason"] == "used before");
        let requests = server.lines(0, |line| line["message"] == "request");
        assert_eq!(requests, [Value::Null; 0], "{settings:?}");
    }
}

/// Moves the times in a column of the refresh tokens back by a minute, in the database.
fn move_back_a_minute(database: &TestDatabase, column: &str) {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("UPDATE refresh_tokens SET {column} = {column} - 60000"));
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    });
}

#[test]
fn client_input_cannot_forge_or_inflate_a_line() {
    let sandbox = SandboxServer::start(Script::echo());
    let server = ServerProcess::start(&sandbox.base_url, &[]);
    let (client, user) = (server.client(), tokens::user());
    let long = "x".repeat(7000);
    for target in [
        "/callCatchUp/%0d%0a%7b%22message%22%3a%22forged%22%7d",
        "/callCatchUp/%1b%5b2Jforged",
        "/callCatchUp/%00forged",
        "/callCatchUp/%e2%80%a8forged",
        "/\"forged\\",
        &format!("/{long}"),
    ] {
        client.get(target, Some(&user));
    }
    get_with(client, "/a", "X-Request-Id: \"},{\"message\":\"forged\"\r\nUser-Agent: \u{9b}2J forged\r\n");
    get_with(client, "/b", &format!("traceparent: forged\ttext\r\ntracestate: {long}\r\n"));
    let body = json!({"email": "a\r\n\u{1b}forged@example.com", "password": long}).to_string();
    client.post("/auth/login", &body);
    client.get("/last", None);
    server.line(0, |line| line["path"] == "/last");
    // A line that is not JSON is a string here.
    for line in server.lines(0, |_| true) {
        assert!(line["message"].is_string(), "{line}");
        assert_ne!(line["message"], "forged");
        assert!(line.to_string().len() < 2000, "{line}");
        for (name, value) in line.as_object().unwrap() {
            let text = value.as_str().unwrap_or_default();
            assert!(!text.contains(char::is_control), "{name}: {line}");
        }
    }
    assert_eq!(server.lines(0, |line| line["message"] == "request").len(), 10);
}

#[test]
fn log_metrics_and_command_line_hold_no_secret() {
    const CATCH_UP: &str = "a catch-up that is a canary";
    let script = Script::echo();
    script.catch_up("r1", Reply::data(&format!("{CATCH_UP:?}")));
    script.catch_up("bad", Reply::body(500, CATCH_UP));
    script.catch_up("odd", Reply::body(200, &format!("<html>{CATCH_UP}")));
    let sandbox = SandboxServer::start(script);
    let settings = [
        ("APP_ADMIN_CONTROL__AUTHORIZATION", "Bearer canary-of-admin-control"),
        ("APP_AUTH__PREVIOUS_JWT_SECRETS", "a canary: another secret of thirty-two bytes or more"),
        ("APP_SUMMARIES__URL", "s3://bucket/prefix"),
        ("AWS_ACCESS_KEY_ID", "canary-key-id"),
        ("AWS_SECRET_ACCESS_KEY", "canary-key"),
        ("AWS_SESSION_TOKEN", "canary-session"),
        ("AWS_ENDPOINT", "http://127.0.0.1:1"),
        ("RUST_LOG", "trace"),
    ];
    let database = database_with_a_user();
    let server = ServerProcess::on(Arc::clone(&database), &sandbox.base_url, &settings);
    let client = server.client();
    let command = |arguments: &[&str], password: &str| manage(&database, arguments, password);
    assert_eq!(
        command(&["add", "--email", "bo@example.com", "--name", "Bo", "--password-stdin"], "a canary of a password, new"),
        ""
    );
    assert_eq!(
        command(&["set-password", "--email", "bo@example.com", "--password-stdin"], "another canary of a password"),
        ""
    );
    assert!(command(&["set-password", "--email", "bo@example.com", "--password-stdin"], "canary").contains("too short"));
    for arguments in [["disable", "--email", "bo@example.com"], ["enable", "--email", "bo@example.com"]] {
        assert_eq!(command(&arguments, ""), "");
    }
    let login = client.log_in(EMAIL, PASSWORD).data();
    let (token, refresh) = (login["token"].as_str().unwrap().to_owned(), login["refreshToken"].as_str().unwrap().to_owned());
    let guest = client.get("/auth/joinmember?roomName=r1", None).data().as_str().unwrap().to_owned();
    let refreshed = client.post("/auth/refresh", &json!({"refreshToken": refresh}).to_string()).data();
    client.log_in(EMAIL, "a wrong canary");
    client.post("/auth/login", r#"{"password":"a malformed canary"#);
    let token_request = json!({"role": "member", "room": "r1", "participantName": "a canary's name"}).to_string();
    let issued = client.post_with("/proconfToken", &token, &token_request);
    for room in ["r1", "bad", "odd"] {
        client.get(&format!("/callCatchUp/{room}?token={token}&password=canary"), Some(&token));
    }
    for target in ["/callConfig", "/callStatus/r1", "/callSummary/r1", "/meetings", "/openapi.json", "/docs"] {
        client.get(target, Some(&token));
        client.get(target, Some(&guest));
    }
    let ticket = client.post_with("/auth/streamticket", &token, r#"{"room":"r1"}"#).data();
    let ticket = ticket.as_str().unwrap().to_owned();
    for (target, headers) in [
        (format!("/callCatchUp/r1/live?ticket={ticket}"), String::new()),
        ("/callCatchUp/r1/live".to_owned(), format!("Authorization: Bearer {token}\r\n")),
    ] {
        let mut events = Events::open(server.address, &target, &headers);
        assert!(events.next().unwrap().data.unwrap().contains(CATCH_UP));
    }
    client.get(&format!("/callCatchUp/r1/live?ticket={ticket}"), None).assert_unauthorized("a ticket that was used");
    get_with(client, "/callConfig", "Authorization: Basic canary\r\nCookie: session=canary\r\n");
    client.get("/callConfig", Some("a forged canary"));
    client.post("/auth/logout", &json!({"refreshToken": refreshed["refreshToken"]}).to_string());
    client.get("/last", None);
    server.line(0, |line| line["path"] == "/last");
    let log = server.lines(0, |_| true).iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let metrics = Client::new(server.management).get("/metrics", None).text().to_owned();
    assert!(log.lines().count() > 20, "{log}");
    for secret in [
        SECRET,
        "canary",
        &token,
        &refresh,
        &guest,
        &ticket,
        refreshed["token"].as_str().unwrap(),
        refreshed["refreshToken"].as_str().unwrap(),
        issued.data().as_str().unwrap_or("no token"),
        &tokens::b64(SECRET),
        "INSERT",
        "SELECT",
        "argon2id",
    ] {
        for (place, text) in [("log", &log), ("metrics", &metrics), ("command line", &server.command_line())] {
            assert!(!text.contains(secret), "{secret} is in the {place}:\n{text}");
        }
    }
}

#[test]
fn lines_logged_right_before_exit_are_written() {
    let sandbox = SandboxServer::start(Script::echo());
    for _ in 0..5 {
        let mut server = ServerProcess::start(&sandbox.base_url, &[]);
        server.signal("INT");
        assert_eq!(server.exit().0, 0);
        server.line(0, |line| line["message"] == "stopping");
    }
}

/// Runs a `user` command during a running server; returns its standard error.
fn manage(database: &TestDatabase, arguments: &[&str], password: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
    command.arg("user").args(arguments).env_clear();
    command.envs([("APP_DATABASE__URL", database.url.as_str()), ("RUST_LOG", "trace")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // A command without a password ends without reading.
    let _ = child.stdin.take().unwrap().write_all(password.as_bytes());
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(!said.contains("canary"), "{said}");
    said
}

/// A server process, of whose log only the first line is read, which has the address.
struct Unread {
    child: Child,
    address: SocketAddr,
    management: SocketAddr,
}

impl Unread {
    fn start(stderr: &str, base_url: &str, database: &TestDatabase) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, management) = (free(), free());
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" serve {stderr}"), env!("CARGO_BIN_EXE_proconf-app-server")]).env_clear();
        command.envs([
            ("APP_SERVER__LISTEN", address.to_string().as_str()),
            ("APP_MANAGEMENT__LISTEN", management.to_string().as_str()),
            ("APP_SERVER__WORKERS", "2"),
            ("APP_ADMIN_CONTROL__BASE_URL", base_url),
            ("APP_AUTH__JWT_SECRET", SECRET),
            ("APP_DATABASE__URL", database.url.as_str()),
            ("APP_SUMMARIES__URL", "s3://nowhere"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
        ]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(management).is_err() || TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "it does not start");
            std::thread::yield_now();
        }
        Self { child, address, management }
    }

    fn dropped(&self) -> f64 {
        let page = Client::new(self.management).get("/metrics", None);
        let line = page.text().lines().find_map(|line| line.strip_prefix("proconf_log_lines_dropped_total "));
        line.unwrap().parse().unwrap()
    }

    fn stop(mut self) -> i32 {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.child.wait().unwrap().code().expect("it ends by itself")
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn stalled_log_reader_drops_lines_and_delays_no_request() {
    let sandbox = SandboxServer::start(Script::echo());
    let database = TestDatabase::new();
    let mut server = Unread::start("", &sandbox.base_url, &database);
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let mut first = String::new();
    log.read_line(&mut first).unwrap();
    // From here on the pipe is open and not read.
    let path = format!("/{}", "x".repeat(900));
    let batch = request("GET", path.as_bytes(), None).repeat(50);
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut longest = Duration::ZERO;
    let mut connection = Client::new(server.address).connect();
    while server.dropped() < 1.0 {
        let started = Instant::now();
        connection.send(&batch);
        for _ in 0..50 {
            assert_eq!(connection.read().unwrap().status, 404);
        }
        longest = longest.max(started.elapsed());
        assert!(Instant::now() < deadline, "no line is ever dropped");
    }
    for _ in 0..10 {
        Client::new(server.address).get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
    }
    assert!(longest < Duration::from_secs(5), "{longest:?} for fifty requests");
    assert_eq!(server.stop(), 0, "it still ends at the shutdown signal");
    drop(log);
}

#[test]
fn closed_stderr_does_not_affect_requests() {
    let sandbox = SandboxServer::start(Script::echo());
    let database = TestDatabase::new();
    let mut server = Unread::start("2>&-", &sandbox.base_url, &database);
    let mut nothing = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut nothing).unwrap();
    assert_eq!(nothing, "");
    for _ in 0..20 {
        Client::new(server.address).get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
    }
    assert_eq!(server.stop(), 0);

    // A pipe whose reader has closed.
    let mut server = Unread::start("", &sandbox.base_url, &database);
    drop(server.child.stderr.take());
    while server.dropped() < 1.0 {
        Client::new(server.address).get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
    }
    assert_eq!(server.stop(), 0);
}
