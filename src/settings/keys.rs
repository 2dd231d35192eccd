//! THE TABLE of settings: every key, its default, what its value must be. `.env.example` says the same to people, and a test
//! holds the two together.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::room::NameComparison;

use super::values::{
    BaseUrl, DatabaseUrl, LogFormat, Origin, PossiblyNone, Setting, SharedUrl, are, are_strong, is, is_seconds, is_strong,
    is_url_of, is_workers,
};

/// One setting.
pub(super) struct Key {
    /// The environment variable; in a file, `APP_SERVER__LISTEN` is `listen` in `[server]`.
    pub(super) name: &'static str,
    /// What counts if no layer gives a value.
    pub(super) default: Option<&'static str>,
    /// Whether it is a list, whose elements have commas between; a file may have an array.
    pub(super) list: bool,
    /// Whether `serve` refuses to start without it.
    pub(super) required: bool,
    /// How its value may be shown.
    pub(super) shown: Shown,
    /// A good value, for messages.
    pub(super) example: &'static str,
    /// Whether a text is a value.
    pub(super) check: fn(&str) -> Result<(), &'static str>,
}

const fn optional(name: &'static str, default: &'static str, check: fn(&str) -> Result<(), &'static str>) -> Key {
    Key { name, default: Some(default), list: false, required: false, shown: Shown::Plain, example: default, check }
}

const fn without_default(name: &'static str, example: &'static str, check: fn(&str) -> Result<(), &'static str>) -> Key {
    Key { name, default: None, list: false, required: false, shown: Shown::Plain, example, check }
}

const fn required(name: &'static str, example: &'static str, check: fn(&str) -> Result<(), &'static str>) -> Key {
    Key { required: true, ..without_default(name, example, check) }
}

const fn many(mut key: Key) -> Key {
    key.list = true;
    key
}

/// How a value may be shown.
#[derive(Clone, Copy)]
pub(super) enum Shown {
    /// As it is.
    Plain,
    /// Not at all.
    Secret,
    /// Without the password that may be in it.
    Url,
}

const fn shown(shown: Shown, mut key: Key) -> Key {
    key.shown = shown;
    key
}

/// Every setting, in the order of `.env.example`.
pub(super) const KEYS: &[Key] = &[
    optional("APP_SERVER__LISTEN", "127.0.0.1:8080", is::<SocketAddr>),
    without_default("APP_SERVER__WORKERS", "4", is_workers),
    optional("APP_SERVER__MAX_CONNECTIONS", "25000", is::<usize>),
    optional("APP_SERVER__MAX_IN_FLIGHT", "5000", is::<usize>),
    optional("APP_SERVER__REQUEST_TIMEOUT", "30s", is::<Duration>),
    optional("APP_SERVER__KEEP_ALIVE", "75s", is::<Duration>),
    optional("APP_SERVER__DRAIN_FOR", "5s", is::<PossiblyNone>),
    optional("APP_SERVER__SHUTDOWN_TIMEOUT", "30s", is::<Duration>),
    many(without_default("APP_SERVER__TRUSTED_PROXIES", "10.0.0.0/8", are::<IpNet>)),
    many(without_default("APP_SERVER__CORS_ORIGINS", "https://app.example.com", are::<Origin>)),
    optional("APP_MANAGEMENT__LISTEN", "127.0.0.1:9090", is::<SocketAddr>),
    required("APP_ADMIN_CONTROL__BASE_URL", "https://admin.example.com/api", is::<BaseUrl>),
    optional("APP_ADMIN_CONTROL__TIMEOUT", "15s", is::<Duration>),
    optional("APP_ADMIN_CONTROL__CONNECT_TIMEOUT", "1s", is::<Duration>),
    optional("APP_ADMIN_CONTROL__MAX_BODY_BYTES", "4194304", is::<usize>),
    optional("APP_ADMIN_CONTROL__MAX_IN_FLIGHT", "512", is::<usize>),
    shown(Shown::Secret, without_default("APP_ADMIN_CONTROL__AUTHORIZATION", "\"Bearer …\"", is_header_value)),
    shown(Shown::Secret, required("APP_AUTH__JWT_SECRET", "\"$(openssl rand -base64 48)\"", is_strong)),
    many(shown(Shown::Secret, without_default("APP_AUTH__PREVIOUS_JWT_SECRETS", "\"an earlier secret\"", are_strong))),
    optional("APP_AUTH__TOKEN_TTL", "1h", is_seconds),
    optional("APP_AUTH__REFRESH_TTL", "30d", is_seconds),
    optional("APP_AUTH__ISSUER", "proconf-app-server", is::<String>),
    optional("APP_AUTH__AUDIENCE", "proconf-app-server", is::<String>),
    optional("APP_GUESTS__ENABLED", "true", is::<bool>),
    optional("APP_GUESTS__TOKEN_TTL", "4h", is_seconds),
    many(optional("APP_GUESTS__ROLES", "member", are::<String>)),
    optional("APP_USERS__MIN_PASSWORD", "15", is::<usize>),
    many(optional("APP_USERS__ROLES", "owner,moderator,member", are::<String>)),
    optional("APP_ROOMS__NAMES", "exact", is::<NameComparison>),
    shown(Shown::Url, optional("APP_DATABASE__URL", "sqlite://var/app.db", is::<DatabaseUrl>)),
    optional("APP_CATCH_UP__FRESH_FOR", "5s", is::<PossiblyNone>),
    optional("APP_CATCH_UP__STALE_IF_ERROR", "60s", is::<PossiblyNone>),
    optional("APP_CATCH_UP__MAX_BYTES", "67108864", is::<usize>),
    optional("APP_CATCH_UP__REASON", "true", is::<bool>),
    shown(Shown::Url, without_default("APP_CATCH_UP__SHARED", "redis://127.0.0.1:6379", is::<SharedUrl>)),
    optional("APP_LIVE__EVERY", "15s", is::<Duration>),
    optional("APP_LIVE__MAX_PER_CALLER", "10", is::<usize>),
    optional("APP_SUMMARIES__URL", "file://var/summaries", |text| is_url_of(&["file://", "s3://"], text)),
    optional("APP_LOG__FORMAT", "text", is::<LogFormat>),
];

impl Setting for NameComparison {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "exact" => Ok(Self::Exact),
            "jitsi" => Ok(Self::Jitsi),
            _ => Err("must be exact or jitsi"),
        }
    }
}

/// What can stand in a header without ending it.
fn is_header_value(text: &str) -> Result<(), &'static str> {
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if plain { Ok(()) } else { Err("must be printable ASCII") }
}
