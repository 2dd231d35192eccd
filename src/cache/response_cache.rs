//! The local response cache: single-flight, stale entries, bounded by bytes.
//!
//! All workers share it. A stale entry replaces the response of a failed or slow fetch.
//!
//! Permission is checked before a read.

mod flight;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::watch;

use super::entry::{CachedResponse, Envelope};
use super::fetch_error::FetchError;
use super::metrics::{CacheMetrics, register_gauges};
use super::redis::RedisCache;
use crate::telemetry::metrics::{CACHE_SHARED, Registry};
pub(super) use flight::Outcome;
use flight::{Flight, FlightReceiver, FlightState};

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
    /// How long an entry is fresh. Zero turns the cache off, but for failures and the single-flight.
    pub fresh_for: Duration,
    /// How long after that it may be served if a fetch fails or is slow.
    pub stale_if_error: Duration,
    /// The time after which a fetch is slow. Zero serves a stale entry at once.
    pub stale_after: Duration,
    /// The memory limit, in bytes.
    pub max_bytes: u64,
}

impl CacheConfig {
    /// Returns the configuration of another cache, which is off if this one is.
    pub(crate) fn derive(self, fresh_for: Duration, max_bytes: u64) -> Self {
        let fresh_for = if self.fresh_for.is_zero() { Duration::ZERO } else { fresh_for };
        Self { fresh_for, max_bytes, ..self }
    }

    /// Returns the time after which a fetch is slow; never if the cache is off.
    fn stale_after(&self) -> Duration {
        if self.fresh_for.is_zero() { Duration::MAX } else { self.stale_after }
    }

    /// Returns the age up to which an entry may be served.
    fn max_stale_age(&self) -> Duration {
        self.fresh_for + self.stale_if_error
    }
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

/// What a caller waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitFor {
    Result,
    /// The result or, once the fetch is slow, a stale entry.
    ResultOrStale,
}

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

    /// Returns the number of entries and their bytes.
    pub(super) fn usage(&self) -> (u64, u64) {
        (self.0.entries.len() as u64, self.0.entries.weight())
    }

    /// Returns how long an entry is fresh.
    pub(crate) fn fresh_for(&self) -> Duration {
        self.0.config.fresh_for
    }

    /// Removes the entry of `key`.
    pub(crate) fn remove(&self, key: &str) {
        self.0.entries.remove(key);
    }

    /// Returns the fresh entry of `key`, or the result of `fetch`.
    ///
    /// If that fails or is slow, returns a stale entry.
    ///
    /// The first caller starts the fetch, as a task of its own on its worker: cancelling the caller neither cancels the
    /// fetch nor starts another. The other callers wait for the same result. A slow fetch goes on, and replaces the entry.
    ///
    /// # Errors
    ///
    /// That of the fetch, for all callers that waited; the next caller fetches again.
    pub async fn get<F>(&self, key: &str, fetch: impl FnOnce() -> F) -> Result<CachedResponse, E>
    where
        F: Future<Output = Result<Envelope, E>> + 'static,
    {
        self.read(self.0.config.fresh_for, WaitFor::ResultOrStale, key, fetch).await
    }

    /// Like [`ResponseCache::get`], with entries fresh for `max_age`, and waiting for a slow fetch.
    ///
    /// # Errors
    ///
    /// As [`ResponseCache::get`].
    pub(crate) async fn get_within<F>(
        &self,
        max_age: Duration,
        key: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<CachedResponse, E>
    where
        F: Future<Output = Result<Envelope, E>> + 'static,
    {
        self.read(max_age, WaitFor::Result, key, fetch).await
    }

    async fn read<F>(
        &self,
        max_age: Duration,
        wait_for: WaitFor,
        key: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<CachedResponse, E>
    where
        F: Future<Output = Result<Envelope, E>> + 'static,
    {
        match self.0.find_fresh(key, max_age) {
            Some(entry) => Ok(entry),
            // Boxed, because a hit would copy its large future.
            None => Box::pin(self.0.wait_for_flight(max_age, wait_for, key, fetch)).await,
        }
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

impl<E: FetchError> CacheInner<E> {
    /// Returns the result of the flight of `key`, or a stale entry.
    async fn wait_for_flight<F>(
        self: &Arc<Self>,
        max_age: Duration,
        wait_for: WaitFor,
        key: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<CachedResponse, E>
    where
        F: Future<Output = Result<Envelope, E>> + 'static,
    {
        let mut flight = self.join_flight(key, max_age, fetch);
        let mut result = None;
        let decide = |state: &FlightState<E>| {
            result = match state {
                FlightState::Ended(ended) => Some(ended.clone()),
                FlightState::Slow if wait_for == WaitFor::ResultOrStale => self.find_stale(key).map(Ok),
                FlightState::Started | FlightState::Slow => None,
            };
            result.is_some()
        };
        // It fails if the flight ended without a result.
        let _ = flight.wait_for(decide).await;
        result.unwrap_or_else(|| Err(E::aborted())).or_else(|error| self.find_stale(key).ok_or(error))
    }

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
            return watch::channel(FlightState::Ended(Ok(entry))).1;
        }
        let is_slow = self.config.stale_after().is_zero();
        let (sender, receiver) = watch::channel(if is_slow { FlightState::Slow } else { FlightState::Started });
        flights.insert(key.into(), receiver.clone());
        drop(flights);
        let flight = Flight { cache: Arc::clone(self), key: key.into(), sender };
        // Boxed, because each layer around it, and tokio, would copy the large future.
        tokio::task::spawn_local(flight.run(max_age, Box::pin(fetch())));
        receiver
    }

    /// Finds the entry of `key` if it may be served stale, and counts it.
    fn find_stale(&self, key: &str) -> Option<CachedResponse> {
        let entry = self.entries.get(key).filter(|entry| entry.age() < self.config.max_stale_age())?;
        self.metrics.stale.increment(1);
        Some(entry)
    }

    /// Stores a response, unless there is a younger one.
    fn store(&self, key: &str, response: CachedResponse) {
        let is_younger = self.entries.get(key).is_none_or(|entry| response.age() <= entry.age());
        if is_younger && !self.config.max_stale_age().is_zero() {
            self.entries.insert(key.into(), response);
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Box<str>, FlightReceiver<E>>> {
        // Nothing panics while it holds the lock.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
