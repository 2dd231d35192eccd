//! What was secret in the suite so far: every token, password, key and catch-up that a test sent, was given or configured. The log
//! of each server is searched for all of it when the server ends, and a hit fails the test that had the server.
//!
//! The clients here register what passes through them. Built servers run at `RUST_LOG=trace`; of those in this process every
//! record of the server's own is kept.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::Value as Json;

use super::SECRET;

/// Shorter than this, and it may be a word like any other.
const SHORTEST_WORD: usize = 40;
const SHORTEST_PHRASE: usize = 12;
/// What is looked for of a phrase, in characters: a log cuts what is long.
const LOOKED_FOR: usize = 100;
/// What is looked at of a message, in bytes; the rest is some long body.
const LOOKED_AT: usize = 16 * 1024;

#[derive(Default)]
struct Known {
    /// Rows of letters, digits, `-` and `_`: tokens, and signatures of tokens.
    words: HashSet<String>,
    /// Anything else, looked for as it is.
    phrases: BTreeSet<String>,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(|| {
    let phrases = BTreeSet::from([SECRET.to_owned(), super::tokens::b64(SECRET), "argon2id".to_owned()]);
    Mutex::new(Known { words: HashSet::new(), phrases })
});

/// The log of all servers in this process.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token, whole or its signature: where that is, the token is.
pub fn token(text: &str) {
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.len() >= SHORTEST_WORD && words(last).eq([last]) {
        lock(&KNOWN).words.insert(last.to_owned());
    }
}

/// A password, a key, or what somebody said.
pub fn phrase(text: &str) {
    let start: String = text.chars().take(LOOKED_FOR).collect();
    let letters: HashSet<char> = start.chars().filter(|letter| letter.is_alphanumeric()).collect();
    // One letter over and over is no secret, but the filling of something long.
    if start.len() >= SHORTEST_PHRASE && letters.len() > 1 {
        lock(&KNOWN).phrases.insert(start);
    }
}

/// What a server is configured with.
pub fn settings<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) {
    for (name, value) in settings {
        if ["SECRET", "SECRETS", "AUTHORIZATION", "KEY", "TOKEN"].iter().any(|end| name.ends_with(end)) {
            phrase(value);
        }
        if let Some((who, _)) = value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')) {
            phrase(who.split_once(':').map_or("", |(_, password)| password));
        }
    }
}

/// The bytes of a request.
pub fn sent(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LOOKED_AT)]);
    for after in text.split("Bearer ").skip(1) {
        token(after.split("\r\n").next().unwrap_or_default());
    }
    for after in text.split("ticket=").skip(1) {
        token(after.split([' ', '&']).next().unwrap_or_default());
    }
    if let Some(Ok(Json::Object(body))) = text.split("\r\n\r\n").nth(1).map(serde_json::from_str) {
        body.get("password").and_then(Json::as_str).map(phrase);
        body.get("refreshToken").and_then(Json::as_str).map(token);
    }
}

/// The body of an answer, or the data of an event.
pub fn received(body: &[u8]) {
    if body.len() > LOOKED_AT {
        return;
    }
    let Ok(Json::Object(mut body)) = serde_json::from_slice(body) else { return };
    let data = body.get_mut("data").map(Json::take);
    for name in ["token", "refreshToken"] {
        data.as_ref().and_then(|data| data[name].as_str()).map(token);
    }
    match data.as_ref().or(body.get("catchUp")).and_then(Json::as_str) {
        // What people said has blanks in it; a path in the log has none.
        Some(said) if said.contains(' ') => phrase(said),
        // And an answer that only repeats a long name is no token.
        Some(issued) if issued.split('.').count() == 3 => token(issued),
        Some(_) | None => {}
    }
}

/// Fails if a secret is in `log`. Nobody has to wait for the search: a client that did would be too slow for its server.
pub fn are_not_in(log: &str, whose: &str) {
    let candidates: HashSet<&str> = words(log).filter(|word| word.len() >= SHORTEST_WORD).collect();
    let (word, phrases) = {
        let known = lock(&KNOWN);
        (candidates.into_iter().find(|word| known.words.contains(*word)), known.phrases.iter().cloned().collect::<Vec<_>>())
    };
    let search = || AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(&phrases).unwrap();
    let phrase = || search().find(log).map(|found| &log[found.range()]);
    let Some(found) = word.or_else(phrase) else { return };
    if !std::thread::panicking() {
        let line = log.lines().find(|line| line.contains(found)).unwrap_or_default();
        panic!("a secret of the suite is in the log of {whose}: {found}\n{line}");
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')))
}

/// The log of the servers in this process from now on, searched when this is dropped.
pub struct Watched {
    from: usize,
}

impl Watched {
    pub fn start() -> Self {
        static LISTENING: Once = Once::new();
        LISTENING.call_once(|| {
            log::set_boxed_logger(Box::new(Kept)).unwrap();
            log::set_max_level(LevelFilter::Trace);
        });
        Self { from: lock(&LINES).len() }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let log = lock(&LINES)[self.from..].join("\n");
        are_not_in(&log, "the servers of this process");
    }
}

/// Keeps what the server says, and what others warn of.
struct Kept;

impl Log for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("proconf_app_server") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = Line(format!("{} {} {}", record.level(), record.target(), record.args()));
            let _ = record.key_values().visit(&mut line);
            lock(&LINES).push(line.0);
        }
    }

    fn flush(&self) {}
}

struct Line(String);

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let _ = write!(self.0, " {key}={value}");
        Ok(())
    }
}

#[test]
fn leaked_secret_is_found_in_a_log() {
    let signature = "kX9vQ2mZ7rT4wY8uB1nC5pL0kX9vQ2mZ7rT4wY8uB1n";
    sent(format!("GET / HTTP/1.1\r\nAuthorization: Bearer a.b.{signature}\r\n\r\n").as_bytes());
    sent(b"POST / HTTP/1.1\r\n\r\n{\"password\":\"a password of this very test\"}");
    received(br#"{"error":null,"data":"what was said in this very test"}"#);
    settings([("APP_DATABASE__URL", "postgres://ann:a-password-of-postgres@host/db")]);
    are_not_in("path=/callCatchUp/r%201 status=200 request_id=4bf92f3577b34da6a3ce929d0e0e4736", "a test");
    for leak in [
        &format!("token=\"a.b.{signature}\""),
        "{\"message\":\"a password of this very test\"}",
        "cause=what was said in this very test",
        "postgres://ann:a-password-of-postgres@host/db",
        SECRET,
    ] {
        let found = std::panic::catch_unwind(|| are_not_in(leak, "a test"));
        assert!(found.is_err(), "{leak}");
    }
}
