//! The local response cache: single-flight, stale-if-error, bounded by bytes, shared by all workers.
//!
//! Permission is checked before a read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::watch;

use super::entry::{CachedResponse, Envelope};
use super::fetch_error::{FailureKind, FetchError};
use super::metrics::{CacheMetrics, register_gauges};
use super::redis::RedisCache;
use crate::telemetry::metrics::{CACHE_SHARED, Registry};

/// The memory of an entry beside its key and its envelope, in bytes.
const ENTRY_OVERHEAD: usize = 300;
/// The estimated size of an entry, in bytes.
const TYPICAL_ENTRY: u64 = 2 << 10;
/// The smallest shard of the storage, in bytes. An entry must fit into a shard.
const SHARD_BYTES: u64 = 8 << 20;
const MAX_SHARDS: u64 = 16;

/// Lifetimes and size of a response cache.
#[derive(Debug, Clone, Copy)]
pub struct CacheConfig {
    /// How long an entry is fresh. Zero turns the cache off, but not the single-flight.
    pub fresh_for: Duration,
    /// How long after that it may be served if a fetch fails.
    pub stale_if_error: Duration,
    /// The memory limit, in bytes.
    pub max_bytes: u64,
}

impl CacheConfig {
    /// Returns the configuration of another cache, which is off if this one is.
    #[must_use]
    pub fn derive(self, fresh_for: Duration, max_bytes: u64) -> Self {
        let fresh_for = if self.fresh_for.is_zero() { Duration::ZERO } else { fresh_for };
        Self { fresh_for, max_bytes, ..self }
    }

    /// Returns the age up to which an entry may be served.
    fn max_stale_age(&self) -> Duration {
        self.fresh_for + self.stale_if_error
    }
}

/// The size of a response cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CacheUsage {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// A response cache. Clones share the entries.
pub struct ResponseCache<E>(Arc<CacheInner<E>>);

struct CacheInner<E> {
    entries: Cache<Box<str>, CachedResponse, ByBytes>,
    /// The fetches in flight, by key.
    flights: Mutex<HashMap<Box<str>, FlightReceiver<E>>>,
    config: CacheConfig,
    redis: Option<Arc<RedisCache>>,
    metrics: CacheMetrics,
}

/// Receives the result of a flight; `None` until then.
type FlightReceiver<E> = watch::Receiver<Option<Result<CachedResponse, E>>>;

/// Weighs an entry by its memory.
#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<str>, CachedResponse> for ByBytes {
    fn weight(&self, key: &Box<str>, entry: &CachedResponse) -> u64 {
        (key.len() + entry.envelope.size() + ENTRY_OVERHEAD) as u64
    }
}

impl<E> Clone for ResponseCache<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: FetchError> ResponseCache<E> {
    /// Creates an empty cache, shared through `redis` if given, with metrics under `name`.
    #[must_use]
    pub fn new(config: CacheConfig, redis: Option<Arc<RedisCache>>, registry: &mut Registry, name: &'static str) -> Self {
        if let Some(redis) = redis.clone() {
            registry.gauge_fn(&CACHE_SHARED, &[name], move || f64::from(redis.is_available()));
        }
        let (entries, metrics) = (storage(config.max_bytes), CacheMetrics::new(registry, name));
        let cache = Self(Arc::new(CacheInner { entries, flights: Mutex::default(), config, redis, metrics }));
        register_gauges(registry, name, &cache);
        cache
    }

    /// Returns the size of the cache.
    #[must_use]
    pub(super) fn usage(&self) -> CacheUsage {
        CacheUsage { entries: self.0.entries.len() as u64, bytes: self.0.entries.weight() }
    }

    /// Returns how long an entry is fresh.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        self.0.config.fresh_for
    }

    /// Removes the entry of `key`.
    pub fn remove(&self, key: &str) {
        self.0.entries.remove(key);
    }

    /// Returns the fresh entry of `key`, or the result of `fetch`.
    ///
    /// The first caller starts the fetch, as a task of its own on its worker: cancelling the caller neither cancels the
    /// fetch nor starts another. The other callers wait for the same result.
    ///
    /// # Errors
    ///
    /// That of the fetch, for all callers that waited; the next caller fetches again.
    pub async fn get<F>(&self, key: &str, fetch: impl FnOnce() -> F) -> Result<CachedResponse, E>
    where
        F: Future<Output = Result<Envelope, E>> + 'static,
    {
        self.get_within(self.0.config.fresh_for, key, fetch).await
    }

    /// Like [`ResponseCache::get`], with entries fresh for `max_age`.
    ///
    /// # Errors
    ///
    /// As [`ResponseCache::get`].
    pub async fn get_within<F>(&self, max_age: Duration, key: &str, fetch: impl FnOnce() -> F) -> Result<CachedResponse, E>
    where
        F: Future<Output = Result<Envelope, E>> + 'static,
    {
        if let Some(entry) = self.0.find_fresh(key, max_age) {
            return Ok(entry);
        }
        let mut flight = self.0.join_flight(key, max_age, fetch);
        let result = flight.wait_for(Option::is_some).await.map(|result| result.clone());
        result.ok().flatten().unwrap_or_else(|| Err(E::aborted()))
    }
}

fn storage(max_bytes: u64) -> Cache<Box<str>, CachedResponse, ByBytes> {
    let items = usize::try_from(max_bytes / TYPICAL_ENTRY).unwrap_or(usize::MAX);
    let shards = (max_bytes / SHARD_BYTES).clamp(1, MAX_SHARDS);
    let mut options = OptionsBuilder::new();
    options.estimated_items_capacity(items).weight_capacity(max_bytes);
    match options.shards(usize::try_from(shards).unwrap_or(1)).build() {
        Ok(options) => Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default()),
        Err(_) => Cache::with_weighter(items, max_bytes, ByBytes),
    }
}

/// The outcome of a flight.
pub(super) struct Outcome<E> {
    pub(super) result: Result<CachedResponse, E>,
    /// Another replica's response, which may be served if the result is a failure.
    pub(super) stale: Option<CachedResponse>,
    /// Whether another replica made the fetch.
    pub(super) is_shared: bool,
}

impl<E> Outcome<E> {
    /// Creates the outcome of a fetch of this replica.
    pub(super) fn fetched(result: Result<Envelope, E>, stale: Option<CachedResponse>) -> Self {
        let result = result.map(|envelope| CachedResponse::with_age(envelope, Duration::ZERO));
        Self { result, stale, is_shared: false }
    }
}

impl<E: FetchError> CacheInner<E> {
    /// Finds the entry of `key` if it is fresh, and counts the hit.
    fn find_fresh(&self, key: &str, max_age: Duration) -> Option<CachedResponse> {
        let entry = self.entries.get(key).filter(|entry| entry.age() < max_age)?;
        self.metrics.hit.increment(1);
        Some(entry)
    }

    /// Joins the flight of `key`, or starts one.
    fn join_flight<F>(self: &Arc<Self>, key: &str, max_age: Duration, fetch: impl FnOnce() -> F) -> FlightReceiver<E>
    where
        F: Future<Output = Result<Envelope, E>> + 'static,
    {
        let mut flights = self.flights();
        if let Some(receiver) = flights.get(key) {
            self.metrics.coalesced.increment(1);
            return receiver.clone();
        }
        // A flight may have ended before the lock was taken.
        if let Some(entry) = self.find_fresh(key, max_age) {
            return watch::channel(Some(Ok(entry))).1;
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key.into(), receiver.clone());
        drop(flights);
        let flight = Flight { cache: Arc::clone(self), key: key.into(), sender };
        tokio::task::spawn_local(flight.run(max_age, fetch()));
        receiver
    }

    /// Stores a response; after a failure, finds the stale entry to serve instead.
    fn store_or_serve_stale(&self, key: &str, outcome: Outcome<E>) -> Result<CachedResponse, E> {
        let error = match outcome.result {
            Ok(entry) => {
                if !self.config.max_stale_age().is_zero() {
                    self.entries.insert(key.into(), entry.clone());
                }
                return Ok(entry);
            }
            Err(error) => error,
        };
        if matches!(error.kind(), FailureKind::NotFound | FailureKind::Gone) {
            self.entries.remove(key);
            return Err(error);
        }
        let stale = self.entries.get(key).into_iter().chain(outcome.stale).min_by_key(CachedResponse::age);
        let stale = stale.filter(|entry| entry.age() < self.config.max_stale_age()).ok_or(error)?;
        self.metrics.stale.increment(1);
        Ok(stale)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Box<str>, FlightReceiver<E>>> {
        // Nothing panics while it holds the lock.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch in flight. If it is dropped before its end, its callers get [`FetchError::aborted`].
struct Flight<E: FetchError> {
    cache: Arc<CacheInner<E>>,
    key: Box<str>,
    sender: watch::Sender<Option<Result<CachedResponse, E>>>,
}

impl<E: FetchError> Flight<E> {
    async fn run(self, max_age: Duration, fetch: impl Future<Output = Result<Envelope, E>> + 'static) {
        let metrics = &self.cache.metrics;
        let fetch = async {
            metrics.miss.increment(1);
            fetch.await
        };
        let outcome = match &self.cache.redis {
            Some(redis) => redis.get_or_fetch(&self.key, max_age, fetch).await,
            None => Outcome::fetched(fetch.await, None),
        };
        if outcome.is_shared {
            metrics.shared.increment(1);
        }
        let result = self.cache.store_or_serve_stale(&self.key, outcome);
        // Removed first, so that the next caller finds the entry or starts a new flight.
        self.cache.flights().remove(&self.key);
        self.sender.send_replace(Some(result));
    }
}

impl<E: FetchError> Drop for Flight<E> {
    fn drop(&mut self) {
        let mut flights = self.cache.flights();
        // After its end, another flight of the key may have started.
        if flights.get(&self.key).is_some_and(|receiver| receiver.same_channel(&self.sender.subscribe())) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
