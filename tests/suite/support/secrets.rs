//! Leak check: no log may contain a secret of the suite.
//!
//! Clients and settings register every token, password, key and catch-up. The log of each server is searched when the server
//! stops; a match fails its test. Server processes run at `RUST_LOG=trace`; in-process servers log every record.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::Value as Json;

use super::SECRET;

/// Shorter ones may be ordinary words.
const SHORTEST_WORD: usize = 40;
const SHORTEST_PHRASE: usize = 12;
/// Characters of a phrase that are searched for: the log truncates long values.
const PHRASE_PREFIX: usize = 100;
/// Bytes of a message that are scanned.
const SCANNED_BYTES: usize = 16 * 1024;

#[derive(Default)]
struct RegisteredSecrets {
    /// Tokens and signatures: letters, digits, `-` and `_`.
    words: HashSet<String>,
    /// Other secrets, searched for verbatim.
    phrases: BTreeSet<String>,
}

static REGISTERED: LazyLock<Mutex<RegisteredSecrets>> = LazyLock::new(|| {
    let phrases = BTreeSet::from([SECRET.to_owned(), super::tokens::b64(SECRET), "argon2id".to_owned()]);
    Mutex::new(RegisteredSecrets { words: HashSet::new(), phrases })
});

/// The log of all servers in this process.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a token by its signature.
pub fn register_token(text: &str) {
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.len() >= SHORTEST_WORD && words(last).eq([last]) {
        lock(&REGISTERED).words.insert(last.to_owned());
    }
}

/// Registers a password, a key or a catch-up.
pub fn register_phrase(text: &str) {
    let start: String = text.chars().take(PHRASE_PREFIX).collect();
    let letters: HashSet<char> = start.chars().filter(|letter| letter.is_alphanumeric()).collect();
    // One repeated letter is filler, not a secret.
    if start.len() >= SHORTEST_PHRASE && letters.len() > 1 {
        lock(&REGISTERED).phrases.insert(start);
    }
}

/// Registers the secrets among these settings.
pub fn register_settings<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) {
    for (name, value) in settings {
        if ["SECRET", "SECRETS", "AUTHORIZATION", "KEY", "TOKEN"].iter().any(|end| name.ends_with(end)) {
            register_phrase(value);
        }
        if let Some((userinfo, _)) = value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')) {
            register_phrase(userinfo.split_once(':').map_or("", |(_, password)| password));
        }
    }
}

/// Registers the secrets in a request.
pub fn register_request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SCANNED_BYTES)]);
    for after in text.split("Bearer ").skip(1) {
        register_token(after.split("\r\n").next().unwrap_or_default());
    }
    for name in ["ticket=", "invitation="] {
        for after in text.split(name).skip(1) {
            register_token(after.split([' ', '&']).next().unwrap_or_default());
        }
    }
    if let Some(Ok(Json::Object(body))) = text.split("\r\n\r\n").nth(1).map(serde_json::from_str) {
        body.get("password").and_then(Json::as_str).map(register_phrase);
        body.get("refreshToken").and_then(Json::as_str).map(register_token);
    }
}

/// Registers the secrets in a response body or the data of an event.
pub fn register_response(body: &[u8]) {
    if body.len() > SCANNED_BYTES {
        return;
    }
    let Ok(Json::Object(mut body)) = serde_json::from_slice(body) else { return };
    let data = body.get_mut("data").map(Json::take);
    for name in ["token", "refreshToken", "invitation"] {
        data.as_ref().and_then(|data| data[name].as_str()).map(register_token);
    }
    match data.as_ref().or(body.get("catchUp")).and_then(Json::as_str) {
        // A catch-up contains blanks; a path in the log does not.
        Some(catch_up) if catch_up.contains(' ') => register_phrase(catch_up),
        // A response that repeats a long name is not a token.
        Some(token) if token.split('.').count() == 3 => register_token(token),
        Some(_) | None => {}
    }
}

/// Panics if a secret is in `log`. Registration is not blocked during the search.
pub fn assert_absent(log: &str, server: &str) {
    let candidates: HashSet<&str> = words(log).filter(|word| word.len() >= SHORTEST_WORD).collect();
    let (word, phrases) = {
        let registered = lock(&REGISTERED);
        (
            candidates.into_iter().find(|word| registered.words.contains(*word)),
            registered.phrases.iter().cloned().collect::<Vec<_>>(),
        )
    };
    let search = || AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(&phrases).unwrap();
    let phrase = || search().find(log).map(|found| &log[found.range()]);
    let Some(found) = word.or_else(phrase) else { return };
    if !std::thread::panicking() {
        let line = log.lines().find(|line| line.contains(found)).unwrap_or_default();
        panic!("a secret of the suite is in the log of {server}: {found}\n{line}");
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')))
}

/// Searches the log of in-process servers, from now on, when dropped.
pub struct LeakCheck {
    from: usize,
}

impl LeakCheck {
    pub fn start() -> Self {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            log::set_boxed_logger(Box::new(Collector)).unwrap();
            log::set_max_level(LevelFilter::Trace);
        });
        Self { from: lock(&LINES).len() }
    }
}

impl Drop for LeakCheck {
    fn drop(&mut self) {
        let log = lock(&LINES)[self.from..].join("\n");
        assert_absent(&log, "the servers of this process");
    }
}

/// Collects the records of the server, and warnings of other crates.
struct Collector;

impl Log for Collector {
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
    register_request(format!("GET / HTTP/1.1\r\nAuthorization: Bearer a.b.{signature}\r\n\r\n").as_bytes());
    register_request(b"POST / HTTP/1.1\r\n\r\n{\"password\":\"a password of this very test\"}");
    register_response(br#"{"error":null,"data":"what was said in this very test"}"#);
    register_settings([("APP_DATABASE__URL", "postgres://ann:a-password-of-postgres@host/db")]);
    assert_absent("path=/callCatchUp/r%201 status=200 request_id=4bf92f3577b34da6a3ce929d0e0e4736", "a test");
    for leak in [
        &format!("token=\"a.b.{signature}\""),
        "{\"message\":\"a password of this very test\"}",
        "cause=what was said in this very test",
        "postgres://ann:a-password-of-postgres@host/db",
        SECRET,
    ] {
        let found = std::panic::catch_unwind(|| assert_absent(leak, "a test"));
        assert!(found.is_err(), "{leak}");
    }
}
