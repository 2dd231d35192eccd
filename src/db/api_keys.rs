//! The `api_keys` table: the keys of the team's own backend, by their hashes.

use sqlx::FromRow;

use super::{Database, Error};

/// An API key. Times are milliseconds since 1970-01-01 UTC.
#[derive(FromRow)]
pub struct ApiKeyRecord {
    /// The key's SHA-256, in hexadecimal digits.
    pub hash: String,
    /// The name, which several keys may share.
    pub name: String,
    /// The routes that it opens.
    pub scope: String,
    /// When it was added.
    pub created_at: i64,
    /// When it expires, if ever.
    pub expires_at: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// The beginning of the day on which it was last used.
    pub last_used_at: Option<i64>,
}

impl Database {
    /// Adds a key that was never used.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn insert_api_key(&self, key: ApiKeyRecord) -> Result<(), Error> {
        let sql = "INSERT INTO api_keys (hash, name, scope, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
        let insert = sqlx::query(sql).bind(key.hash).bind(key.name).bind(key.scope);
        self.execute(insert.bind(key.created_at).bind(key.expires_at)).await?;
        Ok(())
    }

    /// Returns all keys, by name and age.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRecord>, Error> {
        let sql = "SELECT hash, name, scope, created_at, expires_at, revoked_at, last_used_at FROM api_keys \
             ORDER BY name, created_at";
        self.fetch_all(sqlx::query_as(sql)).await
    }

    /// Returns the key with this hash, unless it has expired by `now` or is revoked.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn active_api_key(&self, hash: String, now: i64) -> Result<Option<ApiKeyRecord>, Error> {
        let sql = "SELECT hash, name, scope, created_at, expires_at, revoked_at, last_used_at FROM api_keys \
             WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
        Ok(self.fetch_all(sqlx::query_as(sql).bind(hash).bind(now)).await?.pop())
    }

    /// Records the day of a use.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn record_api_key_use(&self, hash: String, day: i64) -> Result<(), Error> {
        let sql = "UPDATE api_keys SET last_used_at = $1 WHERE hash = $2 AND (last_used_at IS NULL OR last_used_at < $1)";
        self.execute(sqlx::query(sql).bind(day).bind(hash)).await?;
        Ok(())
    }

    /// Revokes the keys with this name whose hashes begin with `prefix`; returns their number.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn revoke_api_keys(&self, name: String, prefix: String, now: i64) -> Result<u64, Error> {
        let sql = "UPDATE api_keys SET revoked_at = $1 \
             WHERE revoked_at IS NULL AND name = $2 AND SUBSTR(hash, 1, LENGTH($3)) = $3";
        self.execute(sqlx::query(sql).bind(now).bind(name).bind(prefix)).await
    }
}
