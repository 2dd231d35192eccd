//! Circuit breaker for one endpoint of Admin Control.
//!
//! Opens after five consecutive failures to reach the endpoint, unless a call has succeeded in the last 10 s. A slow call is
//! a failure until its response arrives. While the breaker is open, calls fail at once, except one probe at the end of each
//! open period. Any well-formed response closes it, even an error: Admin Control may fail for one room only.
//!
//! An open period starts together with a probe, so that a probe that times out does not delay the next.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The number of consecutive failures that opens the breaker.
const THRESHOLD: u32 = 5;
/// The time after which a call without a response is slow.
pub(super) const SLOW_CALL: Duration = Duration::from_secs(5);
/// How long the breaker stays closed after a success.
///
/// The same applies after the start of the first of consecutive slow calls.
const SUCCESS_WINDOW: Duration = Duration::from_secs(10);
const MIN_OPEN: Duration = Duration::from_secs(1);
const MAX_OPEN: Duration = Duration::from_secs(30);
/// An open period is the outage so far divided by this. Periods grow exponentially, and the end of an outage of up to 10 s
/// is noticed within 2 s.
const BACKOFF_DIVISOR: u32 = 5;

/// A circuit breaker, shared by all workers.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker(Mutex<Circuit>);

#[derive(Debug, Default)]
struct Circuit {
    consecutive_failures: u32,
    /// The breaker does not open before this time.
    closed_until: Option<Instant>,
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
    is_slow: bool,
}

impl CircuitBreaker {
    /// Permits a call; `None` while the breaker is open and no probe is due.
    pub(super) fn begin_attempt(&self) -> Option<Attempt<'_>> {
        if let Some(open) = &mut self.lock().open {
            let now = Instant::now();
            if now < open.probe_at {
                return None;
            }
            open.probe_at = now + ((now - open.since) / BACKOFF_DIVISOR).clamp(MIN_OPEN, MAX_OPEN);
        }
        Some(Attempt { breaker: self, is_slow: false })
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
        circuit.consecutive_failures = 0;
        circuit.closed_until = Some(Instant::now() + SUCCESS_WINDOW);
        circuit.open.take().is_some()
    }

    /// Records that there is no response after [`SLOW_CALL`]. Returns whether that opened the breaker.
    pub(super) fn record_slow(&mut self) -> bool {
        self.is_slow = true;
        let mut circuit = self.breaker.lock();
        if circuit.consecutive_failures == 0 {
            circuit.closed_until = circuit.closed_until.max(Some(Instant::now() + SUCCESS_WINDOW - SLOW_CALL));
        }
        circuit.add_failures(1)
    }

    /// Records that the endpoint was not reached. Returns whether that opened the breaker.
    pub(super) fn record_failure(self) -> bool {
        // A slow call was counted before.
        self.breaker.lock().add_failures(u32::from(!self.is_slow))
    }
}

impl Circuit {
    /// Adds failures. Returns whether they opened the breaker.
    fn add_failures(&mut self, failures: u32) -> bool {
        let now = Instant::now();
        self.consecutive_failures = self.consecutive_failures.saturating_add(failures);
        let is_due = self.consecutive_failures >= THRESHOLD && self.closed_until.is_none_or(|until| now >= until);
        let opens = self.open.is_none() && is_due;
        if opens {
            self.open = Some(Open { since: now, probe_at: now + MIN_OPEN });
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const ALMOST_SUCCESS_WINDOW: Duration = Duration::from_millis(9_999);

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
    async fn success_keeps_it_closed_for_ten_seconds() {
        let breaker = CircuitBreaker::default();
        assert!(!breaker.begin_attempt().unwrap().record_success());
        advance(ALMOST_SUCCESS_WINDOW).await;
        assert!((0..20).all(|_| !fail(&breaker)));
        advance(Duration::from_millis(1)).await;
        assert!(fail(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_calls_count_once_and_open_it_after_ten_seconds() {
        let breaker = CircuitBreaker::default();
        let mut slow: Vec<Attempt<'_>> = (0..THRESHOLD).map(|_| breaker.begin_attempt().unwrap()).collect();
        advance(SLOW_CALL).await;
        assert!(!slow.iter_mut().any(Attempt::record_slow), "a slow endpoint may still respond");
        let (one, others) = (slow.pop().unwrap(), slow);
        advance(SLOW_CALL).await;
        assert!(one.record_failure(), "ten seconds without a success");
        assert!(!others.into_iter().any(Attempt::record_failure), "it is open already");

        let breaker = CircuitBreaker::default();
        let mut slow: Vec<Attempt<'_>> = (1..THRESHOLD).map(|_| breaker.begin_attempt().unwrap()).collect();
        assert!(!slow.iter_mut().any(Attempt::record_slow));
        advance(SUCCESS_WINDOW).await;
        assert!(!slow.into_iter().any(Attempt::record_failure), "four calls, four failures");
        assert!(fail(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_endpoint_that_responds_never_opens_it() {
        let breaker = CircuitBreaker::default();
        for _ in 0..10 {
            let mut slow: Vec<Attempt<'_>> = (0..20).map(|_| breaker.begin_attempt().unwrap()).collect();
            advance(SLOW_CALL).await;
            assert!(!slow.iter_mut().any(Attempt::record_slow));
            advance(Duration::from_secs(4)).await;
            assert!(!slow.into_iter().any(Attempt::record_success));
            advance(Duration::from_mins(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn late_success_closes_it_and_late_failures_open_nothing() {
        let breaker = CircuitBreaker::default();
        let mut old: Vec<Attempt<'_>> = (0..20).map(|_| breaker.begin_attempt().unwrap()).collect();
        assert_eq!(old.drain(..5).filter_map(|attempt| attempt.record_failure().then_some(())).count(), 1);
        assert!(breaker.begin_attempt().is_none());
        assert!(old.pop().unwrap().record_success(), "it responds");
        assert!(!old.into_iter().any(Attempt::record_failure));
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
