//! The response cache, shared by all workers and, through Redis, by all replicas.
//!
//! [`Responses`] reads from Admin Control through it.

mod entry;
mod fetch_error;
mod metrics;
pub(crate) mod redis;
mod response_cache;

use std::sync::Arc;
use std::time::Duration;

use crate::admin_control::{AdminControl, Caching, Endpoint, Error};
use crate::request_context::RequestContext;
use crate::room::RoomName;
use crate::telemetry::metrics::Registry;

pub use entry::{CachedResponse, Envelope};
pub use fetch_error::{FailureKind, FetchError};
pub use redis::RedisCache;
pub(crate) use redis::RedisConfig;
pub use response_cache::{CacheConfig, ResponseCache};

/// The memory limit of each cache except the configured one, in bytes.
const ENDPOINT_BYTES: u64 = 8 << 20;
/// The status of a resource that no longer exists.
const GONE: u16 = 410;

/// One response cache for each cached endpoint. Clones share them.
#[derive(Clone)]
pub(crate) struct Caches(Arc<[(Endpoint, ResponseCache<Error>)]>);

impl Caches {
    /// Creates empty caches. That of catch-ups follows `config` and is shared through `redis`.
    ///
    /// The others take `stale_if_error` from `config`, and are off if `config` turns the cache off.
    pub(crate) fn new(config: CacheConfig, mut redis: Option<Arc<RedisCache>>, registry: &mut Registry) -> Self {
        let mut cache = |endpoint: Endpoint| {
            let (config, redis) = match endpoint.caching() {
                Caching::Configured => (config, redis.take()),
                Caching::FreshFor(fresh_for) => (config.derive(fresh_for, ENDPOINT_BYTES), None),
                Caching::Never => return None,
            };
            Some((endpoint, ResponseCache::new(config, redis, registry, endpoint.name())))
        };
        Self(Endpoint::ALL.iter().filter_map(|endpoint| cache(*endpoint)).collect())
    }
}

/// Reads the GET endpoints of Admin Control through the caches. It and its clones belong to one worker.
#[derive(Clone)]
pub struct Responses {
    admin_control: AdminControl,
    caches: Caches,
}

impl Responses {
    /// Reads from `admin_control` through `caches`.
    pub(crate) fn new(admin_control: AdminControl, caches: Caches) -> Self {
        Self { admin_control, caches }
    }

    /// Returns the response of an endpoint, with `room` if it needs one. Permission is checked by the caller.
    ///
    /// # Errors
    ///
    /// That of the call to Admin Control.
    pub async fn get(
        &self,
        endpoint: Endpoint,
        room: Option<&RoomName>,
        context: &RequestContext,
    ) -> Result<CachedResponse, Error> {
        let fetch = || self.fetch(endpoint, room, context);
        match self.cache(endpoint) {
            Some(cache) => cache.get(cache_key(room), fetch).await,
            None => Box::pin(fetch()).await.map(|envelope| CachedResponse::with_age(envelope, Duration::ZERO)),
        }
    }

    /// Like [`Responses::get`], with responses fresh for `max_age`, and waiting for a slow call.
    ///
    /// # Errors
    ///
    /// As [`Responses::get`].
    pub(crate) async fn get_within(
        &self,
        max_age: Duration,
        endpoint: Endpoint,
        room: Option<&RoomName>,
        context: &RequestContext,
    ) -> Result<CachedResponse, Error> {
        let fetch = || self.fetch(endpoint, room, context);
        match self.cache(endpoint) {
            Some(cache) => cache.get_within(max_age, cache_key(room), fetch).await,
            None => Box::pin(fetch()).await.map(|envelope| CachedResponse::with_age(envelope, Duration::ZERO)),
        }
    }

    fn fetch(
        &self,
        endpoint: Endpoint,
        room: Option<&RoomName>,
        context: &RequestContext,
    ) -> impl Future<Output = Result<Envelope, Error>> + use<> {
        let (admin_control, room) = (self.admin_control.with_context(context), room.cloned());
        async move { admin_control.get(endpoint, room.as_ref(), Envelope::new).await }
    }

    /// Removes an unusable response, so that the next caller fetches a new one.
    pub(crate) fn remove(&self, endpoint: Endpoint, room: Option<&RoomName>) {
        if let Some(cache) = self.cache(endpoint) {
            cache.remove(cache_key(room));
        }
    }

    /// Returns how long a response of the endpoint is fresh.
    pub(crate) fn fresh_for(&self, endpoint: Endpoint) -> Duration {
        self.cache(endpoint).map_or(Duration::ZERO, ResponseCache::fresh_for)
    }

    fn cache(&self, endpoint: Endpoint) -> Option<&ResponseCache<Error>> {
        self.caches.0.iter().find(|(name, _)| *name == endpoint).map(|(_, cache)| cache)
    }
}

fn cache_key(room: Option<&RoomName>) -> &str {
    room.map_or("", RoomName::key)
}

impl FetchError for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::NotFound => FailureKind::NotFound,
            Self::Status(GONE) => FailureKind::Gone,
            Self::TooManyCalls | Self::TooManyFiles | Self::BreakerOpen | Self::NotConnected(_) => FailureKind::NotAttempted,
            _ => FailureKind::Failed,
        }
    }

    fn from_kind(kind: FailureKind) -> Self {
        match kind {
            FailureKind::NotFound => Self::NotFound,
            FailureKind::Gone => Self::Status(GONE),
            FailureKind::NotAttempted | FailureKind::Failed => Self::NotConnected("the fetch was aborted".to_owned()),
        }
    }
}
