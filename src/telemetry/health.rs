//! Readiness: every registered check passes, and the server does not drain.
//!
//! Only checks whose failure makes every request fail belong here. Admin Control and the summary store do not: without them
//! some requests still succeed, and no other replica would do better.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long the results of checks are reused.
const CHECK_TTL: Duration = Duration::from_millis(500);
/// The longest time of one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the server is ready for requests, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The server is ready.
    Ready,
    /// The server drains: it still answers, but should get no new requests.
    Draining,
    /// The check of this name fails.
    Failing(&'static str),
}

/// Starts a check, whose error is the cause for the log.
type CheckFn = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

struct Check {
    name: &'static str,
    start: Box<CheckFn>,
    /// The last result.
    passes: AtomicBool,
}

impl Check {
    /// Runs the check, and logs a changed result.
    async fn run(&self) {
        let result =
            timeout(CHECK_TIMEOUT, (self.start)()).await.unwrap_or_else(|_| Err("did not answer in time".to_owned()));
        if self.passes.swap(result.is_ok(), Ordering::Relaxed) != result.is_ok() {
            match result {
                Ok(()) => log::info!("ready: the {} answers again", self.name),
                Err(cause) => log::error!(cause = cause.as_str(); "not ready: the {} fails", self.name),
            }
        }
    }
}

/// Checks readiness, with one run of the checks at a time.
pub struct Health {
    checks: Vec<Check>,
    draining: CancellationToken,
    checked_at: Mutex<Option<Instant>>,
}

impl Health {
    /// Creates a health without checks.
    #[must_use]
    pub fn new(draining: CancellationToken) -> Self {
        Self { checks: Vec::new(), draining, checked_at: Mutex::default() }
    }

    /// Registers the check of a dependency that works now.
    #[must_use]
    pub fn with_check<F>(mut self, name: &'static str, start: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let start = Box::new(move || -> Pin<Box<dyn Future<Output = _> + Send>> { Box::pin(start()) });
        self.checks.push(Check { name, start, passes: AtomicBool::new(true) });
        self
    }

    /// Returns whether the server is ready now.
    pub async fn readiness(&self) -> Readiness {
        if !self.draining.is_cancelled() {
            self.run_checks().await;
        }
        self.last_known()
    }

    /// Returns the last known readiness without a check.
    #[must_use]
    pub fn last_known(&self) -> Readiness {
        if self.draining.is_cancelled() {
            return Readiness::Draining;
        }
        let failing = self.checks.iter().find(|check| !check.passes.load(Ordering::Relaxed));
        failing.map_or(Readiness::Ready, |check| Readiness::Failing(check.name))
    }

    async fn run_checks(&self) {
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
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn readiness_names_the_failing_check_until_it_passes() {
        let is_up = Arc::new(AtomicBool::new(true));
        let (up, draining) = (Arc::clone(&is_up), CancellationToken::new());
        let health = Health::new(draining.clone()).with_check("database", move || {
            let up = up.load(Ordering::SeqCst);
            async move { if up { Ok(()) } else { std::future::pending().await } }
        });
        assert_eq!(health.readiness().await, Readiness::Ready);
        is_up.store(false, Ordering::SeqCst);
        assert_eq!(health.readiness().await, Readiness::Ready, "the result is reused");
        tokio::time::advance(CHECK_TTL).await;
        assert_eq!(health.readiness().await, Readiness::Failing("database"), "it does not answer in time");
        is_up.store(true, Ordering::SeqCst);
        tokio::time::advance(CHECK_TTL).await;
        assert_eq!(health.last_known(), Readiness::Failing("database"));
        assert_eq!(health.readiness().await, Readiness::Ready);
        draining.cancel();
        assert_eq!(health.readiness().await, Readiness::Draining);
    }
}
