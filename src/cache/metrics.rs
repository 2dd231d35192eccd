//! The counters of a response cache.

use std::sync::Arc;

use super::fetch_error::FetchError;
use super::redis::RedisCache;
use super::response_cache::{CacheConfig, ResponseCache};
use crate::metrics::{Counter, Registry};

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
        let help = "Cache reads by outcome; hit, coalesced and shared are calls saved.";
        let read = |outcome| registry.counter("proconf_cache_reads_total", help, &[("cache", name), ("outcome", outcome)]);
        let help = "Failed calls that were answered with a stale response.";
        let stale = registry.counter("proconf_cache_stale_total", help, &[("cache", name)]);
        Self { hit: read("hit"), coalesced: read("coalesced"), miss: read("miss"), shared: read("shared"), stale }
    }
}

impl Default for CacheMetrics {
    fn default() -> Self {
        let noop = Counter::noop;
        Self { hit: noop(), coalesced: noop(), miss: noop(), shared: noop(), stale: noop() }
    }
}

/// Makes a cache that is counted and measured under `name`.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub fn registered_cache<E: FetchError>(
    registry: &mut Registry,
    name: &'static str,
    config: CacheConfig,
    redis: Option<Arc<RedisCache>>,
) -> ResponseCache<E> {
    if let Some(redis) = redis.clone() {
        let help = "1 while the replicas share the cache, 0 while this one uses its local cache only.";
        let shared = move || if redis.is_available() { 1.0 } else { 0.0 };
        registry.watch("proconf_cache_shared", help, &[("cache", name)], shared);
    }
    let cache = ResponseCache::with(config, redis, CacheMetrics::new(registry, name));
    let (entries, bytes) = (cache.clone(), cache.clone());
    registry.watch("proconf_cache_entries", "Entries of a cache.", &[("cache", name)], move || entries.usage().0 as f64);
    let help = "Memory of a cache's entries, in bytes.";
    registry.watch("proconf_cache_bytes", help, &[("cache", name)], move || bytes.usage().1 as f64);
    cache
}
