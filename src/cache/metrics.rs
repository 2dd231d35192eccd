//! Metrics of a response cache.

use std::sync::Arc;

use super::fetch_error::FetchError;
use super::redis::RedisCache;
use super::response_cache::{CacheConfig, ResponseCache};
use crate::telemetry::metrics::{self, Counter, Registry};

/// Counts the reads of one response cache by outcome. The default counts nothing.
pub struct CacheMetrics {
    pub(super) hit: Counter,
    pub(super) coalesced: Counter,
    pub(super) miss: Counter,
    pub(super) shared: Counter,
    pub(super) stale: Counter,
}

impl CacheMetrics {
    /// Registers the counters of the cache called `name`.
    #[must_use]
    pub fn new(registry: &Registry, name: &'static str) -> Self {
        let read = |outcome| registry.register(&metrics::CACHE_READS, &[name, outcome]);
        let stale = registry.register(&metrics::CACHE_STALE, &[name]);
        Self { hit: read("hit"), coalesced: read("coalesced"), miss: read("miss"), shared: read("shared"), stale }
    }
}

impl Default for CacheMetrics {
    fn default() -> Self {
        let noop = Counter::noop;
        Self { hit: noop(), coalesced: noop(), miss: noop(), shared: noop(), stale: noop() }
    }
}

/// Creates a cache whose metrics are registered under `name`.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn registered_cache<E: FetchError>(
    registry: &mut Registry,
    name: &'static str,
    config: CacheConfig,
    redis: Option<Arc<RedisCache>>,
) -> ResponseCache<E> {
    if let Some(redis) = redis.clone() {
        registry.gauge_fn(&metrics::CACHE_SHARED, &[name], move || f64::from(redis.is_available()));
    }
    let cache = ResponseCache::with_redis(config, redis, CacheMetrics::new(registry, name));
    let (entries, bytes) = (cache.clone(), cache.clone());
    registry.gauge_fn(&metrics::CACHE_ENTRIES, &[name], move || entries.usage().0 as f64);
    registry.gauge_fn(&metrics::CACHE_BYTES, &[name], move || bytes.usage().1 as f64);
    cache
}
