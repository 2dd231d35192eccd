//! The first contact with the database, and the tasks that begin with it. The database may start after the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::service_manager;
use crate::auth::revoked_sessions::{RevocationPoller, RevokedSessions};
use crate::clock::Clock;
use crate::db::{Database, Error, Housekeeping};

/// The pause after the first failed attempt. It doubles with each one.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(250);
/// The longest pause.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// How long the start waits for the first attempt. A migration may take longer.
const FIRST_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The dependencies of the tasks on the database.
pub(super) struct DatabaseTasks {
    pub database: Database,
    pub revoked_sessions: RevokedSessions,
    pub token_ttl: Duration,
    pub clock: Clock,
}

/// Connects to the database, with retries, and then runs the tasks on it until dropped.
pub(super) struct FirstContact {
    /// Ends only with a database that can't be used.
    task: AbortOnDropHandle<Error>,
    is_complete: Arc<AtomicBool>,
}

impl FirstContact {
    /// Waits for the first attempt to end; later ones go on in the background.
    ///
    /// # Errors
    ///
    /// If a retry can't help.
    pub(super) async fn attempt(tasks: DatabaseTasks) -> Result<Self, Error> {
        let is_complete = Arc::<AtomicBool>::default();
        let (attempted, first_attempt) = oneshot::channel();
        let task = actix_rt::spawn(run(tasks, Arc::clone(&is_complete), attempted));
        let mut this = Self { task: AbortOnDropHandle::new(task), is_complete };
        tokio::select! {
            // The sender is dropped when the task ends.
            Ok(()) = first_attempt => Ok(this),
            error = this.failure() => Err(error),
            () = tokio::time::sleep(FIRST_ATTEMPT_TIMEOUT) => {
                log::warn!("not ready: the first contact with the database, or a migration, takes long");
                Ok(this)
            }
        }
    }

    /// Returns a predicate: the database was reached, and the revoked sessions are known.
    pub(super) fn is_complete(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let is_complete = Arc::clone(&self.is_complete);
        move || is_complete.load(Ordering::Relaxed)
    }

    /// Returns why the database can't be used, once that is certain.
    pub(super) async fn failure(&mut self) -> Error {
        (&mut self.task).await.unwrap_or_else(Error::from)
    }
}

async fn run(tasks: DatabaseTasks, is_complete: Arc<AtomicBool>, attempted: oneshot::Sender<()>) -> Error {
    let (mut attempted, mut delay) = (Some(attempted), MIN_RETRY_DELAY);
    loop {
        match tasks.start().await {
            Ok(_running) => {
                is_complete.store(true, Ordering::Relaxed);
                if attempted.take().is_none_or(|attempted| attempted.send(()).is_err()) {
                    log::info!("the database responds; the server is ready");
                }
                service_manager::notify_status("ready");
                return std::future::pending().await;
            }
            Err(error) if tasks.database.may_recover_from(&error) => {
                // Replicas that start together do not retry together.
                let retry_in = delay.mul_f64(rand::random_range(0.5..1.0));
                log::warn!(cause:% = error, retry_in:? = retry_in; "not ready: waiting for the database");
                service_manager::notify_status(&format!("waiting for the database: {error}"));
                let _ = attempted.take().map(|attempted| attempted.send(()));
                tokio::time::sleep(retry_in).await;
                delay = (delay * 2).min(MAX_RETRY_DELAY);
            }
            Err(error) => return error,
        }
    }
}

impl DatabaseTasks {
    async fn start(&self) -> Result<(RevocationPoller, Housekeeping), Error> {
        self.database.connect().await?;
        let (revoked, database) = (self.revoked_sessions.clone(), self.database.clone());
        let poller = RevocationPoller::start(revoked, database, self.token_ttl, self.clock.clone()).await?;
        Ok((poller, Housekeeping::start(self.database.clone(), self.token_ttl, self.clock.clone())))
    }
}
