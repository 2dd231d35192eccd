//! The response cache: one entry per key, shared by all workers and, through Redis, by all replicas.
//!
//! [`Responses`] is Admin Control behind it: the services and the pass-through routes get their data here.

mod entry;
mod fetch_error;
mod metrics;
pub mod redis;
mod response_cache;

use std::sync::Arc;
use std::time::Duration;

use crate::admin_control::{AdminControl, Caching, Endpoint, Error};
use crate::request_context::RequestContext;
use crate::room::RoomName;
use crate::telemetry::metrics::Registry;

pub use entry::{CachedResponse, Envelope, etag_of};
pub use fetch_error::{FailureKind, FetchError};
pub use metrics::registered_cache;
pub use redis::{RedisCache, RedisConfig};
pub use response_cache::{CacheConfig, ResponseCache};

/// The bound on the memory of each cache but the configured one, in bytes.
const ENDPOINT_BYTES: u64 = 8 << 20;
/// The status of a resource that exists no longer.
const GONE: u16 = 410;

/// One response cache for each cached endpoint. Clones share them.
#[derive(Clone)]
pub struct Caches(Arc<[(Endpoint, ResponseCache<Error>)]>);

impl Caches {
    /// Makes empty caches. The catch-up's follows `config` and is shared through `redis`; the others have its `stale_if_error`,
    /// and are turned off with it.
    #[must_use]
    pub fn new(config: CacheConfig, redis: Option<Arc<RedisCache>>, registry: &mut Registry) -> Self {
        let mut redis = redis;
        let mut cache = |endpoint: Endpoint| {
            let (config, redis) = match endpoint.caching() {
                Caching::Configured => (config, redis.take()),
                Caching::FreshFor(_) if config.fresh_for.is_zero() => (config.with_bytes(ENDPOINT_BYTES), None),
                Caching::FreshFor(fresh_for) => (CacheConfig { fresh_for, ..config.with_bytes(ENDPOINT_BYTES) }, None),
                Caching::Never => return None,
            };
            Some((endpoint, registered_cache(registry, endpoint.name(), config, redis)))
        };
        Self(Endpoint::ALL.iter().filter_map(|endpoint| cache(*endpoint)).collect())
    }
}

/// The GET endpoints of Admin Control, cached. It and its clones belong to one worker.
#[derive(Clone)]
pub struct Responses {
    admin_control: AdminControl,
    caches: Caches,
}

impl Responses {
    /// Reads from `admin_control` through `caches`.
    #[must_use]
    pub fn new(admin_control: AdminControl, caches: Caches) -> Self {
        Self { admin_control, caches }
    }

    /// Gets the response of an endpoint; `room` where the endpoint is of a room. The caller's right to it was decided before.
    ///
    /// # Errors
    ///
    /// Admin Control's.
    pub async fn get(
        &self,
        endpoint: Endpoint,
        room: Option<&RoomName>,
        asker: &RequestContext,
    ) -> Result<CachedResponse, Error> {
        self.get_within(self.fresh_for(endpoint), endpoint, room, asker).await
    }

    /// Does the same, where a response is fresh until it is `max_age` old.
    ///
    /// # Errors
    ///
    /// As [`Responses::get`].
    pub async fn get_within(
        &self,
        max_age: Duration,
        endpoint: Endpoint,
        room: Option<&RoomName>,
        asker: &RequestContext,
    ) -> Result<CachedResponse, Error> {
        let fetch = || {
            let (admin_control, room) = (self.admin_control.with_context(asker), room.cloned());
            async move { admin_control.get(endpoint, room.as_ref()).await.map(|data| Envelope::new(&data)) }
        };
        match self.cache(endpoint) {
            Some(cache) => cache.get_within(max_age, key_of(room), fetch).await,
            None => fetch().await.map(|envelope| CachedResponse { envelope, age: Duration::ZERO }),
        }
    }

    /// Removes a response that turned out to be of no use, so that the next caller fetches anew.
    pub fn remove(&self, endpoint: Endpoint, room: Option<&RoomName>) {
        if let Some(cache) = self.cache(endpoint) {
            cache.remove(key_of(room));
        }
    }

    /// Returns how long a response of the endpoint is fresh.
    #[must_use]
    pub fn fresh_for(&self, endpoint: Endpoint) -> Duration {
        self.cache(endpoint).map_or(Duration::ZERO, ResponseCache::fresh_for)
    }

    fn cache(&self, endpoint: Endpoint) -> Option<&ResponseCache<Error>> {
        self.caches.0.iter().find(|(of, _)| *of == endpoint).map(|(_, cache)| cache)
    }
}

fn key_of(room: Option<&RoomName>) -> &str {
    room.map_or("", RoomName::key)
}

impl FetchError for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::NotFound => FailureKind::NotFound,
            Self::Status(GONE) => FailureKind::Gone,
            Self::TooManyCalls | Self::OutOfFiles | Self::BreakerOpen | Self::NotConnected(_) => FailureKind::NotAttempted,
            _ => FailureKind::Failed,
        }
    }

    fn from_kind(kind: FailureKind) -> Self {
        match kind {
            FailureKind::NotFound => Self::NotFound,
            FailureKind::Gone => Self::Status(GONE),
            FailureKind::NotAttempted | FailureKind::Failed => Self::NotConnected("the call was aborted".to_owned()),
        }
    }
}
