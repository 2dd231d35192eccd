//! The `login_failures` table: how often a login failed, by scope. What follows from it is decided in `accounts`.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Database, Error};

/// One scope's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoginFailures {
    /// Grows with each write; 0 if there is no row yet.
    pub version: i64,
    /// Failures in a row.
    pub failures: i64,
    /// The last failure, in milliseconds since 1970-01-01 UTC.
    pub last_at: i64,
    /// Logins that are being checked right now.
    pub checking: i64,
    /// When the first of them began, in the same milliseconds.
    pub began_at: i64,
    /// No password is checked before this, in the same milliseconds.
    pub blocked_until: i64,
    /// The last success, in the same milliseconds; 0 for none.
    pub succeeded_at: i64,
}

impl Database {
    /// What is known of each of `scopes`, in their order; nothing is all zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn login_failures(&self, scopes: Vec<String>) -> Result<Vec<LoginFailures>, Error> {
        let sql = "SELECT scope, version, failures, last_at, checking, began_at, blocked_until, succeeded_at FROM login_failures \
             WHERE scope IN ($1, $2, $3)";
        self.run(|pool| async move {
            let mut known = HashMap::new();
            for three in scopes.chunks(3) {
                let nth = |number: usize| three.get(number).or(three.first());
                for row in sqlx::query(sql).bind(nth(0)).bind(nth(1)).bind(nth(2)).fetch_all(&pool).await? {
                    known.insert(row.try_get::<String, _>("scope")?, failures_of(&row)?);
                }
            }
            Ok(scopes.iter().map(|scope| known.get(scope).copied().unwrap_or_default()).collect())
        })
        .await
    }

    /// Writes what is known of each scope from now on, all or nothing. `false`, and nothing is written, if somebody else wrote
    /// one of them since it was read (its version tells). Those who write several name them in the same order: of two that
    /// wait for each other neither would get on.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn replace_login_failures(&self, all: Vec<(String, LoginFailures)>) -> Result<bool, Error> {
        let insert = "INSERT INTO login_failures (version, failures, last_at, checking, began_at, blocked_until, succeeded_at, scope) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (scope) DO NOTHING";
        let update = "UPDATE login_failures \
             SET version = $1, failures = $2, last_at = $3, checking = $4, began_at = $5, blocked_until = $6, succeeded_at = $7 \
             WHERE scope = $8 AND version = $9";
        let begin = self.begin;
        self.run(move |pool| async move {
            let mut transaction = pool.begin_with(begin).await?;
            for (scope, next) in all {
                let query = sqlx::query(if next.version == 0 { insert } else { update })
                    .bind(next.version + 1)
                    .bind(next.failures)
                    .bind(next.last_at)
                    .bind(next.checking)
                    .bind(next.began_at)
                    .bind(next.blocked_until)
                    .bind(next.succeeded_at)
                    .bind(scope);
                let query = if next.version == 0 { query } else { query.bind(next.version) };
                if query.execute(&mut *transaction).await?.rows_affected() == 0 {
                    return Ok(false);
                }
            }
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Forgets scopes where nothing happened since `attempts_before` and nothing succeeded since `successes_before`.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn forget_login_failures(&self, attempts_before: i64, successes_before: i64) -> Result<(), Error> {
        let sql = "DELETE FROM login_failures WHERE began_at < $1 AND succeeded_at < $2";
        self.run(
            move |pool| async move { sqlx::query(sql).bind(attempts_before).bind(successes_before).execute(&pool).await },
        )
        .await?;
        Ok(())
    }
}

fn failures_of(row: &AnyRow) -> Result<LoginFailures, sqlx::Error> {
    Ok(LoginFailures {
        version: row.try_get("version")?,
        failures: row.try_get("failures")?,
        last_at: row.try_get("last_at")?,
        checking: row.try_get("checking")?,
        began_at: row.try_get("began_at")?,
        blocked_until: row.try_get("blocked_until")?,
        succeeded_at: row.try_get("succeeded_at")?,
    })
}
