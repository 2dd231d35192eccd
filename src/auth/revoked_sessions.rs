//! Revoked sessions, kept in memory so that requests need no database lookup.
//!
//! Revocations of this replica apply at once. Those of other replicas and of the command line are polled.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::{Clock, ClockJumpDetector, MAX_CLOCK_SKEW, milliseconds};
use crate::db::{self, Database};

/// The contract allows two seconds until all replicas reject a revoked session.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Tokens may have been issued under a longer lifetime than the configured one.
const MIN_RETENTION: Duration = Duration::from_hours(24);

/// The revoked sessions whose tokens may not have expired. Clones share them.
///
/// Each has the time of its discovery, by a monotonic timer: setting the clock makes no token valid again.
#[derive(Clone, Default)]
pub(crate) struct RevokedSessions(Arc<Sessions>);

#[derive(Default)]
struct Sessions {
    revoked: RwLock<HashMap<String, Instant>>,
    /// Whether those of the database have been read once.
    are_known: AtomicBool,
}

impl RevokedSessions {
    /// Returns whether `session` is revoked; `None` until the first contact with the database.
    pub(crate) fn contains(&self, session: &str) -> Option<bool> {
        let are_known = self.0.are_known.load(Ordering::Acquire);
        are_known.then(|| self.0.revoked.read().unwrap_or_else(PoisonError::into_inner).contains_key(session))
    }

    /// Adds a session.
    pub(crate) fn insert(&self, session: String) {
        self.0.revoked.write().unwrap_or_else(PoisonError::into_inner).insert(session, Instant::now());
    }

    /// Adds `sessions` and removes those older than `retention`.
    fn merge(&self, sessions: Vec<(String, i64)>, retention: Duration) {
        let now = Instant::now();
        let mut all = self.0.revoked.write().unwrap_or_else(PoisonError::into_inner);
        all.extend(sessions.into_iter().map(|(session, _)| (session, now)));
        all.retain(|_, since| now.saturating_duration_since(*since) <= retention);
        self.0.are_known.store(true, Ordering::Release);
    }
}

/// Polls the database for revoked sessions until it is dropped.
pub(crate) struct RevocationPoller {
    _task: AbortOnDropHandle<()>,
}

impl RevocationPoller {
    /// Reads the sessions revoked within the last `token_ttl`, and starts polling.
    ///
    /// # Errors
    ///
    /// If the first read fails.
    pub(crate) async fn start(
        revoked_sessions: RevokedSessions,
        database: Database,
        token_ttl: Duration,
        clock: Clock,
    ) -> Result<Self, db::Error> {
        let retention = token_ttl.max(MIN_RETENTION) + MAX_CLOCK_SKEW;
        let reader = RevocationReader { revoked_sessions, database, retention, clock };
        let latest = reader.read(0).await?;
        Ok(Self { _task: AbortOnDropHandle::new(tokio::spawn(reader.poll(latest))) })
    }
}

struct RevocationReader {
    revoked_sessions: RevokedSessions,
    database: Database,
    /// How long a revocation matters.
    retention: Duration,
    clock: Clock,
}

impl RevocationReader {
    async fn poll(self, mut latest: i64) {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        let (mut is_failing, mut jumps) = (false, ClockJumpDetector::new(&self.clock));
        loop {
            ticks.tick().await;
            if jumps.detect(&self.clock) {
                // Revocations may be dated by a wrong clock: read all of them.
                latest = 0;
            }
            let result = self.read(latest).await;
            log_transition(is_failing, &result);
            is_failing = result.is_err();
            latest = result.unwrap_or(latest);
        }
    }

    /// Reads the revocations since about `latest`; returns the new latest.
    async fn read(&self, latest: i64) -> Result<i64, db::Error> {
        let now = self.clock.unix_milliseconds();
        let oldest = now.saturating_sub(milliseconds(self.retention));
        let since = latest.saturating_sub(milliseconds(MAX_CLOCK_SKEW)).max(oldest);
        let revoked = self.database.sessions_revoked_since(since).await?;
        // Not beyond our own time: one replica's clock that is ahead must not hide the revocations of others.
        let latest = revoked.iter().map(|(_, at)| *at).fold(latest, i64::max).min(now);
        self.revoked_sessions.merge(revoked, self.retention);
        Ok(latest)
    }
}

/// Logs when reading begins to fail, and when it works again.
fn log_transition(was_failing: bool, result: &Result<i64, db::Error>) {
    match result {
        Err(error) if !was_failing => {
            log::error!(cause:% = error; "revoked sessions can't be read; known ones stay rejected");
        }
        Ok(_) if was_failing => log::info!("revoked sessions are read again"),
        _ => {}
    }
}
