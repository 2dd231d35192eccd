//! `api-key`: manages the API keys of the team's own backend.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;

use super::Error;
use crate::accounts::display_name;
use crate::auth::api_key;
use crate::clock::Clock;
use crate::db::ApiKeyRecord;
use crate::telemetry::escape;

/// The bounds of a key's lifetime.
const LIFETIMES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(100 * 365 * 24);
/// The part of a key's hash that is its id in the list.
const ID_LENGTH: usize = 12;

/// The subcommands of `api-key`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Adds a key and prints it; it can't be printed again
    Add {
        /// The name; a key and its successor may have the same
        #[arg(long)]
        name: String,
        /// The routes that the key opens
        #[arg(long, value_parser = [api_key::INVITATIONS])]
        scope: String,
        /// The lifetime, such as 90d; without it, the key does not expire
        #[arg(long, value_parser = lifetime)]
        expires: Option<Duration>,
    },
    /// Lists the keys: name, scope, state, id, and when it was added, expires and was last used (the day)
    List,
    /// Revokes all keys of a name, or one of them
    Revoke {
        /// The name
        #[arg(long)]
        name: String,
        /// The id in the list of the only key to revoke
        #[arg(long, default_value = "")]
        id: String,
    },
}

pub(super) fn run(config: Option<&Path>, command: Command) -> Result<(), Error> {
    super::with_database(config, async |database, _| {
        let clock = Clock::system();
        let now = clock.unix_milliseconds();
        Ok(match command {
            Command::Add { name, scope, expires } => {
                let key = api_key::add(&database, display_name::validate(&name)?, scope, expires, &clock).await?;
                format!("{key}\n")
            }
            Command::List => database.api_keys().await?.iter().map(|key| line(key, now)).collect(),
            Command::Revoke { name, id } => match database.revoke_api_keys(name.trim().to_owned(), id, now).await? {
                0 => return Err(Error::NoSuchApiKey),
                revoked => format!("revoked: {revoked}\n"),
            },
        })
    })
}

fn lifetime(text: &str) -> Result<Duration, &'static str> {
    let lifetime = humantime::parse_duration(text).ok().filter(|lifetime| LIFETIMES.contains(lifetime));
    lifetime.ok_or("it must be from 1s to 100 years, such as 90d")
}

/// Formats a key for the list.
fn line(key: &ApiKeyRecord, now: i64) -> String {
    let state = match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if at <= now => "expired",
        _ => "active",
    };
    let id: String = key.hash.chars().take(ID_LENGTH).collect();
    let [added, expires, last_used] = [Some(key.created_at), key.expires_at, key.last_used_at].map(format_time);
    let name = escape::field(&key.name);
    format!("{name}\t{}\t{state}\t{id}\t{added}\t{expires}\t{last_used}\n", key.scope)
}

/// Formats a time in milliseconds since 1970-01-01 UTC.
fn format_time(at: Option<i64>) -> String {
    let time = |at: i64| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at.unsigned_abs()));
    at.map_or("never".to_owned(), |at| time(at).to_string())
}
