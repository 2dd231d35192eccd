//! Whether the server is on its way out: it still serves, but is no longer ready for new connections.
//!
//! A flag that all workers share. It must not know who raises it or what anybody does about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A flag that is raised once. Clones are the same flag.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    raised: AtomicBool,
    over: AtomicBool,
    changed: Notify,
}

impl Draining {
    /// Raises the flag, for good.
    pub fn begin(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }

    /// Whether it is raised.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// Says that it is over: nobody new is let in, and what is there is to be finished.
    pub fn end(&self) {
        self.begin();
        self.0.over.store(true, Ordering::SeqCst);
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.over.load(Ordering::SeqCst)
    }

    /// Done once it is raised; at once if it is already.
    pub async fn begun(&self) {
        let changed = self.0.changed.notified();
        tokio::pin!(changed);
        // Before the flag is looked at, so that no change falls in between.
        changed.as_mut().enable();
        if !self.has_begun() {
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_told_and_whoever_comes_late_does_not_wait() {
        let draining = Draining::default();
        assert!(!draining.has_begun());
        let waiting = tokio::spawn({
            let draining = draining.clone();
            async move { draining.begun().await }
        });
        tokio::task::yield_now().await;
        draining.begin();
        waiting.await.unwrap();
        draining.begun().await;
        assert!(draining.has_begun() && !draining.is_over());
        draining.end();
        assert!(draining.is_over());
    }
}
