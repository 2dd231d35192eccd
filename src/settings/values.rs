//! How each kind of value is written, and what is said of one that is not.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use crate::cache::redis;
use crate::db;
use crate::secret::Secret;

/// The largest number that means anything here.
const MAX_NUMBER: usize = u32::MAX as usize;
/// The most workers that actix-server starts.
const MAX_WORKERS: usize = 512;

/// The fewest bytes of a secret that signs tokens (RFC 7518 section 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// The fewest different characters of it: `aaaa…` and a row of blanks are long enough and still no secret.
const MIN_DIFFERENT: usize = 10;
/// As many decimal digits as are worth 32 bytes.
const DIGITS_OF_256_BITS: usize = 78;

/// One that is long enough, looks like none of the above, and is known to everybody: jwt.io's.
const KNOWN: &str = "a-string-secret-at-least-256-bits-long";

/// What is wrong with one key. Never quotes the value: it may be a secret, or hold one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    key: String,
    what: String,
    example: &'static str,
}

impl Problem {
    pub(super) fn unknown(key: &str) -> Self {
        Self { key: key.to_owned(), what: "is not a setting; .env.example lists them all".to_owned(), example: "" }
    }

    pub(super) fn missing(key: &str, example: &'static str) -> Self {
        Self { key: key.to_owned(), what: "is required".to_owned(), example }
    }

    pub(super) fn bad(key: &str, what: impl Into<String>, example: &'static str) -> Self {
        Self { key: key.to_owned(), what: what.into(), example }
    }

    /// Whether it is one of the key of this name.
    pub(super) fn is_of(&self, key: &str) -> bool {
        self.key == key
    }

    /// `.env`, or the environment, can't be read.
    #[must_use]
    pub fn of_environment(place: &str, what: &str) -> Self {
        Self { key: place.to_owned(), what: what.to_owned(), example: "" }
    }

    /// The setting `key` of `dev`, whose password is public, is not a loopback address.
    #[must_use]
    pub fn only_loopback_in_dev(key: &str) -> Self {
        Self::bad(key, "must be a loopback address with dev", "127.0.0.1:8080")
    }

    pub(super) fn of_file(file: &Path, what: &str) -> Self {
        Self { key: format!("--config {}", file.display()), what: format!("can't be read: {what}"), example: "" }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.what)?;
        if self.example.is_empty() { Ok(()) } else { write!(f, "; for example {}={}", self.key, self.example) }
    }
}

/// A kind of value.
pub(super) trait Setting: Sized {
    /// Reads it, or says what it must be.
    fn parse(text: &str) -> Result<Self, &'static str>;
}

/// The check of a key whose values are of kind `T`.
pub(super) fn is<T: Setting>(text: &str) -> Result<(), &'static str> {
    T::parse(text).map(|_| ())
}

/// The check of a key with a list of `T`.
pub(super) fn are<T: Setting>(text: &str) -> Result<(), &'static str> {
    list(text).try_for_each(|element| is::<T>(element))
}

/// The elements of a list: commas between, blanks around them dropped.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

impl Setting for SocketAddr {
    fn parse(text: &str) -> Result<Self, &'static str> {
        text.parse().map_err(|_| "must be an IP address and a port")
    }
}

impl Setting for usize {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text.parse() {
            Ok(number @ 1..=MAX_NUMBER) => Ok(number),
            _ => Err("must be a whole number from 1 to 4294967295"),
        }
    }
}

impl Setting for bool {
    fn parse(text: &str) -> Result<Self, &'static str> {
        text.parse().map_err(|_| "must be true or false")
    }
}

impl Setting for String {
    fn parse(text: &str) -> Result<Self, &'static str> {
        Ok(text.to_owned())
    }
}

impl Setting for Duration {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match PossiblyNone::parse(text)?.0 {
            Duration::ZERO => Err("must be longer than nothing"),
            duration => Ok(duration),
        }
    }
}

/// The check of a duration that ends up in a token: those count in seconds.
pub(super) fn is_seconds(text: &str) -> Result<(), &'static str> {
    if <Duration as Setting>::parse(text)? < Duration::from_secs(1) { Err("must be 1s or longer") } else { Ok(()) }
}

/// The check of a number of workers.
pub(super) fn is_workers(text: &str) -> Result<(), &'static str> {
    if <usize as Setting>::parse(text)? > MAX_WORKERS { Err("must be 512 or fewer") } else { Ok(()) }
}

/// A duration that may be `0s`.
pub(super) struct PossiblyNone(pub(super) Duration);

impl Setting for PossiblyNone {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let duration = humantime::parse_duration(text).map_err(|_| "must be a number with ms, s, m, h or d")?;
        // Added to the time of day, it must still be one.
        if duration > Duration::from_hours(100 * 365 * 24) { Err("must be less than 100 years") } else { Ok(Self(duration)) }
    }
}

/// A secret that signs tokens.
impl Setting for Secret {
    fn parse(text: &str) -> Result<Self, &'static str> {
        Ok(Self::new(text))
    }
}

/// The check of a secret that signs tokens.
pub(super) fn is_strong(text: &str) -> Result<(), &'static str> {
    if text.len() < MIN_SECRET_BYTES {
        return Err("must be 32 bytes or more");
    }
    if text.contains(',') || text != text.trim() {
        // Or it could not be listed as a previous one when its time has come.
        return Err("must have no comma, and no blank at its ends");
    }
    let mut different = text.as_bytes().to_vec();
    different.sort_unstable();
    different.dedup();
    if different.len() < MIN_DIFFERENT {
        return Err("must be random: too few different characters");
    }
    if text.len() < DIGITS_OF_256_BITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("must be random: so many digits alone are not enough");
    }
    if repeats_itself(text.as_bytes()) || is_a_row(text.as_bytes()) || text.eq_ignore_ascii_case(KNOWN) {
        return Err("must be random: it follows a pattern, or is an example that everybody knows");
    }
    Ok(())
}

/// Whether it is one piece over and over, the last time perhaps not all of it. The piece is at most half of it: chance makes no such
/// text.
fn repeats_itself(bytes: &[u8]) -> bool {
    (1..=bytes.len() / 2).any(|piece| bytes.get(piece..) == bytes.get(..bytes.len() - piece))
}

/// Whether most of its characters are neighbours of those before them, as in `abcd…` and `6543…`; of sixteen digits in a random
/// order one in six is.
fn is_a_row(bytes: &[u8]) -> bool {
    let neighbours = bytes.windows(2).filter(|pair| matches!(pair, [one, next] if one.abs_diff(*next) <= 1)).count();
    neighbours * 3 >= bytes.len() * 2
}

/// The check of secrets that signed tokens once, by the same rule: a token that anybody can make is worth nothing, however old.
pub(super) fn are_strong(text: &str) -> Result<(), &'static str> {
    list(text).try_for_each(is_strong)
}

/// Admin Control's base URL, normalised, without a slash at its end.
pub(super) struct BaseUrl(pub(super) String);

impl Setting for BaseUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let url = url::Url::parse(text).map_err(|_| "must be a URL")?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("must begin with http:// or https:// and a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must hold no user name or password; APP_ADMIN_CONTROL__AUTHORIZATION is for that");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must have no query and no fragment");
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

/// Where accounts are kept.
pub(super) struct DatabaseUrl;

impl Setting for DatabaseUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let in_memory = text.contains(":memory:") || text.contains("mode=memory");
        let of_sqlite = text.strip_prefix("sqlite://").is_some_and(|path| !path.is_empty()) && !in_memory;
        let of_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        if !of_sqlite && !of_postgres {
            return Err("must be sqlite:// with a file's path, or postgres://");
        }
        // Only then, so that what is said of it is about its kind.
        db::accepts(text).map(|()| Self)
    }
}

/// The Redis by which replicas share the cache.
pub(super) struct SharedUrl;

impl Setting for SharedUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Secret::new(text);
        redis::check_url(&url)
            .map(|()| Self)
            .map_err(|_| "must be a URL like redis://[user:password@]host:port[/database], or rediss:// for TLS")
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person at a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

impl Setting for LogFormat {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

/// A network: `10.0.0.0/8`.
impl Setting for IpNet {
    fn parse(text: &str) -> Result<Self, &'static str> {
        text.parse().map_err(|_| "must be networks with their prefix length")
    }
}

/// An exact web origin: `https://app.example.com`.
pub(super) struct Origin(pub(super) String);

impl Setting for Origin {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match url::Url::parse(text) {
            Ok(url) if url.origin().ascii_serialization() == text => Ok(Self(text.to_owned())),
            _ => Err("must be exact origins: scheme, host and, if not the usual one, port"),
        }
    }
}

/// A URL of one of the given kinds.
pub(super) fn is_url_of(schemes: &[&str], text: &str) -> Result<(), &'static str> {
    if schemes.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
        Ok(())
    } else {
        Err("must be a URL of a kind that is supported")
    }
}
