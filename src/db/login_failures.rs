//! The `login_failures` table: failed logins by scope. Policies are in `accounts`.

use std::time::Duration;

use super::{Database, Error, Statement};

/// How long an address is known to an account after a successful login.
pub const KNOWN_ADDRESS_RETENTION: Duration = Duration::from_hours(30 * 24);

/// The counter of one scope. Times are milliseconds since 1970-01-01 UTC; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoginFailures {
    /// The last failure.
    pub failed_at: i64,
    /// When the leaky bucket of failures is empty (column `forgotten_at`).
    pub empty_at: i64,
    /// The last success.
    pub succeeded_at: i64,
}

impl Database {
    /// Reads the counters of three scopes, in their order; zeros where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn login_failures(&self, scopes: [String; 3]) -> Result<[LoginFailures; 3], Error> {
        let sql = "SELECT scope, failed_at, forgotten_at, succeeded_at FROM login_failures WHERE scope IN ($1, $2, $3)";
        let query = scopes.iter().cloned().fold(sqlx::query_as(sql), |query, scope: String| query.bind(scope));
        let rows: Vec<(String, i64, i64, i64)> = self.fetch_all(query).await?;
        Ok(scopes.map(|scope| {
            let row = rows.iter().find(|(name, ..)| *name == scope);
            row.map(|&(_, failed_at, empty_at, succeeded_at)| LoginFailures { failed_at, empty_at, succeeded_at })
                .unwrap_or_default()
        }))
    }

    /// Counts a failure at `now` in three scopes, with leak intervals in milliseconds.
    ///
    /// Callers name the scopes in the same order, so that two of them never deadlock on rows.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn count_login_failure(&self, scopes: [(String, i64); 3], now: i64) -> Result<(), Error> {
        let sql = "INSERT INTO login_failures AS known (scope, failed_at, forgotten_at, succeeded_at) \
             VALUES ($2, $1, $1 + $3, 0), ($4, $1, $1 + $5, 0), ($6, $1, $1 + $7, 0) \
             ON CONFLICT (scope) DO UPDATE SET failed_at = excluded.failed_at, forgotten_at = excluded.forgotten_at + \
             CASE WHEN known.forgotten_at > excluded.failed_at THEN known.forgotten_at - excluded.failed_at ELSE 0 END";
        let insert = sqlx::query(sql).bind(now);
        self.execute(
            scopes.into_iter().fold(insert, |insert, (scope, leak_interval)| insert.bind(scope).bind(leak_interval)),
        )
        .await?;
        Ok(())
    }
}

/// Returns the statement that records a success and resets the scope's failures.
pub(super) fn reset(scope: String, now: i64) -> Statement {
    let sql = "INSERT INTO login_failures (scope, failed_at, forgotten_at, succeeded_at) VALUES ($1, 0, 0, $2) \
         ON CONFLICT (scope) DO UPDATE SET failed_at = 0, forgotten_at = 0, succeeded_at = excluded.succeeded_at";
    sqlx::query(sql).bind(scope).bind(now)
}

/// Returns the statement that deletes the counters of the scope and of those whose names begin with it.
pub(super) fn delete(scope: String) -> Statement {
    sqlx::query("DELETE FROM login_failures WHERE SUBSTR(scope, 1, LENGTH($1)) = $1").bind(scope)
}
