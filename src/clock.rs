//! The wall clock, which tests can replace. Deadlines use the runtime's monotonic timers instead.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A source of wall-clock time. Clones share it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(SystemTime::now)
    }

    /// Creates a clock that returns the result of `now`.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// Returns whole seconds since the Unix epoch, rounded down; 0 before it. Used in tokens.
    pub(crate) fn unix_seconds(&self) -> i64 {
        self.unix_milliseconds() / 1000
    }

    /// Returns milliseconds since the Unix epoch. Used in the database.
    #[must_use]
    pub fn unix_milliseconds(&self) -> i64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// Returns a duration in milliseconds, at most [`i64::MAX`].
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The largest accepted difference between the clocks of replicas.
pub(crate) const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Detects that the wall clock was set, by comparing it with a monotonic timer.
pub(crate) struct ClockJumpDetector {
    wall_clock: i64,
    timer: Instant,
}

impl ClockJumpDetector {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { wall_clock: clock.unix_milliseconds(), timer: Instant::now() }
    }

    /// Returns whether the clock jumped by more than [`MAX_CLOCK_SKEW`] since the last call.
    pub(crate) fn detect(&mut self, clock: &Clock) -> bool {
        let last = std::mem::replace(self, Self::new(clock));
        let expected = last.wall_clock.saturating_add(milliseconds(self.timer - last.timer));
        u128::from(self.wall_clock.abs_diff(expected)) > MAX_CLOCK_SKEW.as_millis()
    }
}
