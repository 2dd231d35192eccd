//! Which sessions have ended, kept in memory: no request asks the database for it.
//!
//! What this server revokes is here at once. What others revoke, another replica or the command line, is read from the
//! database every half second.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::milliseconds;
use crate::background::Background;
use crate::clock::Clock;
use crate::db::{self, Database};

/// How often the database is asked; the contract allows two seconds.
const EVERY: Duration = Duration::from_millis(500);
/// A token may have been issued under a longer time than is set now.
const LONGEST_EARLIER_TTL: Duration = Duration::from_hours(24);
/// How far the clocks of replicas may be apart.
const SKEW: Duration = Duration::from_mins(5);
/// How often what is long over is deleted from the database, in rounds of [`EVERY`].
const HOUSEKEEPING: u64 = 1200;
/// How long after its end a session is deleted.
const KEPT_AFTER_ITS_END: Duration = Duration::from_hours(24);
/// How long after its end a used ticket is deleted: another replica's clock may be behind.
const TICKETS_KEPT: Duration = Duration::from_hours(1);
/// How long a count of failed logins is kept, and how long the memory of a success.
const FAILURES_KEPT: Duration = Duration::from_hours(24);
const SUCCESSES_KEPT: Duration = Duration::from_hours(30 * 24);

/// The sessions that were revoked not so long ago that one of their tokens could still be good. Clones share them.
#[derive(Clone, Default)]
pub struct Revocations(Arc<RwLock<HashMap<String, i64>>>);

impl Revocations {
    /// Whether `session` was revoked.
    #[must_use]
    pub fn contain(&self, session: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(session)
    }

    /// Adds a session, revoked at `at` (milliseconds since 1970-01-01 UTC).
    pub(super) fn insert(&self, session: String, at: i64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(session, at);
    }

    fn merge(&self, sessions: Vec<(String, i64)>, forget_before: i64) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.extend(sessions);
        all.retain(|_, at| *at >= forget_before);
    }
}

/// Keeps [`Revocations`] up to date until it is dropped.
pub struct Watch(Option<AbortHandle>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Watch {
    /// Reads what was revoked within the last `token_ttl`, and goes on reading. Also deletes what is long over.
    ///
    /// # Errors
    ///
    /// If the first reading fails.
    pub async fn start(
        revocations: Revocations,
        database: Database,
        background: &Background,
        token_ttl: Duration,
        clock: Clock,
    ) -> Result<Self, db::Error> {
        let watcher =
            Watcher { revocations, database, relevant: milliseconds(token_ttl.max(LONGEST_EARLIER_TTL) + SKEW), clock };
        let mut latest = watcher.read(0).await?;
        let task = background.spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            let (mut failing, mut round) = (false, 0_u64);
            loop {
                ticks.tick().await;
                let read = watcher.read(latest).await;
                log_change(&mut failing, &read);
                latest = read.unwrap_or(latest);
                if round % HOUSEKEEPING == 0 {
                    watcher.delete_what_is_over().await;
                }
                round += 1;
            }
        });
        Ok(Self(task.map(|task| task.abort_handle())))
    }
}

struct Watcher {
    revocations: Revocations,
    database: Database,
    /// For how many milliseconds a revocation matters.
    relevant: i64,
    clock: Clock,
}

impl Watcher {
    /// Reads what was revoked around `latest` and later; gives the new latest.
    async fn read(&self, latest: i64) -> Result<i64, db::Error> {
        let now = self.clock.unix_milliseconds();
        let oldest = now.saturating_sub(self.relevant);
        let since = latest.saturating_sub(milliseconds(SKEW)).max(oldest);
        let revoked = self.database.sessions_revoked_since(since).await?;
        // Not beyond our own time: somebody's clock that is ahead must not hide what others revoke.
        let latest = revoked.iter().map(|(_, at)| *at).fold(latest, i64::max).min(now);
        self.revocations.merge(revoked, oldest);
        Ok(latest)
    }

    async fn delete_what_is_over(&self) {
        let before = |age| self.clock.unix_milliseconds().saturating_sub(milliseconds(age));
        let done = async {
            let relevant = self.clock.unix_milliseconds().saturating_sub(self.relevant);
            self.database.forget_sessions_expired_before(before(KEPT_AFTER_ITS_END).min(relevant)).await?;
            self.database.forget_stream_tickets(before(TICKETS_KEPT)).await?;
            self.database.forget_login_failures(before(FAILURES_KEPT), before(SUCCESSES_KEPT)).await
        };
        if let Err(error) = done.await {
            log::warn!(cause:% = error; "old sessions could not be deleted");
        }
    }
}

/// One line when it begins to fail and one when it works again, not one every half second.
fn log_change(failing: &mut bool, read: &Result<i64, db::Error>) {
    match read {
        Err(error) if !*failing => log::error!(cause:% = error; "revoked sessions can't be read; those known stay refused"),
        Ok(_) if *failing => log::info!("revoked sessions are read again"),
        _ => {}
    }
    *failing = read.is_err();
}
