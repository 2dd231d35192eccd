//! Which sessions have ended, kept in memory: no request asks the database for it.
//!
//! What this server revokes is here at once. What others revoke, another replica or the command line, is read from the
//! database every half second.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::clock::{Clock, milliseconds};
use crate::db::{self, Database, KNOWN_ADDRESS_RETENTION};

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
/// How often used stream tickets are pruned, in rounds of [`EVERY`]. While a step finds as many as it may delete, the next
/// round has another step: that is 4,000 rows a second, more than clients can make.
const PRUNE_INTERVAL: u64 = 20;
/// The most rows that one step deletes.
const PRUNE_LIMIT: u32 = 2_000;

/// The sessions that were revoked not so long ago that one of their tokens could still be good, and since when that is known:
/// by a timer, so that a clock that is set makes no token good again. Clones share them.
#[derive(Clone, Default)]
pub struct RevokedSessions(Arc<RwLock<HashMap<String, Instant>>>);

impl RevokedSessions {
    /// Whether `session` was revoked.
    #[must_use]
    pub fn contains(&self, session: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(session)
    }

    /// Adds a session.
    pub(crate) fn insert(&self, session: String) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(session, Instant::now());
    }

    fn merge(&self, sessions: Vec<(String, i64)>, relevant: Duration) {
        let now = Instant::now();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.extend(sessions.into_iter().map(|(session, _)| (session, now)));
        all.retain(|_, since| now.saturating_duration_since(*since) <= relevant);
    }
}

/// Keeps [`RevokedSessions`] up to date until it is dropped.
pub struct RevocationPoller(AbortHandle);

impl Drop for RevocationPoller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RevocationPoller {
    /// Reads what was revoked within the last `token_ttl`, and goes on reading. Also deletes what is long over.
    ///
    /// # Errors
    ///
    /// If the first reading fails.
    pub async fn start(
        revoked_sessions: RevokedSessions,
        database: Database,
        token_ttl: Duration,
        clock: Clock,
    ) -> Result<Self, db::Error> {
        let watcher = Watcher { revoked_sessions, database, relevant: token_ttl.max(LONGEST_EARLIER_TTL) + SKEW, clock };
        let mut latest = watcher.read(0).await?;
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            let (mut failing, mut round, mut set) = (false, 0_u64, ClockSet::new(&watcher.clock));
            let mut more_to_prune = false;
            loop {
                ticks.tick().await;
                if set.since_last_time(&watcher.clock) {
                    // All of it, however it is dated; and nothing is deleted by a clock that may be wrong for a moment.
                    (latest, round, more_to_prune) = (0, 1, false);
                }
                let read = watcher.read(latest).await;
                log_change(&mut failing, &read);
                latest = read.unwrap_or(latest);
                if round % HOUSEKEEPING == 0 {
                    watcher.delete_what_is_over().await;
                }
                if more_to_prune || round % PRUNE_INTERVAL == 0 {
                    more_to_prune = watcher.prune_stream_tickets().await;
                }
                round += 1;
            }
        });
        Ok(Self(task.abort_handle()))
    }
}

struct Watcher {
    revoked_sessions: RevokedSessions,
    database: Database,
    /// For how long a revocation matters.
    relevant: Duration,
    clock: Clock,
}

impl Watcher {
    /// Reads what was revoked around `latest` and later; gives the new latest.
    async fn read(&self, latest: i64) -> Result<i64, db::Error> {
        let now = self.clock.unix_milliseconds();
        let oldest = now.saturating_sub(milliseconds(self.relevant));
        let since = latest.saturating_sub(milliseconds(SKEW)).max(oldest);
        let revoked = self.database.sessions_revoked_since(since).await?;
        // Not beyond our own time: somebody's clock that is ahead must not hide what others revoke.
        let latest = revoked.iter().map(|(_, at)| *at).fold(latest, i64::max).min(now);
        self.revoked_sessions.merge(revoked, self.relevant);
        Ok(latest)
    }

    async fn delete_what_is_over(&self) {
        let before = |age| self.clock.unix_milliseconds().saturating_sub(milliseconds(age));
        let done = async {
            let expired = KEPT_AFTER_ITS_END.max(self.relevant);
            self.database.forget_sessions_expired_before(before(expired)).await?;
            self.database.delete_login_failures(before(SKEW), before(KNOWN_ADDRESS_RETENTION)).await
        };
        if let Err(error) = done.await {
            log::warn!(cause:% = error; "old sessions could not be deleted");
        }
    }

    /// Deletes used tickets that no replica accepts any more, and says whether there may be more of them.
    async fn prune_stream_tickets(&self) -> bool {
        let before = self.clock.unix_milliseconds().saturating_sub(milliseconds(SKEW));
        match self.database.prune_stream_tickets(before, PRUNE_LIMIT).await {
            Ok(deleted) => deleted >= u64::from(PRUNE_LIMIT),
            Err(error) => {
                log::warn!(cause:% = error; "used stream tickets could not be deleted");
                false
            }
        }
    }
}

/// Notices that the clock was set: it and a timer have gone different ways.
struct ClockSet(i64, Instant);

impl ClockSet {
    fn new(clock: &Clock) -> Self {
        Self(clock.unix_milliseconds(), Instant::now())
    }

    fn since_last_time(&mut self, clock: &Clock) -> bool {
        let before = std::mem::replace(self, Self::new(clock));
        let expected = before.0.saturating_add(milliseconds(self.1 - before.1));
        u128::from(self.0.abs_diff(expected)) > SKEW.as_millis()
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
