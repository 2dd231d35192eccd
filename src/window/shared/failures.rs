//! Failures of the shared layer itself, which no call of this replica has logged: said and counted here.

use crate::metrics::{Counter, Registry};

const ANOTHER_REPLICA: &str = "another-replica";
const WAITED_TOO_LONG: &str = "waited-too-long";

/// What is counted of them.
pub struct Failures {
    window: &'static str,
    another_replica: Counter,
    waited_too_long: Counter,
}

impl Failures {
    /// Those of the window called `window`, in `registry`.
    #[must_use]
    pub fn new(registry: &Registry, window: &'static str) -> Self {
        let help = "Reads that failed without a call of this replica that says why, by reason.";
        let of = |reason| registry.counter("proconf_window_failures_total", help, &[("window", window), ("reason", reason)]);
        Self { window, another_replica: of(ANOTHER_REPLICA), waited_too_long: of(WAITED_TOO_LONG) }
    }

    /// The call of another replica, which was waited for, failed; there it is logged why.
    pub(super) fn another_replica(&self, room: &str) {
        self.another_replica.increment(1);
        log::warn!(window = self.window, room, reason = ANOTHER_REPLICA; "a shared read failed");
    }

    /// Waiting for another replica's call, and one's own after it, took longer than a call may.
    pub(super) fn waited_too_long(&self, room: &str) {
        self.waited_too_long.increment(1);
        log::warn!(window = self.window, room, reason = WAITED_TOO_LONG; "a shared read failed");
    }
}
