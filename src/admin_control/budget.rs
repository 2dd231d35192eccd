//! How many retries an endpoint gets: a fifth of its calls, a few at once, and one a second where it is seldom called. Or an Admin
//! Control that is failing would be asked twice as much as one that is well.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a call puts in, in hundredths of a retry.
const EACH_CALL: u64 = 20;
const ONE_RETRY: u64 = 100;
/// The most that is saved up: ten retries.
const MOST: u64 = 10 * ONE_RETRY;
/// How long it takes for one retry to come by itself.
const BY_ITSELF: Duration = Duration::from_secs(1);

/// Shared by all workers; clones are the same budget.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// In hundredths of a retry.
    saved: u64,
    since: Instant,
}

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { saved: MOST, since: Instant::now() })))
    }
}

impl Budget {
    /// A call is made.
    pub(super) fn call(&self) {
        self.with(|state| state.saved = (state.saved + EACH_CALL).min(MOST));
    }

    /// Whether a call that broke may be made again.
    pub(super) fn retry(&self) -> bool {
        self.with(|state| {
            let seconds = state.since.elapsed().as_secs() / BY_ITSELF.as_secs();
            if seconds > 0 {
                state.saved = state.saved.saturating_add(seconds.saturating_mul(ONE_RETRY)).min(MOST);
                state.since = Instant::now();
            }
            let left = state.saved.checked_sub(ONE_RETRY);
            state.saved = left.unwrap_or(state.saved);
            left.is_some()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // Nothing in here panics while it holds the lock.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_are_a_fifth_of_the_calls_but_for_a_few_at_first() {
        let budget = Budget::default();
        let retries = (0..10_000).filter(|_| {
            budget.call();
            budget.retry()
        });
        // The first call finds it full, and adds nothing.
        assert_eq!(retries.count(), 10 + 9_999 / 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_seldom_calls_may_retry_each_time_and_nothing_is_saved_up_without_end() {
        let budget = Budget::default();
        for _ in 0..100 {
            budget.call();
            assert!(budget.retry());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!((0..100).filter(|_| budget.retry()).count(), 10);
    }
}
