//! The `login_failures` table: failed logins by scope. What follows from them is decided in `accounts`.

use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Database, Error};

/// How long a successful login makes an address a known one of its account.
pub const KNOWN_ADDRESS_RETENTION: Duration = Duration::from_hours(30 * 24);

/// One scope's counter. All times are milliseconds since 1970-01-01 UTC; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoginFailures {
    /// The last failure.
    pub failed_at: i64,
    /// When all failures are forgotten.
    pub forgotten_at: i64,
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
        self.run(|pools| async move {
            let [one, two, three] = &scopes;
            let rows = sqlx::query(sql).bind(one).bind(two).bind(three).fetch_all(&pools.readers).await?;
            let mut found = [LoginFailures::default(); 3];
            for row in &rows {
                let scope: String = row.try_get("scope")?;
                for (_, found) in scopes.iter().zip(&mut found).filter(|(name, _)| **name == scope) {
                    *found = failures_of(row)?;
                }
            }
            Ok(found)
        })
        .await
    }

    /// Counts a failure at `now` in three scopes at once. Each scope's `decay` (milliseconds) is how long the failure counts,
    /// after those before it.
    ///
    /// Callers name the scopes in the same order, so that two of them never wait for each other's rows.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn count_login_failure(&self, scopes: [(String, i64); 3], now: i64) -> Result<(), Error> {
        let sql = "INSERT INTO login_failures AS known (scope, failed_at, forgotten_at, succeeded_at) \
             VALUES ($2, $1, $1 + $3, 0), ($4, $1, $1 + $5, 0), ($6, $1, $1 + $7, 0) \
             ON CONFLICT (scope) DO UPDATE SET failed_at = excluded.failed_at, forgotten_at = excluded.forgotten_at + \
             CASE WHEN known.forgotten_at > excluded.failed_at THEN known.forgotten_at - excluded.failed_at ELSE 0 END";
        self.run(move |pools| async move {
            let query =
                scopes.into_iter().fold(sqlx::query(sql).bind(now), |query, (scope, decay)| query.bind(scope).bind(decay));
            query.execute(&pools.writers).await
        })
        .await?;
        Ok(())
    }

    /// Deletes counters whose failures are forgotten before `now` and whose last success is before `succeeded_before`.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn delete_login_failures(&self, now: i64, succeeded_before: i64) -> Result<(), Error> {
        let sql = "DELETE FROM login_failures WHERE forgotten_at < $1 AND succeeded_at < $2";
        self.run(
            move |pools| async move { sqlx::query(sql).bind(now).bind(succeeded_before).execute(&pools.writers).await },
        )
        .await?;
        Ok(())
    }
}

/// Records a success and forgets the scope's failures.
pub(super) async fn reset(transaction: &mut AnyConnection, scope: String, now: i64) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO login_failures (scope, failed_at, forgotten_at, succeeded_at) VALUES ($1, 0, 0, $2) \
         ON CONFLICT (scope) DO UPDATE SET failed_at = 0, forgotten_at = 0, succeeded_at = excluded.succeeded_at";
    sqlx::query(sql).bind(scope).bind(now).execute(transaction).await?;
    Ok(())
}

fn failures_of(row: &AnyRow) -> Result<LoginFailures, sqlx::Error> {
    Ok(LoginFailures {
        failed_at: row.try_get("failed_at")?,
        forgotten_at: row.try_get("forgotten_at")?,
        succeeded_at: row.try_get("succeeded_at")?,
    })
}
