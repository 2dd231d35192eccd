//! Readiness: the database answers, and the server does not drain.
//!
//! Admin Control and the summary store do not count: without them some requests still succeed, and no other replica would do
//! better. A SQLite file that was deleted or replaced counts as a failing database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::db::Database;

/// How long a result of the database check is used again.
const CHECK_TTL: Duration = Duration::from_millis(500);
/// The longest time of a database check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the server is ready for requests, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The server is ready.
    Ready,
    /// The server drains: it still answers, but should get no new requests.
    Draining,
    /// The database does not answer.
    NoDatabase,
}

/// Checks readiness, with one database check at a time.
pub struct Health {
    database: Database,
    draining: CancellationToken,
    checked_at: Mutex<Option<Instant>>,
    /// The last result of the database check.
    database_answers: AtomicBool,
}

impl Health {
    /// Creates the check of a server whose database was just opened.
    #[must_use]
    pub fn new(database: Database, draining: CancellationToken) -> Self {
        Self { database, draining, checked_at: Mutex::default(), database_answers: AtomicBool::new(true) }
    }

    /// Returns whether the server is ready now.
    pub async fn readiness(&self) -> Readiness {
        if !self.draining.is_cancelled() {
            self.check_database().await;
        }
        self.last_known()
    }

    /// Returns the last known readiness without a check.
    #[must_use]
    pub fn last_known(&self) -> Readiness {
        match (self.draining.is_cancelled(), self.database_answers.load(Ordering::Relaxed)) {
            (true, _) => Readiness::Draining,
            (false, true) => Readiness::Ready,
            (false, false) => Readiness::NoDatabase,
        }
    }

    async fn check_database(&self) {
        // Concurrent callers wait here for the result of the first.
        let mut checked_at = self.checked_at.lock().await;
        if checked_at.is_some_and(|at| at.elapsed() < CHECK_TTL) {
            return;
        }
        let pinged = tokio::time::timeout(CHECK_TIMEOUT, self.database.ping()).await;
        *checked_at = Some(Instant::now());
        let answers = matches!(pinged, Ok(Ok(())));
        // Logs changes only.
        if self.database_answers.swap(answers, Ordering::Relaxed) != answers {
            match pinged {
                Ok(Ok(())) => log::info!("ready: the database answers again"),
                Ok(Err(error)) => log::error!(cause:% = error; "not ready: the database fails"),
                Err(_) => log::error!("not ready: the database does not answer in time"),
            }
        }
    }
}
