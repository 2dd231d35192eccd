//! A breaker for one endpoint: after a row of failures to reach it, calls fail at once, but for one now and then that tries.
//!
//! A well-formed answer closes it, an error's too: one room that Admin Control fails at must not shut the others out.
//!
//! The pause until the next try is counted from the start of the last one, not from its end: where Admin Control takes calls and
//! hangs, one that ends with its deadline would keep everybody from noticing for so long that all is well again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const THRESHOLD: u32 = 5;
/// How long it is open at first; each probe doubles that.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// An outage that is shorter than this is noticed to be over within the second of these.
const SHORT_OUTAGE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE_IN_IT: Duration = Duration::from_secs(2);

/// Shared by all workers; clones are the same breaker.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Grows each time it opens or closes: what began before says nothing of now.
    generation: u64,
    /// `None` while it is closed.
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    /// When the next probe may go.
    until: Instant,
    /// How long the pause before that is.
    pause: Duration,
}

/// The permission to make one call, and the duty to say what came of it. Dropped without a word, it says nothing.
pub(super) struct Attempt {
    breaker: Breaker,
    generation: u64,
}

impl Breaker {
    /// A permission to call, or none while it is open.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        let mut state = self.state();
        if let Some(open) = &mut state.open {
            let now = Instant::now();
            if now < open.until {
                return None;
            }
            let longest = if now - open.since < SHORT_OUTAGE { LONGEST_PAUSE_IN_IT } else { LONGEST_PAUSE };
            open.pause = (open.pause * 2).min(longest);
            open.until = now + open.pause;
        }
        Some(Attempt { breaker: self.clone(), generation: state.generation })
    }

    /// Whether calls fail at once.
    pub(super) fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// The endpoint was reached. `true` if that closed the breaker.
    pub(super) fn reached(self) -> bool {
        let mut state = self.breaker.state();
        if state.generation != self.generation {
            return false;
        }
        state.failures = 0;
        let closed = state.open.take().is_some();
        state.generation += u64::from(closed);
        closed
    }

    /// The endpoint was not reached. `true` if that opened the breaker.
    pub(super) fn failed(self) -> bool {
        let mut state = self.breaker.state();
        if state.generation != self.generation {
            return false;
        }
        state.failures = state.failures.saturating_add(1);
        let opens = state.open.is_none() && state.failures >= THRESHOLD;
        if opens {
            let now = Instant::now();
            state.open = Some(Open { since: now, until: now + FIRST_PAUSE, pause: FIRST_PAUSE });
            state.generation += 1;
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn fail(breaker: &Breaker) -> bool {
        breaker.attempt().unwrap().failed()
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_and_anything_well_formed_in_between_does_not() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 0..4 {
                assert!(!fail(&breaker));
            }
            assert!(!breaker.attempt().unwrap().reached());
        }
        let opened: Vec<bool> = (0..5).map(|_| fail(&breaker)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        assert!(breaker.attempt().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_a_pause_and_pauses_that_are_short_at_first_and_double_to_half_a_minute() {
        let breaker = Breaker::default();
        (0..5).for_each(|_| {
            fail(&breaker);
        });
        for pause in [1, 2, 2, 2, 2, 2, 4, 8, 16, 30, 30] {
            advance(Duration::from_secs(pause).saturating_sub(Duration::from_millis(1))).await;
            assert!(breaker.attempt().is_none());
            advance(Duration::from_millis(1)).await;
            let probe = breaker.attempt().unwrap();
            assert!(breaker.attempt().is_none(), "one at a time");
            assert!(!probe.failed(), "it is open already");
        }
        advance(LONGEST_PAUSE).await;
        assert!(breaker.attempt().unwrap().reached());
        assert!(breaker.attempt().is_some() && breaker.attempt().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_opened_or_closed_says_nothing_of_now() {
        let breaker = Breaker::default();
        let old: Vec<Attempt> = (0..20).map(|_| breaker.attempt().unwrap()).collect();
        let (early, late) = { old }.into_iter().enumerate().partition::<Vec<_>, _>(|(number, _)| *number < 5);
        assert_eq!(early.into_iter().map(|(_, attempt)| attempt.failed()).filter(|opened| *opened).count(), 1);
        let mut late = late.into_iter().map(|(_, attempt)| attempt);
        assert!(!late.next().unwrap().reached(), "an old call that succeeds closes nothing");
        assert!(breaker.attempt().is_none());
        advance(FIRST_PAUSE).await;
        assert!(breaker.attempt().unwrap().reached());
        assert!(!late.any(Attempt::failed), "old calls that fail open nothing");
        assert!(breaker.attempt().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_or_ends_without_a_word_does_not_keep_the_next_one_from_trying() {
        let breaker = Breaker::default();
        (0..5).for_each(|_| {
            fail(&breaker);
        });
        advance(FIRST_PAUSE).await;
        let hangs = breaker.attempt().unwrap();
        advance(LONGEST_PAUSE_IN_IT).await;
        drop(breaker.attempt().unwrap());
        assert!(breaker.attempt().is_none(), "not before the next pause is over");
        advance(LONGEST_PAUSE_IN_IT).await;
        assert!(breaker.attempt().unwrap().reached());
        assert!(!hangs.failed(), "its deadline comes when all is well again");
        assert!((0..100).all(|_| breaker.attempt().is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_to_an_early_probe_closes_it_while_later_ones_wait() {
        let breaker = Breaker::default();
        (0..5).for_each(|_| {
            fail(&breaker);
        });
        advance(FIRST_PAUSE).await;
        let slow = breaker.attempt().unwrap();
        advance(LONGEST_PAUSE_IN_IT).await;
        let later = breaker.attempt().unwrap();
        assert!(slow.reached());
        assert!(!later.failed() && breaker.attempt().is_some());
    }
}
