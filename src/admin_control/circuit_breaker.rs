//! Circuit breaker for one endpoint of Admin Control.
//!
//! Opens after five consecutive failures to reach the endpoint. While it is open, calls fail at once, except one probe at
//! the end of each open period. Any well-formed response closes it, even an error: Admin Control may fail for one room only.
//!
//! An open period starts together with a probe, so that a probe that times out does not delay the next.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The consecutive failures that open it.
const THRESHOLD: u32 = 5;
const MIN_OPEN: Duration = Duration::from_secs(1);
const MAX_OPEN: Duration = Duration::from_secs(30);
/// An open period is this part of the outage so far. Periods grow exponentially, and the end of an outage of up to 10 s
/// is noticed within 2 s.
const OPEN_PART: u32 = 5;

/// A circuit breaker, shared by all workers.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker(Mutex<Circuit>);

#[derive(Debug, Default)]
struct Circuit {
    consecutive_failures: u32,
    /// Incremented by each opening and closing. Results of calls from an earlier generation are ignored.
    generation: u64,
    /// `None` while closed.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    probe_at: Instant,
}

/// The permission to make one call. Its result is recorded, unless the call is cancelled.
pub(super) struct Attempt<'a> {
    breaker: &'a CircuitBreaker,
    generation: u64,
}

impl CircuitBreaker {
    /// Permits a call; `None` while the breaker is open and no probe is due.
    pub(super) fn begin_attempt(&self) -> Option<Attempt<'_>> {
        let mut circuit = self.lock();
        if let Some(open) = &mut circuit.open {
            let now = Instant::now();
            if now < open.probe_at {
                return None;
            }
            open.probe_at = now + ((now - open.since) / OPEN_PART).clamp(MIN_OPEN, MAX_OPEN);
        }
        Some(Attempt { breaker: self, generation: circuit.generation })
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().open.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// Records that the endpoint was reached. Returns whether that closed the breaker.
    pub(super) fn record_success(self) -> bool {
        let mut circuit = self.breaker.lock();
        if circuit.generation != self.generation {
            return false;
        }
        circuit.consecutive_failures = 0;
        let closed = circuit.open.take().is_some();
        circuit.generation += u64::from(closed);
        closed
    }

    /// Records that the endpoint was not reached. Returns whether that opened the breaker.
    pub(super) fn record_failure(self) -> bool {
        let mut circuit = self.breaker.lock();
        if circuit.generation != self.generation {
            return false;
        }
        circuit.consecutive_failures = circuit.consecutive_failures.saturating_add(1);
        let opens = circuit.open.is_none() && circuit.consecutive_failures >= THRESHOLD;
        if opens {
            let since = Instant::now();
            circuit.open = Some(Open { since, probe_at: since + MIN_OPEN });
            circuit.generation += 1;
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn fail(breaker: &CircuitBreaker) -> bool {
        breaker.begin_attempt().unwrap().record_failure()
    }

    fn opened() -> CircuitBreaker {
        let breaker = CircuitBreaker::default();
        let opened: Vec<bool> = (0..5).map(|_| fail(&breaker)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn five_consecutive_failures_open_it_and_a_success_resets_them() {
        let breaker = CircuitBreaker::default();
        for _ in 0..10 {
            for _ in 0..4 {
                assert!(!fail(&breaker));
            }
            assert!(!breaker.begin_attempt().unwrap().record_success());
        }
        assert!(!breaker.is_open());
        let breaker = opened();
        assert!(breaker.is_open() && breaker.begin_attempt().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn open_period_grows_from_1_to_30_seconds_with_one_probe_each() {
        let (breaker, opened) = (opened(), Instant::now());
        let mut periods = Vec::new();
        for _ in 0..40 {
            let started = Instant::now();
            let probe = loop {
                advance(Duration::from_millis(10)).await;
                if let Some(probe) = breaker.begin_attempt() {
                    break probe;
                }
            };
            assert!(breaker.begin_attempt().is_none(), "one probe at a time");
            assert!(!probe.record_failure(), "it is open already");
            let (period, outage) = (started.elapsed(), started - opened);
            assert!(outage > Duration::from_secs(10) || period <= Duration::from_millis(2_010), "{period:?} at {outage:?}");
            periods.push(period.as_secs());
        }
        assert!(periods.is_sorted(), "{periods:?}");
        assert_eq!((periods[0], periods[4], periods[39]), (1, 1, 30), "{periods:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn success_of_a_probe_closes_it() {
        let breaker = opened();
        advance(MIN_OPEN).await;
        assert!(breaker.begin_attempt().unwrap().record_success());
        assert!(!breaker.is_open() && (0..100).all(|_| breaker.begin_attempt().is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn results_from_before_a_transition_are_ignored() {
        let breaker = CircuitBreaker::default();
        let mut old: Vec<Attempt<'_>> = (0..20).map(|_| breaker.begin_attempt().unwrap()).collect();
        assert_eq!(old.drain(..5).filter_map(|attempt| attempt.record_failure().then_some(())).count(), 1);
        assert!(!old.pop().unwrap().record_success(), "an old success closes nothing");
        assert!(breaker.begin_attempt().is_none());
        advance(MIN_OPEN).await;
        assert!(breaker.begin_attempt().unwrap().record_success());
        assert!(!old.into_iter().any(Attempt::record_failure), "old failures open nothing");
        assert!(breaker.begin_attempt().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_or_cancelled_probe_does_not_delay_the_next() {
        let breaker = opened();
        advance(MIN_OPEN).await;
        let hanging = breaker.begin_attempt().unwrap();
        advance(MIN_OPEN).await;
        assert!(breaker.begin_attempt().is_some(), "a cancelled probe");
        assert!(breaker.begin_attempt().is_none(), "not before the period is over");
        advance(MIN_OPEN).await;
        let slow = breaker.begin_attempt().unwrap();
        advance(MIN_OPEN).await;
        let later = breaker.begin_attempt().unwrap();
        assert!(slow.record_success(), "a late success counts while it is open");
        assert!(!hanging.record_failure() && !later.record_failure());
        assert!((0..100).all(|_| breaker.begin_attempt().is_some()));
    }
}
