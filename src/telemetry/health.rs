//! Readiness of this replica.
//!
//! Every check has passed once, none fails locally, and the server does not drain.
//!
//! A dependency that all replicas share does not count afterwards: its outage would take all of them out of service, although
//! some requests still succeed. For the same reason Admin Control and the summary store have no check.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long the results of checks are reused.
const CHECK_TTL: Duration = Duration::from_millis(500);
/// The longest time of one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the server is ready for requests, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The server is ready.
    Ready,
    /// The server is ready, and the shared dependency of this name fails.
    Degraded(&'static str),
    /// The server drains: it still responds, but should get no new requests.
    Draining,
    /// The check of this name has not passed yet, or fails on this replica only.
    NotReady(&'static str),
}

impl Readiness {
    /// Returns whether the server should get requests.
    pub(crate) fn is_ready(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded(_))
    }
}

/// The failure of a check, with the cause for the log.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The check fails on the other replicas too.
    Shared(String),
    /// The check fails on this replica only.
    Local(String),
    /// The check fails, and most requests succeed without it, even before it has passed once.
    Optional(String),
}

/// Starts a check.
type CheckFn = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send + Sync;

/// The result of the last runs of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckState {
    /// It has not passed yet.
    Pending,
    Passing,
    Degraded,
    Failing,
}

struct Check {
    name: &'static str,
    start: Box<CheckFn>,
    state: watch::Sender<CheckState>,
}

impl Check {
    fn state(&self) -> CheckState {
        *self.state.borrow()
    }

    /// Runs the check, and logs a changed result.
    async fn run(&self) {
        let timed_out = || Err(Failure::Shared("did not respond in time".to_owned()));
        let result = timeout(CHECK_TIMEOUT, (self.start)()).await.unwrap_or_else(|_| timed_out());
        let state = match &result {
            Ok(()) => CheckState::Passing,
            Err(Failure::Optional(_)) => CheckState::Degraded,
            Err(_) if self.state() == CheckState::Pending => CheckState::Pending,
            Err(Failure::Shared(_)) => CheckState::Degraded,
            Err(Failure::Local(_)) => CheckState::Failing,
        };
        let before = self.state.send_replace(state);
        match result {
            _ if before == state => {}
            Ok(()) if before == CheckState::Pending => {}
            Ok(()) => log::info!("the {} check passes", self.name),
            Err(Failure::Shared(cause) | Failure::Optional(cause)) => {
                log::error!(cause = cause.as_str(); "degraded: the {} fails", self.name);
            }
            Err(Failure::Local(cause)) => log::error!(cause = cause.as_str(); "not ready: the {} fails", self.name),
        }
    }
}

/// Checks readiness, with one run of the checks at a time.
pub(crate) struct Health {
    checks: Vec<Check>,
    draining: CancellationToken,
    checked_at: Mutex<Option<Instant>>,
}

impl Health {
    /// Creates a `Health` without checks.
    pub(crate) fn new(draining: CancellationToken) -> Self {
        Self { checks: Vec::new(), draining, checked_at: Mutex::default() }
    }

    /// Registers a check. The server is not ready before it has passed once.
    pub(crate) fn with_check<F>(mut self, name: &'static str, start: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let start = Box::new(move || -> Pin<Box<dyn Future<Output = _> + Send>> { Box::pin(start()) });
        self.checks.push(Check { name, start, state: watch::Sender::new(CheckState::Pending) });
        self
    }

    /// Returns whether the server is ready now.
    pub(crate) async fn readiness(&self) -> Readiness {
        if !self.draining.is_cancelled() {
            self.run_checks().await;
        }
        self.last_known()
    }

    /// Returns the last known readiness without a check.
    pub(crate) fn last_known(&self) -> Readiness {
        let find = |states: &[CheckState]| self.checks.iter().find(|check| states.contains(&check.state()));
        if self.draining.is_cancelled() {
            Readiness::Draining
        } else if let Some(check) = find(&[CheckState::Pending, CheckState::Failing]) {
            Readiness::NotReady(check.name)
        } else {
            find(&[CheckState::Degraded]).map_or(Readiness::Ready, |check| Readiness::Degraded(check.name))
        }
    }

    /// Returns whether the check of this name passed when it last ran.
    pub(crate) fn passes(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name && check.state() == CheckState::Passing)
    }

    /// Runs the checks, unless their results are recent.
    pub(crate) async fn run_checks(&self) {
        // Concurrent callers wait here for the results of the first.
        let mut checked_at = self.checked_at.lock().await;
        if checked_at.is_some_and(|at| at.elapsed() < CHECK_TTL) {
            return;
        }
        for check in &self.checks {
            check.run().await;
        }
        *checked_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex as StdMutex};

    type Outcome = Result<(), Failure>;

    /// A health whose check of the database has the outcome that `outcome` returns.
    fn health(outcome: impl Fn() -> Outcome + Send + Sync + 'static) -> (Health, CancellationToken) {
        let draining = CancellationToken::new();
        let health = Health::new(draining.clone()).with_check("database", move || std::future::ready(outcome()));
        (health, draining)
    }

    fn shared() -> Outcome {
        Err(Failure::Shared(String::new()))
    }

    fn local() -> Outcome {
        Err(Failure::Local(String::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn outage_is_not_ready_before_the_first_contact_then_degraded() {
        let outcome = Arc::new(StdMutex::new(shared as fn() -> Outcome));
        let current = Arc::clone(&outcome);
        let (health, draining) = health(move || (current.lock().unwrap())());
        for (next, expected) in [
            (shared as fn() -> Outcome, Readiness::NotReady("database")),
            (local, Readiness::NotReady("database")),
            (|| Ok(()), Readiness::Ready),
            (shared, Readiness::Degraded("database")),
            (local, Readiness::NotReady("database")),
            (shared, Readiness::Degraded("database")),
            (|| Ok(()), Readiness::Ready),
        ] {
            *outcome.lock().unwrap() = next;
            tokio::time::advance(CHECK_TTL).await;
            assert_eq!(health.readiness().await, expected);
            assert_eq!((health.last_known(), health.passes("database")), (expected, expected == Readiness::Ready));
        }
        draining.cancel();
        assert_eq!((health.readiness().await, health.passes("database")), (Readiness::Draining, true));
    }

    #[tokio::test(start_paused = true)]
    async fn result_is_reused_and_a_check_that_hangs_fails() {
        let hangs = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let current = Arc::clone(&hangs);
        let health = Health::new(CancellationToken::new()).with_check("database", move || {
            let hangs = current.load(std::sync::atomic::Ordering::SeqCst);
            async move { if hangs { std::future::pending().await } else { Ok(()) } }
        });
        assert_eq!(health.readiness().await, Readiness::Ready);
        hangs.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(health.readiness().await, Readiness::Ready, "the result is reused");
        tokio::time::advance(CHECK_TTL).await;
        assert_eq!(health.readiness().await, Readiness::Degraded("database"), "it does not respond in time");
    }
}
