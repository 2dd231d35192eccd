//! Metrics of a response cache.

use super::fetch_error::FetchError;
use super::response_cache::ResponseCache;
use crate::telemetry::metrics::{self, Counter, Registry};

/// Counts the reads of one response cache by outcome.
pub(super) struct CacheMetrics {
    pub(super) hit: Counter,
    pub(super) coalesced: Counter,
    pub(super) miss: Counter,
    pub(super) shared: Counter,
    pub(super) stale: Counter,
}

impl CacheMetrics {
    /// Registers the counters of the cache called `name`.
    pub(super) fn new(registry: &Registry, name: &'static str) -> Self {
        let read = |outcome| registry.register(&metrics::CACHE_READS, &[name, outcome]);
        let stale = registry.register(&metrics::CACHE_STALE, &[name]);
        Self { hit: read("hit"), coalesced: read("coalesced"), miss: read("miss"), shared: read("shared"), stale }
    }
}

/// Registers the gauges of the cache called `name`.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(super) fn register_gauges<E: FetchError>(registry: &mut Registry, name: &'static str, cache: &ResponseCache<E>) {
    let (entries, bytes) = (cache.clone(), cache.clone());
    registry.gauge_fn(&metrics::CACHE_ENTRIES, &[name], move || entries.usage().0 as f64);
    registry.gauge_fn(&metrics::CACHE_BYTES, &[name], move || bytes.usage().1 as f64);
}
