//! Whether the server is ready for requests: its database answers, and it is not on its way out. Admin Control and the summary
//! store do not count: without them there is still something to answer with, and no other replica would have them either.
//!
//! Knows no HTTP. The database is asked at most twice a second, however many ask here. A SQLite
//! file that was deleted or replaced counts as a database that fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::db::Database;

/// How long the database's answer is believed.
const BELIEVED_FOR: Duration = Duration::from_millis(500);
/// How long the database is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is said of readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Requests are welcome.
    Ready,
    /// The server is on its way out: it still answers, but should get nothing new.
    Draining,
    /// The database does not answer.
    NoDatabase,
}

/// Finds out.
pub struct Health {
    database: Database,
    draining: CancellationToken,
    /// When the database was asked last, and whether it answered.
    asked: Mutex<Option<(Instant, bool)>>,
    /// The last word on the database, for those who must not wait.
    answers: AtomicBool,
}

impl Health {
    /// Of a server with this database.
    #[must_use]
    pub fn new(database: Database, draining: CancellationToken) -> Self {
        // It was opened a moment ago.
        Self { database, draining, asked: Mutex::default(), answers: AtomicBool::new(true) }
    }

    /// Whether the server is ready now.
    pub async fn readiness(&self) -> Readiness {
        if self.draining.is_cancelled() {
            Readiness::Draining
        } else if self.database_answers().await {
            Readiness::Ready
        } else {
            Readiness::NoDatabase
        }
    }

    /// The last word on that, without asking anybody.
    #[must_use]
    pub fn last_known(&self) -> Readiness {
        match (self.draining.is_cancelled(), self.answers.load(Ordering::Relaxed)) {
            (true, _) => Readiness::Draining,
            (false, true) => Readiness::Ready,
            (false, false) => Readiness::NoDatabase,
        }
    }

    async fn database_answers(&self) -> bool {
        // Who comes while it is being asked waits for that answer.
        let mut asked = self.asked.lock().await;
        if let Some((at, answered)) = *asked
            && at.elapsed() < BELIEVED_FOR
        {
            return answered;
        }
        let pinged = tokio::time::timeout(PATIENCE, self.database.ping()).await;
        let answers = matches!(pinged, Ok(Ok(())));
        *asked = Some((Instant::now(), answers));
        // One line when it begins and one when it is over.
        if self.answers.swap(answers, Ordering::Relaxed) != answers {
            match pinged {
                Ok(Ok(())) => log::info!("ready: the database answers again"),
                Ok(Err(error)) => log::error!(cause:% = error; "not ready: the database fails"),
                Err(_) => log::error!("not ready: the database does not answer in time"),
            }
        }
        answers
    }
}
