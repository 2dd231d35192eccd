//! Parsers of values. Error messages say what a value must be, and never quote it.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::{Deref, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::redact::redact_url;
use super::{is_remote, secret_strength};
use crate::secret::{self, Secret};

/// Maximum duration, so that adding it to the current time does not overflow.
const MAX_DURATION: Duration = Duration::from_hours(100 * 365 * 24);

/// The minimum lengths of passwords: NIST SP 800-63B-4 requires 8 characters at least, and that 64 are accepted.
const MIN_PASSWORDS: RangeInclusive<usize> = 8..=64;

/// A list: an array in a file, comma-separated in a variable.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(try_from = "Elements", bound(deserialize = "T: FromStr<Err: fmt::Display>"))]
pub struct List<T>(Vec<T>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a list")]
enum Elements {
    Text(String),
    Array(Vec<String>),
}

impl<T: FromStr<Err: fmt::Display>> TryFrom<Elements> for List<T> {
    type Error = String;

    fn try_from(elements: Elements) -> Result<Self, String> {
        let elements = match elements {
            Elements::Text(text) => text.split(',').map(|element| element.trim().to_owned()).collect(),
            Elements::Array(elements) => elements,
        };
        if elements.iter().any(String::is_empty) {
            return Err("must have no empty element".to_owned());
        }
        elements
            .iter()
            .map(|element| element.parse().map_err(|problem: T::Err| problem.to_string()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl List<String> {
    pub(super) fn of<const N: usize>(elements: [&str; N]) -> Self {
        Self(elements.map(str::to_owned).into())
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// A URL that may hold a password, which is redacted in output.
#[derive(Clone)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Creates a URL.
    pub(crate) fn new(url: &str) -> Self {
        Self(url.to_owned())
    }

    /// Returns the URL with its password.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretUrl {
    type Err = &'static str;

    /// Parses the URL of a Redis or a sentinel.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_url(text, &["redis://", "rediss://"]).ok_or("must begin with redis://, or rediss:// for TLS")
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(&self.0))
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&redact_url(&self.0))
    }
}

/// An exact web origin: `https://app.example.com`.
#[derive(Debug, Clone, Serialize)]
pub struct Origin(pub String);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match url::Url::parse(text) {
            // The parser accepts a `*` in the host.
            Ok(url) if url.origin().ascii_serialization() == text && text.starts_with("http") && !text.contains('*') => {
                Ok(Self(text.to_owned()))
            }
            _ => Err("must be exact origins, such as https://app.example.com: no wildcard, no path and no default port"),
        }
    }
}

/// Whether a guest needs an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InvitationPolicy {
    /// The name of a room is enough.
    Optional,
    /// A guest without one is rejected.
    Required,
}

/// Source of users' names in calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NameSource {
    /// The client's choice.
    Client,
    /// The account, or the identity provider.
    Account,
}

/// Mode of a connection pooler in front of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooler {
    /// There is none, or one in session mode.
    None,
    /// Each transaction has another session, as in `PgBouncer`'s transaction mode.
    Transaction,
}

/// Which rooms users may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomAccessMode {
    /// Every room.
    All,
    /// The rooms in a claim of the identity provider's token.
    Claim,
    /// What a webhook allows.
    Webhook,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text, for a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// Declares functions for serde's `deserialize_with`, each with a parser of strings.
macro_rules! parsed_by {
    ($($name:ident: $kind:ty = $parse:expr;)*) => {
        $(pub(super) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
            let parse: fn(&str) -> Result<$kind, &'static str> = $parse;
            parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
        })*
    };
}

parsed_by! {
    // Zero or longer.
    duration: Duration = |text| parse_duration(text, Duration::ZERO);
    positive_duration: Duration = |text| parse_duration(text, Duration::from_nanos(1));
    // Lifetimes of tokens count in seconds.
    whole_seconds: Duration = |text| parse_duration(text, Duration::from_secs(1));
    up_to_a_minute: Duration = |text| match parse_duration(text, Duration::ZERO)? {
        long if long > Duration::from_mins(1) => Err("must be 60s or shorter"),
        duration => Ok(duration),
    };
    base_url: String = parse_base_url;
    header_value: Option<Secret> = |text| is_printable(text).then(|| Some(Secret::new(text))).ok_or("must be printable ASCII");
    min_password: NonZeroUsize = |text| {
        let number = text.parse().ok().filter(|number: &NonZeroUsize| MIN_PASSWORDS.contains(&number.get()));
        number.ok_or("must be a number from 8 to 64")
    };
    jwt_secret: Secret = |text| secret_strength::check(text).map(|()| Secret::new(text));
    database_url: SecretUrl = |text| {
        parse_url(text, &["sqlite://", "postgres://", "postgresql://"])
            .ok_or("must be sqlite:// with a file's path, or postgres://")
    };
    redis_url: Option<SecretUrl> = |text| text.parse().map(Some);
    origin: Option<Origin> = |text| text.parse().map(Some);
    // PostgreSQL would cut a longer name, and replace other characters.
    application_name: String = |text| {
        let is_valid = text.len() <= 63 && is_printable(text);
        if is_valid { Ok(text.to_owned()) } else { Err("must be at most 63 characters of printable ASCII") }
    };
    https_url: Option<SecretUrl> = |text| parse_https_url(text).map(|url| Some(SecretUrl::new(url.as_str())));
    issuer: Option<String> = |text| {
        let url = parse_https_url(text)?;
        // The parser skips blanks and control characters.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && url.query().is_none() && url.fragment().is_none();
        if is_plain { Ok(Some(text.to_owned())) } else { Err("must have no blank, no query and no fragment") }
    };
    webhook_secret: Option<Secret> = |text| secret::decode_webhook_secret(text).map(|_| Some(Secret::new(text)))
        .ok_or("must be whsec_ and 24 to 64 random bytes in base64");
    store_url: SecretUrl = |text| {
        parse_url(text, &["file://", "s3://", "gs://", "az://"])
            .ok_or("must be file:// with a folder's path, or s3://bucket/prefix")
    };
    proxy_url: Option<SecretUrl> = |text| {
        let is_proxy = |url: url::Url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/";
        let is_valid = url::Url::parse(text).is_ok_and(is_proxy);
        let problem = "must be a URL like http://[user:password@]host:port";
        if is_valid { Ok(Some(SecretUrl::new(text))) } else { Err(problem) }
    };
}

impl FromStr for Secret {
    type Err = &'static str;

    /// Parses an element of a list of secrets that sign tokens.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        secret_strength::check(text).map(|()| Self::new(text))
    }
}

fn parse_url(text: &str, schemes: &[&str]) -> Option<SecretUrl> {
    let known = schemes.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    known.then(|| SecretUrl::new(text))
}

/// Parses an `https` URL, or an `http` one to this machine.
fn parse_https_url(text: &str) -> Result<url::Url, &'static str> {
    let is_safe = |url: &url::Url| match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => true,
        ("http", Some(host)) => !is_remote(host),
        _ => false,
    };
    let has_credentials = |url: &url::Url| !url.username().is_empty() || url.password().is_some();
    let url = url::Url::parse(text).ok().filter(|url| is_safe(url) && !has_credentials(url));
    url.ok_or("must be an https:// URL, or http:// to a loopback address, without user name and password")
}

fn parse_duration(text: &str, min: Duration) -> Result<Duration, &'static str> {
    let duration = humantime::parse_duration(text).map_err(|_| "must be a number with ms, s, m, h or d, such as 30s")?;
    match duration {
        long if long > MAX_DURATION => Err("must be less than 100 years"),
        short if short < min && min == Duration::from_secs(1) => Err("must be 1s or longer"),
        short if short < min => Err("must be longer than zero"),
        duration => Ok(duration),
    }
}

/// Returns whether a text is printable ASCII, and so a header's value.
pub(super) fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Normalises Admin Control's base URL and removes the slash at its end.
pub(super) fn parse_base_url(text: &str) -> Result<String, &'static str> {
    let url = url::Url::parse(text).map_err(|_| "must be a URL, such as https://admin.example.com/api")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with http:// or https:// and a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold no user name or password; APP_ADMIN_CONTROL__AUTHORIZATION is for that");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have no query and no fragment");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Serialises a duration in the format that is parsed.
pub(super) fn format_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}
