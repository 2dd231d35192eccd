//! Clients that record which writes were acknowledged, and a check that the database has all of them.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};

use super::client::{Client, Connection};
use super::response::Response;

/// The number of requests from a login to the logout.
const SESSION_LENGTH: usize = 25;

/// A client with its acknowledged and unacknowledged writes.
pub struct Writer {
    pub email: String,
    password: String,
    /// The current refresh token.
    token: Option<String>,
    /// The last write, if it failed or got no response: it may have taken effect.
    unknown: Option<Write>,
    requests: usize,
    issued: Vec<String>,
    spent: Vec<String>,
    ended: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Write {
    LogIn,
    Refresh,
    LogOut,
}

/// The outcome of a write.
#[derive(PartialEq, Debug)]
pub enum WriteOutcome {
    Done,
    /// With this status.
    Failed(u16),
    /// The connection ended.
    NoResponse,
}

impl Writer {
    pub fn new(number: usize, password: &str) -> Self {
        let (email, password) = (format!("writer{number}@example.com"), password.to_owned());
        Self { email, password, token: None, unknown: None, requests: 0, issued: vec![], spent: vec![], ended: vec![] }
    }

    /// Makes the next write from the client address `from`.
    pub fn write(&mut self, connection: &mut Connection, from: &str) -> WriteOutcome {
        self.requests += 1;
        if self.unknown.take() == Some(Write::LogOut) {
            // The session has ended or is abandoned.
            self.token = None;
        }
        let write = match &self.token {
            None => Write::LogIn,
            Some(_) if self.requests.is_multiple_of(SESSION_LENGTH) => Write::LogOut,
            Some(_) => Write::Refresh,
        };
        let token = self.token.clone().unwrap_or_default();
        let (route, body) = match write {
            Write::LogIn => ("login", json!({"email": self.email, "password": self.password})),
            Write::Refresh => ("refresh", json!({"refreshToken": token})),
            Write::LogOut => ("logout", json!({"refreshToken": token})),
        };
        connection.send(&post(route, &body, from));
        match connection.read() {
            Some(response) if response.status < 500 => {
                self.record(write, token, &response);
                WriteOutcome::Done
            }
            other => {
                self.unknown = Some(write);
                other.map_or(WriteOutcome::NoResponse, |response| WriteOutcome::Failed(response.status))
            }
        }
    }

    fn record(&mut self, write: Write, token: String, response: &Response) {
        let mut data = response.data();
        match write {
            Write::LogOut => {
                self.ended.push(token);
                self.token = None;
            }
            Write::LogIn | Write::Refresh => {
                if write == Write::Refresh {
                    self.spent.push(token);
                }
                let next: String = serde_json::from_value(data["refreshToken"].take()).unwrap();
                self.issued.push(next.clone());
                self.token = Some(next);
            }
        }
    }

    /// Asserts that its refresh token still works, whether or not the last write took effect.
    pub fn assert_usable(&mut self, client: Client, from: &str) {
        let may_have_ended = self.unknown.take() == Some(Write::LogOut);
        match self.token.take() {
            Some(token) if !may_have_ended => {
                let response = client.request(&post("refresh", &json!({"refreshToken": token}), from));
                self.record(Write::Refresh, token, &response);
            }
            _ => {}
        }
    }
}

/// Builds a `POST /auth/…` from the client address `from`, behind a proxy.
pub fn post(route: &str, body: &Value, from: &str) -> Vec<u8> {
    let body = body.to_string();
    let head = "Host: t\r\nContent-Type: application/json";
    let length = body.len();
    format!("POST /auth/{route} HTTP/1.1\r\n{head}\r\nX-Forwarded-For: {from}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Totals over all writers.
pub struct Tally {
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Refreshes that took effect without a response.
    pub done_without_response: usize,
    /// All accounts.
    pub emails: HashSet<String>,
}

/// Asserts that every acknowledged write is in the database and none is there in part.
#[track_caller]
pub fn assert_nothing_lost(url: &str, writers: &[Writer]) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (tokens, emails) = runtime.block_on(tokens_and_emails(url));
    let find = |token: &String| *tokens.get(&hash(token)).expect("each issued token is in the database");
    let mut tally = Tally { acknowledged: 0, done_without_response: 0, emails };
    for writer in writers {
        for token in &writer.issued {
            find(token);
        }
        assert!(writer.spent.iter().all(|token| find(token).0), "spent tokens stay spent");
        assert!(writer.ended.iter().all(|token| find(token).1), "revoked sessions stay revoked");
        tally.acknowledged += writer.issued.len() + writer.ended.len();
        if let (Some(Write::Refresh), Some(token)) = (writer.unknown, &writer.token) {
            tally.done_without_response += usize::from(find(token).0);
        }
    }
    tally
}

/// By hash: whether it is spent, and whether its session was revoked.
type Tokens = HashMap<String, (bool, bool)>;

async fn tokens_and_emails(url: &str) -> (Tokens, HashSet<String>) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    if url.starts_with("sqlite:") {
        let integrity = connection.fetch_one("PRAGMA integrity_check").await.unwrap();
        assert_eq!(integrity.get::<String, _>(0), "ok");
    }
    let partial = "SELECT COUNT(*) FROM sessions s \
         WHERE (SELECT COUNT(*) FROM refresh_tokens t WHERE t.session_id = s.id AND t.spent_at IS NULL) <> 1";
    let partial: i64 = sqlx::query_scalar(partial).fetch_one(&mut connection).await.unwrap();
    assert_eq!(partial, 0, "each session has exactly one unspent token");
    let tokens = "SELECT t.hash, CASE WHEN t.spent_at IS NULL THEN 0 ELSE 1 END, CASE WHEN s.revoked_at IS NULL THEN 0 ELSE 1 END \
         FROM refresh_tokens t LEFT JOIN sessions s ON s.id = t.session_id";
    let tokens = connection.fetch_all(tokens).await.unwrap();
    let is = |row: &sqlx::any::AnyRow, at| i64::from(row.get::<i32, _>(at)) == 1;
    let tokens = tokens.iter().map(|row| (row.get(0), (is(row, 1), is(row, 2)))).collect();
    let emails: Vec<String> = sqlx::query_scalar("SELECT email FROM users").fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (tokens, emails.into_iter().collect())
}

fn hash(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
