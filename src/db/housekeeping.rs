//! Housekeeping: deletes expired rows of all tables.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::{Database, Error, KNOWN_ADDRESS_RETENTION};
use crate::clock::{Clock, ClockJumpDetector, MAX_CLOCK_SKEW, milliseconds};

/// The time between two deletions of used stream tickets, which live for seconds.
const TICKET_INTERVAL: Duration = Duration::from_secs(30);
/// The interval of a pass over all tables, in ticket intervals: ten minutes.
const TICKS_PER_PASS: u64 = 20;
/// How long an ended session is kept, beyond the lifetime of access tokens.
///
/// That lifetime may have been up to a day before a restart.
const SESSION_RETENTION: Duration = Duration::from_hours(25);
/// How long an expired or revoked API key is listed.
const API_KEY_RETENTION: Duration = Duration::from_hours(90 * 24);
/// The maximum number of tickets per statement, so that other writers do not wait long.
const TICKETS_PER_STATEMENT: u32 = 2_000;

/// Deletes expired rows regularly until it is dropped.
pub(crate) struct Housekeeping {
    _task: AbortOnDropHandle<()>,
}

impl Housekeeping {
    /// Starts housekeeping, with a first pass at once.
    pub(crate) fn start(database: Database, token_ttl: Duration, clock: Clock) -> Self {
        let task = tokio::spawn(async move {
            let (mut ticks, mut jumps) = (tokio::time::interval(TICKET_INTERVAL), ClockJumpDetector::new(&clock));
            for tick in 0_u64.. {
                ticks.tick().await;
                // A clock that was set may be wrong for a moment.
                if jumps.detect(&clock) {
                    continue;
                }
                let now = clock.unix_milliseconds();
                if let Err(error) = database.delete_at_tick(tick, now, token_ttl).await {
                    log::warn!(cause:% = error; "expired rows could not be deleted");
                }
            }
        });
        Self { _task: AbortOnDropHandle::new(task) }
    }
}

impl Database {
    /// Deletes used tickets at each tick, and all expired rows at every twentieth.
    async fn delete_at_tick(&self, tick: u64, now: i64, token_ttl: Duration) -> Result<(), Error> {
        if tick.is_multiple_of(TICKS_PER_PASS) {
            self.delete_expired_rows(now, token_ttl).await
        } else {
            self.delete_used_tickets(now).await
        }
    }

    /// Deletes the rows that no replica needs at `now`, in milliseconds since 1970-01-01 UTC.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn delete_expired_rows(&self, now: i64, token_ttl: Duration) -> Result<(), Error> {
        let before = |age| now.saturating_sub(milliseconds(age));
        let (retention_cutoff, skew_cutoff) = (before(SESSION_RETENTION + token_ttl), before(MAX_CLOCK_SKEW));
        let tokens = "DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE expires_at < $1)";
        let tokens = sqlx::query(tokens).bind(retention_cutoff);
        let sessions = sqlx::query("DELETE FROM sessions WHERE expires_at < $1").bind(retention_cutoff);
        self.execute_all([tokens, sessions]).await?;
        self.execute(sqlx::query("DELETE FROM deleted_sessions WHERE deleted_at < $1").bind(retention_cutoff)).await?;
        let failures = "DELETE FROM login_failures WHERE forgotten_at < $1 AND succeeded_at < $2";
        self.execute(sqlx::query(failures).bind(skew_cutoff).bind(before(KNOWN_ADDRESS_RETENTION))).await?;
        self.execute(sqlx::query("DELETE FROM invitations WHERE expires_at < $1").bind(skew_cutoff)).await?;
        let keys = "DELETE FROM api_keys WHERE expires_at < $1 OR revoked_at < $1";
        self.execute(sqlx::query(keys).bind(before(API_KEY_RETENTION))).await?;
        self.delete_used_tickets(now).await
    }

    /// Deletes the tickets that no replica accepts any more, in small steps.
    async fn delete_used_tickets(&self, now: i64) -> Result<(), Error> {
        let expired = now.saturating_sub(milliseconds(MAX_CLOCK_SKEW));
        let tickets = "DELETE FROM stream_tickets WHERE id IN \
                       (SELECT id FROM stream_tickets WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
        let limit = i64::from(TICKETS_PER_STATEMENT);
        while self.execute(sqlx::query(tickets).bind(expired).bind(limit)).await? > 0 {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Executor as _;

    #[actix_rt::test]
    async fn housekeeping_deletes_expired_rows_only() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        let database = Database::open(&url).await.unwrap();
        let (hour, now) = (3_600_000, 1_800_000_000_000);
        let old = now - 27 * hour;
        let rows = format!(
            "INSERT INTO users (id, email, name, password_hash, created_at) VALUES ('u', 'e', 'n', 'h', 0); \
             INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ('old', 'u', 0, {old}), ('new', 'u', 0, {old} + 3600000); \
             INSERT INTO refresh_tokens (hash, session_id, created_at) VALUES ('old', 'old', 0), ('new', 'new', 0); \
             INSERT INTO login_failures (scope, failed_at, forgotten_at, succeeded_at) \
             VALUES ('old', 0, {old}, 0), ('leaking', 0, {now}, 0), ('known', 0, {old}, {old}); \
             INSERT INTO deleted_sessions (id, deleted_at) VALUES ('old', {old}), ('deleted', {old} + 3600000); \
             INSERT INTO stream_tickets (id, expires_at) VALUES ('new', {now} - 60000); \
             INSERT INTO invitations (id, maker, expires_at) VALUES ('old', '', {now} - 600000), ('invitation', '', {now} - 60000); \
             INSERT INTO api_keys (hash, name, scope, created_at, expires_at, revoked_at) VALUES \
             ('expired', 'n', 's', 0, 0, NULL), ('revoked', 'n', 's', 0, NULL, 0), ('key', 'n', 's', 0, NULL, NULL), \
             ('listed', 'n', 's', 0, {old}, {old}); \
             WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 4001) \
             INSERT INTO stream_tickets (id, expires_at) SELECT 'old-' || n, n FROM numbers;"
        );
        let insert = database.run(|pools| async move { pools.writers.execute(sqlx::AssertSqlSafe(rows)).await });
        insert.await.unwrap();
        database.delete_expired_rows(now, Duration::from_hours(1)).await.unwrap();
        let sql = "SELECT id FROM sessions UNION ALL SELECT hash FROM refresh_tokens UNION ALL \
                   SELECT scope FROM login_failures UNION ALL SELECT id FROM deleted_sessions UNION ALL \
                   SELECT id FROM stream_tickets UNION ALL SELECT id FROM invitations UNION ALL SELECT hash FROM api_keys";
        let mut left: Vec<(String,)> = database.fetch_all(sqlx::query_as(sql)).await.unwrap();
        left.sort();
        assert_eq!(
            left,
            ["deleted", "invitation", "key", "known", "leaking", "listed", "new", "new", "new"].map(|id| (id.to_owned(),))
        );
    }

    #[actix_rt::test]
    async fn ticks_between_two_passes_delete_tickets_only() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&format!("sqlite://{}/app.db", folder.path().display())).await.unwrap();
        let rows = "INSERT INTO login_failures (scope, failed_at, forgotten_at, succeeded_at) VALUES ('old', 0, 0, 0); \
                    INSERT INTO stream_tickets (id, expires_at) VALUES ('old', 0);";
        database.run(|pools| async move { pools.writers.execute(rows).await }).await.unwrap();
        let sql = "SELECT (SELECT COUNT(*) FROM login_failures), (SELECT COUNT(*) FROM stream_tickets)";
        for (tick, failures) in [(1, 1), (TICKS_PER_PASS - 1, 1), (TICKS_PER_PASS, 0)] {
            database.delete_at_tick(tick, 1_800_000_000_000, Duration::from_hours(1)).await.unwrap();
            let counts: Vec<(i64, i64)> = database.fetch_all(sqlx::query_as(sql)).await.unwrap();
            assert_eq!(counts, [(failures, 0)], "tick {tick}");
        }
    }
}
