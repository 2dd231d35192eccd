//! The `login_failures` table: how often a login failed, by scope. What follows from it is decided in `accounts`.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Row as _};

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

/// An attempt that ends, and not as a failure.
#[derive(Debug, Clone)]
pub struct EndedAttempt {
    /// Where it was counted as being checked, in the order in which it was begun.
    pub scopes: Vec<String>,
    /// If it ended well: which of them has no failures from now on, and when that was (milliseconds since 1970-01-01 UTC).
    pub succeeded: Option<(String, i64)>,
}

impl Database {
    /// Reads what is known of each of `scopes` (nothing is all zeros) and writes what `decide` makes of it, all or nothing.
    /// Asked once more if somebody else wrote one of them in between, and then nobody can. Those who write several name them in
    /// the same order: of two that wait for each other neither would get on. It takes as much less time as was `waited` before.
    ///
    /// # Errors
    ///
    /// Those of `decide`, or [`Error::Failed`] as one of them.
    pub async fn rewrite_login_failures<T, E>(
        &self,
        scopes: Vec<String>,
        waited: Duration,
        decide: impl Fn(&[LoginFailures]) -> Result<(Vec<(String, LoginFailures)>, T), E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let begin = self.begin;
        let rewritten = self.run_after(waited, move |pools| async move {
            // By a reader: who is refused has not waited for whoever writes.
            let mut known = read(&pools.readers, &scopes).await?;
            let mut locked = None;
            loop {
                let (next, result) = match decide(&known) {
                    Ok(decided) => decided,
                    Err(error) => return Ok(Err(error)),
                };
                if next.is_empty() {
                    return Ok(Ok(result));
                }
                let mut transaction = match locked.take() {
                    Some(locked) => locked,
                    None => pools.writers.begin_with(begin).await?,
                };
                if write(&mut transaction, next).await? {
                    transaction.commit().await?;
                    return Ok(Ok(result));
                }
                transaction.rollback().await?;
                let mut transaction = pools.writers.begin_with(begin).await?;
                known = lock(&mut transaction, &scopes).await?;
                locked = Some(transaction);
            }
        });
        rewritten.await?
    }

    /// Ends an attempt for which no session was started.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn end_login_attempt(&self, attempt: EndedAttempt) -> Result<(), Error> {
        let begin = self.begin;
        self.run(move |pools| async move {
            let mut transaction = pools.writers.begin_with(begin).await?;
            end(&mut transaction, attempt).await?;
            transaction.commit().await
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
        self.run(move |pools| async move {
            sqlx::query(sql).bind(attempts_before).bind(successes_before).execute(&pools.writers).await
        })
        .await?;
        Ok(())
    }
}

async fn read(readers: &AnyPool, scopes: &[String]) -> Result<Vec<LoginFailures>, sqlx::Error> {
    let sql = "SELECT scope, version, failures, last_at, checking, began_at, blocked_until, succeeded_at FROM login_failures \
         WHERE scope IN ($1, $2, $3)";
    let mut rows = Vec::new();
    for three in scopes.chunks(3) {
        let nth = |number: usize| three.get(number).or(three.first());
        rows.extend(sqlx::query(sql).bind(nth(0)).bind(nth(1)).bind(nth(2)).fetch_all(readers).await?);
    }
    in_their_order(scopes, &rows)
}

/// The same, of what nobody else can write before the transaction ends.
async fn lock(transaction: &mut AnyConnection, scopes: &[String]) -> Result<Vec<LoginFailures>, sqlx::Error> {
    let new = scopes.iter().map(|scope| (scope.clone(), LoginFailures { version: 1, ..LoginFailures::default() }));
    let lock = upsert(
        new.collect(),
        "version = known.version + 1 \
         RETURNING scope, version, failures, last_at, checking, began_at, blocked_until, succeeded_at",
    );
    in_their_order(scopes, &lock.fetch_all(transaction).await?)
}

fn in_their_order(scopes: &[String], rows: &[AnyRow]) -> Result<Vec<LoginFailures>, sqlx::Error> {
    let known = rows.iter().map(|row| Ok((row.try_get::<String, _>("scope")?, failures_of(row)?)));
    let known = known.collect::<Result<HashMap<_, _>, sqlx::Error>>()?;
    Ok(scopes.iter().map(|scope| known.get(scope).copied().unwrap_or_default()).collect())
}

/// Writes what was made of what was known. `false` if somebody else wrote in between; what has been written then must not stay.
async fn write(transaction: &mut AnyConnection, all: Vec<(String, LoginFailures)>) -> Result<bool, sqlx::Error> {
    let scopes = all.len() as u64;
    let next = all.into_iter().map(|(scope, known)| (scope, LoginFailures { version: known.version + 1, ..known }));
    let rewrite = upsert(
        next.collect(),
        "version = excluded.version, failures = excluded.failures, last_at = excluded.last_at, checking = excluded.checking, \
         began_at = excluded.began_at, blocked_until = excluded.blocked_until, succeeded_at = excluded.succeeded_at \
         WHERE known.version = excluded.version - 1",
    );
    Ok(rewrite.execute(transaction).await?.rows_affected() == scopes)
}

/// One fewer is being checked in each of the attempt's scopes. Whatever others wrote meanwhile stays as it is; the version goes
/// up, so that none of them writes what it made of an earlier one.
pub(super) async fn end(transaction: &mut AnyConnection, attempt: EndedAttempt) -> Result<(), sqlx::Error> {
    let EndedAttempt { scopes, succeeded } = attempt;
    let ended = scopes.into_iter().map(|scope| {
        let succeeded_at = succeeded.as_ref().filter(|(here, _)| *here == scope).map_or(0, |(_, at)| *at);
        (scope, LoginFailures { version: 1, succeeded_at, ..LoginFailures::default() })
    });
    let end = upsert(
        ended.collect(),
        "version = known.version + 1, checking = CASE WHEN known.checking > 0 THEN known.checking - 1 ELSE 0 END, \
         failures = CASE WHEN excluded.succeeded_at > 0 THEN 0 ELSE known.failures END, \
         blocked_until = CASE WHEN excluded.succeeded_at > 0 THEN 0 ELSE known.blocked_until END, \
         succeeded_at = CASE WHEN excluded.succeeded_at > 0 THEN excluded.succeeded_at ELSE known.succeeded_at END",
    );
    end.execute(transaction).await?;
    Ok(())
}

/// Adds these scopes, or makes `change` of those that are there. One statement, because each is a message to SQLite's thread and
/// back; it takes them in their order.
fn upsert(scopes: Vec<(String, LoginFailures)>, change: &str) -> Query<'static, Any, AnyArguments> {
    let row = |row: usize| {
        let places: Vec<String> = (1..=8).map(|column| format!("${}", row * 8 + column)).collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<String> = (0..scopes.len()).map(row).collect();
    // Made of what is written here and of numbers.
    let query = sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO login_failures AS known (scope, version, failures, last_at, checking, began_at, blocked_until, succeeded_at) \
         VALUES {} ON CONFLICT (scope) DO UPDATE SET {change}",
        rows.join(", ")
    )));
    scopes.into_iter().fold(query, |query, (scope, known)| {
        query
            .bind(scope)
            .bind(known.version)
            .bind(known.failures)
            .bind(known.last_at)
            .bind(known.checking)
            .bind(known.began_at)
            .bind(known.blocked_until)
            .bind(known.succeeded_at)
    })
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
