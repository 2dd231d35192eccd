//! API keys of the team's own backend: random, stored as hashes, each for the routes of one scope.

use std::time::Duration;

use super::principal::{Credentials, Principal};
use crate::clock::{Clock, milliseconds};
use crate::db::{ApiKeyRecord, Database, Error};
use crate::secret;

/// The beginning of every key, by which scanners for secrets and `authenticate` recognise it.
pub(crate) const PREFIX: &str = "pas_";
/// The scope that opens the routes of invitations.
pub const INVITATIONS: &str = "invitations";

/// The precision of the last use, in milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Adds a key that expires after `ttl`, if ever; returns it. Only its hash is stored.
///
/// # Errors
///
/// [`Error::Failed`].
pub async fn add(
    database: &Database,
    name: String,
    scope: String,
    ttl: Option<Duration>,
    clock: &Clock,
) -> Result<String, Error> {
    let (key, created_at) = (format!("{PREFIX}{}", secret::random_secret()), clock.unix_milliseconds());
    let (hash, expires_at) = (secret::sha256(&key), ttl.map(|ttl| created_at.saturating_add(milliseconds(ttl))));
    let record = ApiKeyRecord { hash, name, scope, created_at, expires_at, revoked_at: None, last_used_at: None };
    database.insert_api_key(record).await?;
    Ok(key)
}

/// Verifies API keys in the database, so that a revoked one is rejected at once.
pub(crate) struct ApiKeys {
    database: Database,
    clock: Clock,
}

impl ApiKeys {
    /// Creates the service.
    pub(crate) fn new(database: Database, clock: Clock) -> Self {
        Self { database, clock }
    }

    /// Returns the credentials of `key`; `None` if it is unknown, expired or revoked.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn verify(&self, key: &str) -> Result<Option<Credentials>, Error> {
        if !key.strip_prefix(PREFIX).is_some_and(secret::is_random_secret) {
            return Ok(None);
        }
        // Unknown keys are not cached: made-up ones are random, and a new key must work at once.
        let (hash, now) = (secret::sha256(key), self.clock.unix_milliseconds());
        let Some(record) = self.database.active_api_key(hash, now).await? else { return Ok(None) };
        let today = now - now % DAY;
        // Only reading may be possible for a while. The next use is recorded.
        if record.last_used_at.is_none_or(|day| day < today)
            && let Err(error) = self.database.record_api_key_use(record.hash.clone(), today).await
        {
            log::warn!(cause:% = error; "the use of an API key is not recorded");
        }
        let principal = Principal::ApiKey { name: record.name.into(), scope: record.scope.into(), hash: record.hash.into() };
        let expires_at = record.expires_at.map_or(i64::MAX, |at| at / 1000);
        Ok(Some(Credentials { principal, expires_at, ticket: None }))
    }
}
