//! Fetches in flight: tasks that store their results and share them with all callers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::CacheInner;
use crate::cache::entry::{CachedResponse, Envelope};
use crate::cache::fetch_error::FetchError;

pub(super) type FlightReceiver<E> = watch::Receiver<FlightState<E>>;

/// The state of a fetch in flight.
#[derive(Clone)]
pub(super) enum FlightState<E> {
    Started,
    /// It has taken [`CacheConfig::stale_after`].
    Slow,
    Ended(Result<CachedResponse, E>),
}

/// The outcome of a flight.
pub(in crate::cache) struct Outcome<E> {
    pub(in crate::cache) result: Result<CachedResponse, E>,
    /// Whether another replica made the fetch.
    pub(in crate::cache) is_shared: bool,
}

impl<E> Outcome<E> {
    /// Creates the outcome of a fetch of this replica.
    pub(in crate::cache) fn fetched(result: Result<Envelope, E>) -> Self {
        let result = result.map(|envelope| CachedResponse::with_age(envelope, Duration::ZERO));
        Self { result, is_shared: false }
    }
}

/// A fetch in flight. If it is dropped before its end, its callers get [`FetchError::aborted`].
pub(super) struct Flight<E: FetchError> {
    pub(super) cache: Arc<CacheInner<E>>,
    pub(super) key: Box<str>,
    pub(super) sender: watch::Sender<FlightState<E>>,
}

impl<E: FetchError> Flight<E> {
    pub(super) async fn run(self, max_age: Duration, fetch: impl Future<Output = Result<Envelope, E>> + 'static) {
        let cache = &self.cache;
        let mut fetch = pin!(self.fetch(max_age, fetch));
        let outcome = if let Ok(outcome) = timeout(cache.config.stale_after(), &mut fetch).await {
            outcome
        } else {
            self.sender.send_replace(FlightState::Slow);
            fetch.await
        };
        if outcome.is_shared {
            cache.metrics.shared.increment(1);
        }
        match &outcome.result {
            Ok(response) => cache.store(&self.key, response.clone()),
            Err(error) if error.kind().removes_entry() => drop(cache.entries.remove(&self.key)),
            Err(_) => {}
        }
        // Removed first, so that the next caller finds the entry or starts a new flight.
        cache.flights().remove(&self.key);
        self.sender.send_replace(FlightState::Ended(outcome.result));
    }

    /// Fetches, or waits for another replica that does.
    async fn fetch(&self, max_age: Duration, fetch: impl Future<Output = Result<Envelope, E>>) -> Outcome<E> {
        let fetch = async {
            self.cache.metrics.miss.increment(1);
            fetch.await
        };
        let Some(redis) = &self.cache.redis else { return Outcome::fetched(fetch.await) };
        let on_stale = |response| {
            self.cache.store(&self.key, response);
            // Callers of a slow fetch may be waiting for it.
            self.sender.send_modify(|_| {});
        };
        // Boxed, because the task of a local fetch would hold its large future.
        Box::pin(redis.get_or_fetch(&self.key, max_age, fetch, on_stale)).await
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
