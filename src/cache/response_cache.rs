//! The local response cache: single-flight, stale-if-error, bounded by bytes, shared by all workers.
//!
//! Authorisation is decided before a read. Ages come from the monotonic clock: a wall clock that jumps ages nothing.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::watch;

use super::entry::{CachedResponse, Entry, Envelope};
use super::fetch_error::{FailureKind, FetchError};
use super::metrics::CacheMetrics;
use super::redis::RedisCache;

/// What an entry takes beside its key and its envelope, in bytes.
const ENTRY_OVERHEAD: usize = 200;
/// The typical size of an entry, in bytes: an estimate for the storage.
const TYPICAL_ENTRY: u64 = 2 << 10;
/// The least bytes of a shard of the storage, which bound the largest entry.
const SHARD_BYTES: u64 = 8 << 20;
/// The most shards.
const MAX_SHARDS: u64 = 16;

/// The times and the size of a response cache.
#[derive(Debug, Clone, Copy)]
pub struct CacheConfig {
    /// How long an entry is fresh. Zero turns the cache off, but not the single-flight.
    pub fresh_for: Duration,
    /// How long after that it may be served if a fetch fails.
    pub stale_if_error: Duration,
    /// The bound on memory, in bytes.
    pub max_bytes: u64,
}

impl CacheConfig {
    /// Returns the same with another bound on memory.
    #[must_use]
    pub fn with_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Returns the age up to which an entry may be served.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        self.fresh_for + self.stale_if_error
    }
}

/// A response cache. Clones share the entries.
pub struct ResponseCache<E>(Arc<Shared<E>>);

struct Shared<E> {
    entries: Cache<Box<str>, Entry, ByBytes>,
    /// The flights by key; each receiver gets the outcome.
    flights: Mutex<HashMap<Box<str>, OutcomeReceiver<E>>>,
    config: CacheConfig,
    redis: Option<Arc<RedisCache>>,
    metrics: CacheMetrics,
}

type OutcomeReceiver<E> = watch::Receiver<Option<Result<Entry, E>>>;

/// Weighs an entry by the bytes it takes.
#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<str>, Entry> for ByBytes {
    fn weight(&self, key: &Box<str>, entry: &Entry) -> u64 {
        (key.len() + entry.envelope.size() + ENTRY_OVERHEAD) as u64
    }
}

impl<E> Clone for ResponseCache<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: FetchError> ResponseCache<E> {
    /// Makes an empty cache without metrics and without Redis.
    #[must_use]
    pub fn new(config: CacheConfig) -> Self {
        Self::with(config, None, CacheMetrics::default())
    }

    /// Makes an empty cache that shares its entries through `redis`, if given.
    #[must_use]
    pub fn with(config: CacheConfig, redis: Option<Arc<RedisCache>>, metrics: CacheMetrics) -> Self {
        let entries = storage(config.max_bytes);
        Self(Arc::new(Shared { entries, flights: Mutex::default(), config, redis, metrics }))
    }

    /// Returns the number of entries and their bytes.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        (self.0.entries.len() as u64, self.0.entries.weight())
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
    /// The first caller starts the fetch, as a task of its own on its worker: its leaving neither cancels the fetch nor starts
    /// another. The other callers wait for the same result.
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

    /// Does the same, where an entry is fresh until it is `max_age` old.
    ///
    /// # Errors
    ///
    /// As [`ResponseCache::get`].
    pub async fn get_within<F>(&self, max_age: Duration, key: &str, fetch: impl FnOnce() -> F) -> Result<CachedResponse, E>
    where
        F: Future<Output = Result<Envelope, E>> + 'static,
    {
        let mut outcome = match self.0.join(key, max_age) {
            Joined::Hit(entry) => {
                self.0.metrics.hit.increment(1);
                return Ok(entry.response());
            }
            Joined::Follower(outcome) => {
                self.0.metrics.coalesced.increment(1);
                outcome
            }
            Joined::Leader(flight, outcome) => {
                tokio::task::spawn_local(flight.run(max_age, fetch()));
                outcome
            }
        };
        // `STALE_AFTER` belongs here: a caller that waited for that long gets the stale entry.
        let outcome = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        outcome.ok().flatten().unwrap_or_else(|| Err(E::aborted())).map(Entry::response)
    }
}

fn storage(max_bytes: u64) -> Cache<Box<str>, Entry, ByBytes> {
    let items = usize::try_from(max_bytes / TYPICAL_ENTRY).unwrap_or(usize::MAX);
    let shards = (max_bytes / SHARD_BYTES).clamp(1, MAX_SHARDS);
    let mut options = OptionsBuilder::new();
    options.estimated_items_capacity(items).weight_capacity(max_bytes);
    match options.shards(usize::try_from(shards).unwrap_or(1)).build() {
        Ok(options) => Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default()),
        Err(_) => Cache::with_weighter(items, max_bytes, ByBytes),
    }
}

/// How a flight ended.
pub(super) struct Outcome<E> {
    pub(super) result: Result<Entry, E>,
    /// Another replica's entry, which may be served if the result is a failure.
    pub(super) stale: Option<Entry>,
    /// Whether another replica made the fetch.
    pub(super) shared: bool,
}

impl<E> Outcome<E> {
    /// The outcome of a fetch of this replica.
    pub(super) fn fetched(result: Result<Envelope, E>) -> Self {
        Self { result: result.map(|envelope| Entry::with_age(envelope, Duration::ZERO)), stale: None, shared: false }
    }
}

/// How a read begins.
enum Joined<E: FetchError> {
    /// The entry is fresh.
    Hit(Entry),
    /// Another caller's flight is under way.
    Follower(OutcomeReceiver<E>),
    /// This caller starts the flight.
    Leader(Flight<E>, OutcomeReceiver<E>),
}

impl<E: FetchError> Shared<E> {
    fn fresh(&self, key: &str, max_age: Duration) -> Option<Entry> {
        self.entries.get(key).filter(|entry| entry.age() < max_age)
    }

    fn join(self: &Arc<Self>, key: &str, max_age: Duration) -> Joined<E> {
        if let Some(entry) = self.fresh(key, max_age) {
            return Joined::Hit(entry);
        }
        let mut flights = self.flights();
        if let Some(outcome) = flights.get(key) {
            return Joined::Follower(outcome.clone());
        }
        // Again under the lock: a flight may have ended since.
        if let Some(entry) = self.fresh(key, max_age) {
            return Joined::Hit(entry);
        }
        let (sender, outcome) = watch::channel(None);
        flights.insert(key.into(), outcome.clone());
        Joined::Leader(Flight { cache: Arc::clone(self), key: key.into(), sender }, outcome)
    }

    /// Stores a response; after a failure, finds the stale entry to serve instead.
    fn store_or_serve_stale(&self, key: &str, outcome: Outcome<E>) -> Result<Entry, E> {
        let error = match outcome.result {
            Ok(entry) => {
                if !self.config.max_age().is_zero() {
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
        let stale = self.entries.get(key).into_iter().chain(outcome.stale).min_by_key(Entry::age);
        let stale = stale.filter(|entry| entry.age() < self.config.max_age()).ok_or(error)?;
        self.metrics.stale.increment(1);
        Ok(stale)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Box<str>, OutcomeReceiver<E>>> {
        // Nothing panics while it holds the lock.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One fetch under way. Dropped before it is complete (a panic, a worker that ends), its callers get [`FetchError::aborted`].
struct Flight<E: FetchError> {
    cache: Arc<Shared<E>>,
    key: Box<str>,
    sender: watch::Sender<Option<Result<Entry, E>>>,
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
            None => Outcome::fetched(fetch.await),
        };
        if outcome.shared {
            metrics.shared.increment(1);
        }
        self.complete(outcome);
    }

    fn complete(self, outcome: Outcome<E>) {
        let outcome = self.cache.store_or_serve_stale(&self.key, outcome);
        // Before the callers are told, so that the next caller finds the entry or starts a flight of its own.
        self.cache.flights().remove(&self.key);
        self.sender.send_replace(Some(outcome));
    }
}

impl<E: FetchError> Drop for Flight<E> {
    fn drop(&mut self) {
        let mut flights = self.cache.flights();
        // A complete flight may have a successor by now.
        if flights.get(&self.key).is_some_and(|outcome| outcome.same_channel(&self.sender.subscribe())) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
