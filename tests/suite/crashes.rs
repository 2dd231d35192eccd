//! The server killed during writes and started again: acknowledged writes survive and every session stays usable.
//!
//! docs/QA.md has the full size.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Script;
use serde_json::json;
use sqlx::{AnyConnection, Connection as _};

use crate::support::client::Client;
use crate::support::database::TestDatabase;
use crate::support::process::ServerProcess;
use crate::support::writers::{WriteOutcome, Writer, assert_nothing_lost, post};
use crate::support::{PASSWORD, SandboxServer, full_size, secrets};

const BINARY: &str = env!("CARGO_BIN_EXE_proconf-app-server");
const WRITERS: usize = 6;
/// The time until a server is ready again, in full size.
const READY_WITHIN: Duration = Duration::from_secs(2);

struct Size {
    rounds: usize,
    /// Writes that are acknowledged before the server is killed.
    writes: usize,
    /// Accounts that are there from the start.
    users: usize,
}

fn size() -> Size {
    if full_size() { Size { rounds: 50, writes: 440, users: 100_000 } } else { Size { rounds: 5, writes: 40, users: 0 } }
}

/// Adds accounts and changes a password from the command line. Its processes are killed too.
struct Operator {
    url: String,
    added: Vec<String>,
    /// The number of passwords so far; each is used once.
    passwords: usize,
    /// The current password, and an unacknowledged one.
    password: String,
    unacknowledged: Option<String>,
}

impl Operator {
    const EMAIL: &str = "changing@example.com";

    /// Writes until `done`; returns the number of acknowledged writes.
    fn work(&mut self, done: &AtomicBool) -> usize {
        let mut acknowledged = 0;
        while !done.load(Ordering::SeqCst) {
            let email = format!("added{}@example.com", self.added.len());
            if self.command(&["add", "--email", &email, "--name", "Added"], PASSWORD, done) {
                self.added.push(email);
                acknowledged += 1;
            }
            self.passwords += 1;
            let next = format!("a changed horse, a changed battery {}", self.passwords);
            if self.command(&["set-password", "--email", Self::EMAIL], &next, done) {
                self.password = next;
                acknowledged += 1;
            } else {
                self.unacknowledged = Some(next);
            }
        }
        acknowledged
    }

    /// Runs a command; returns whether it was acknowledged.
    fn command(&self, arguments: &[&str], password: &str, done: &AtomicBool) -> bool {
        let mut command = user(&self.url, arguments, password);
        loop {
            match command.try_wait().unwrap() {
                // An existing account was added by a command that was killed.
                Some(status) => return status.success() || arguments[0] == "add" && !done.load(Ordering::SeqCst),
                None if done.load(Ordering::SeqCst) => {
                    command.kill().unwrap();
                    // It may have finished first.
                    return command.wait().unwrap().success();
                }
                None => std::thread::park_timeout(Duration::from_millis(2)),
            }
        }
    }

    /// Asserts that exactly one of the possible passwords works.
    fn assert_usable(&mut self, client: Client, from: &str) {
        let can_log_in = |password: &str| {
            let body = json!({"email": Self::EMAIL, "password": password});
            client.request(&post("login", &body, from)).status == 200
        };
        match self.unacknowledged.take() {
            None => assert!(can_log_in(&self.password), "the acknowledged password works"),
            Some(unacknowledged) => {
                let (old, new) = (can_log_in(&self.password), can_log_in(&unacknowledged));
                assert!(old != new, "one password: {old}, {new}");
                if new {
                    self.password = unacknowledged;
                }
            }
        }
    }
}

fn user(url: &str, arguments: &[&str], password: &str) -> Child {
    use std::io::Write as _;
    secrets::register_phrase(password);
    let mut command = Command::new(BINARY);
    command.arg("user").args(arguments).arg("--password-stdin").env_clear().env("APP_DATABASE__URL", url);
    command.current_dir(std::env::temp_dir()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // It may have been killed before it reads.
    let _ = child.stdin.take().unwrap().write_all(password.as_bytes());
    child
}

async fn add_many(url: &str, users: usize) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    let sql = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {users}) \
         INSERT INTO users (id, email, name, password_hash, created_at) \
         SELECT 'many' || i, 'many' || i || '@example.com', 'One of many', 'x', 0 FROM n"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

/// A database with the accounts of the writers, the operator and, in full size, many others.
fn populated(size: &Size, writers: &[Writer]) -> Arc<TestDatabase> {
    let database = Arc::new(TestDatabase::new());
    for email in writers.iter().map(|writer| writer.email.as_str()).chain([Operator::EMAIL]) {
        let mut added = user(&database.url, &["add", "--email", email, "--name", "A Writer"], PASSWORD);
        assert!(added.wait().unwrap().success());
    }
    if size.users > 0 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(add_many(&database.url, size.users));
    }
    database
}

#[test]
fn acknowledged_writes_survive_repeated_kills() {
    let size = size();
    let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(number, PASSWORD)).collect();
    let database = populated(&size, &writers);
    let url = database.url.clone();
    let sandbox = SandboxServer::start(Script::echo());
    let settings = [("APP_SERVER__TRUSTED_PROXIES", "127.0.0.0/8"), ("RUST_LOG", "info")];
    let mut operator =
        Operator { url: url.clone(), added: vec![], passwords: 0, password: PASSWORD.to_owned(), unacknowledged: None };
    let (mut of_operator, mut done_without_response, mut slowest) = (0, 0, Duration::ZERO);
    for round in 0..=size.rounds {
        let started = Instant::now();
        let mut server = ServerProcess::on(Arc::clone(&database), &sandbox.base_url, &settings);
        let client = server.client();
        client.get("/health/ready", None).data();
        slowest = slowest.max(started.elapsed());
        // An interrupted login may count for a while: each client has its own address.
        let from = |number: usize| format!("10.0.{round}.{number}");
        for (number, writer) in writers.iter_mut().enumerate() {
            writer.assert_usable(client, &from(number));
        }
        operator.assert_usable(client, &from(WRITERS));
        if round == size.rounds {
            break;
        }
        let (done, acknowledged_writes) = (AtomicBool::new(false), AtomicUsize::new(0));
        of_operator += std::thread::scope(|scope| {
            for (number, writer) in writers.iter_mut().enumerate() {
                let (mut connection, from, acknowledged_writes) = (client.connect(), from(number), &acknowledged_writes);
                scope.spawn(move || {
                    loop {
                        match writer.write(&mut connection, &from) {
                            WriteOutcome::Done => acknowledged_writes.fetch_add(1, Ordering::SeqCst),
                            WriteOutcome::NoResponse => return,
                            WriteOutcome::Failed(status) => panic!("{status}"),
                        };
                    }
                });
            }
            let operator = scope.spawn(|| operator.work(&done));
            let started = Instant::now();
            while acknowledged_writes.load(Ordering::SeqCst) < size.writes {
                assert!(started.elapsed() < Duration::from_mins(1), "too few writes within a minute");
                std::thread::yield_now();
            }
            server.kill();
            done.store(true, Ordering::SeqCst);
            operator.join().unwrap()
        });
        let tally = assert_nothing_lost(&url, &writers);
        assert!(operator.added.iter().all(|email| tally.emails.contains(email)), "each added account is in the database");
        done_without_response += tally.done_without_response;
    }
    let acknowledged = assert_nothing_lost(&url, &writers).acknowledged + of_operator;
    println!(
        "{acknowledged} writes were acknowledged in {} rounds, {of_operator} of them from the command line; \
         {done_without_response} refreshes took effect without a response; ready again within {slowest:?}",
        size.rounds
    );
    assert!(acknowledged >= size.rounds * size.writes, "{acknowledged}");
    if full_size() {
        assert!(acknowledged >= 20_000 && slowest < READY_WITHIN, "{acknowledged}, {slowest:?}");
    }
}
