//! How long answers are kept, and how much of them.

use std::time::Duration;

/// How long answers are kept, and how much of them.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long one answer serves everybody. Zero turns that off, but not the coalescing.
    pub fresh_for: Duration,
    /// How long past that it may stand in for a failure.
    pub stale_if_error: Duration,
    /// The memory that answers may take, in bytes.
    pub max_bytes: u64,
}

impl Rules {
    /// How old an answer may be at most when it stands in for a failure.
    #[must_use]
    pub fn oldest(&self) -> Duration {
        if self.stale_if_error.is_zero() { Duration::ZERO } else { self.fresh_for + self.stale_if_error }
    }
}
