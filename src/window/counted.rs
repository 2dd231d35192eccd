//! What a window counts.

use crate::metrics::{Counter, Registry};

/// How reads ended. The default counts nothing.
pub struct Counted {
    pub(super) hit: Counter,
    pub(super) coalesced: Counter,
    pub(super) call: Counter,
    pub(super) shared: Counter,
    pub(super) stale: Counter,
}

impl Counted {
    /// Of the window called `name`, in `registry`.
    #[must_use]
    pub fn new(registry: &Registry, name: &'static str) -> Self {
        let help = "Reads of a window, by how they were answered (hit, coalesced and shared: a call saved).";
        let read = |outcome| registry.counter("proconf_window_reads_total", help, &[("window", name), ("outcome", outcome)]);
        let help = "Calls that failed while an old answer stood in.";
        let stale = registry.counter("proconf_window_stale_total", help, &[("window", name)]);
        Self { hit: read("hit"), coalesced: read("coalesced"), call: read("call"), shared: read("shared"), stale }
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            hit: Counter::noop(),
            coalesced: Counter::noop(),
            call: Counter::noop(),
            shared: Counter::noop(),
            stale: Counter::noop(),
        }
    }
}
