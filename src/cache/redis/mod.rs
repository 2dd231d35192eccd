//! The shared cache: one response for several replicas, through Redis or Valkey.
//!
//! The replica that acquires the lease of a key, the leader, makes the fetch; the others, its followers, poll for the
//! result. The leader renews its short lease during the fetch, so that followers wait 2 s at most for a leader that died.
//! The lease has a random token as its value. A leader whose token was replaced stores nothing.
//!
//! While Redis is slow, unavailable or rejects commands, each replica uses its local cache only.
//!
//! A response is stored with a fixed time to live. Its age is the part that has passed, by Redis's clock.

mod connection;
mod record;
mod scripts;
mod server;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use server::{InvalidUrl, RedisAddress};

use super::entry::{CachedResponse, Envelope};
use super::fetch_error::{FailureKind, FetchError};
use super::response_cache::{CacheConfig, Outcome};
use crate::clock::milliseconds;
use crate::secret::{self, Secret};
use crate::telemetry::metrics::{CACHE_FAILURES, CounterVec, Registry};
use connection::Connection;
use record::{MacKeys, fingerprint};
use scripts::{LOOK_UP, PROBE, RELEASE, RENEW, script};
use server::Server;

/// The time to live of a lease, and how often it is renewed.
const LEASE: Duration = Duration::from_secs(2);
const RENEWAL_INTERVAL: Duration = Duration::from_millis(400);
/// The backoff between two polls of a follower, each 1.5 times the one before.
const INITIAL_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_millis(250);
/// The bounds of a response's time to live.
const MIN_TTL: Duration = Duration::from_secs(2);
const MAX_TTL: Duration = Duration::from_hours(1);
/// The time to live of a failure, which only followers read.
const FAILURE_TTL: Duration = Duration::from_secs(2);
/// The reasons of a failed shared read.
const LEADER_FAILED: &str = "leader-failed";
const LEADER_LATE: &str = "leader-late";
/// The time that waiting and a fetch may take together, beyond that of one fetch.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);

/// The Redis that the replicas of a deployment share, and the lifetimes of responses.
#[derive(Debug, Clone)]
pub(crate) struct RedisConfig {
    /// The addresses and credentials.
    pub address: RedisAddress,
    /// The identity of the deployment: two deployments never share a response.
    pub deployment: String,
    /// The name of the cache.
    pub cache: &'static str,
    /// The secrets of the MAC, the current one first.
    pub secrets: Vec<Secret>,
    /// The configuration of the local cache.
    pub local: CacheConfig,
    /// How often rooms with streams are polled; replicas share a response for that long.
    pub poll_interval: Duration,
    /// The time limit of one fetch.
    pub fetch_timeout: Duration,
}

impl RedisConfig {
    fn prefix(&self) -> String {
        format!("proconf:{}:{}", fingerprint(&self.deployment), self.cache)
    }

    fn probe(&self) -> ::redis::Cmd {
        // Replicas would delete each other's key if it were the same.
        script(PROBE, &[format!("{}:probe:{}", self.prefix(), secret::random_id())])
    }
}

/// The shared cache behind one local cache.
pub struct RedisCache {
    connection: Arc<Connection>,
    mac: MacKeys,
    prefix: String,
    name: &'static str,
    ttl: Duration,
    fetch_timeout: Duration,
    runtime: Handle,
    failures: CounterVec,
}

/// The Redis keys of one cache key: lease, response, failure.
type Keys = [String; 3];

/// The result of a lookup.
enum Lookup {
    /// Another replica's response.
    Hit(CachedResponse),
    /// This replica makes the fetch.
    Leader,
    /// The leader failed or was late.
    Failed(FailureKind),
    /// Redis is not available.
    Unavailable,
}

/// The reply of [`LOOK_UP`]: lease token, response, its remaining TTL in ms, failure.
type LookUpReply = (String, Option<Vec<u8>>, i64, Option<Vec<u8>>);

/// The state of one lookup.
struct LookupState<'a> {
    keys: &'a Keys,
    /// The token of this replica.
    lease_token: &'a str,
    max_age: Duration,
    /// The token of the leader that is followed; empty at first.
    leader_token: String,
    /// Receives a response that is not fresh.
    on_stale: &'a dyn Fn(CachedResponse),
}

/// Checks that Redis is reachable and usable. Leaves no key behind.
///
/// # Errors
///
/// The reason why Redis is not usable.
pub(crate) async fn check(config: &RedisConfig) -> Result<(), String> {
    let server = Server::new(&config.address).map_err(|error| error.to_string())?;
    connection::connect(&server, &config.probe()).await.map(drop).map_err(|error| server::describe(&error))
}

impl RedisCache {
    /// Connects once; if that fails, retries in the background.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`] if the URL is not a Redis URL.
    pub(crate) async fn open(config: &RedisConfig, registry: &Registry) -> Result<Self, InvalidUrl> {
        let connection = Connection::open(Server::new(&config.address)?, config.probe(), registry).await;
        let fresh_for = config.local.fresh_for.max(config.poll_interval);
        Ok(Self {
            connection,
            mac: MacKeys::new(&config.secrets),
            prefix: config.prefix(),
            name: config.cache,
            ttl: (fresh_for + config.local.stale_if_error).clamp(MIN_TTL, MAX_TTL),
            fetch_timeout: config.fetch_timeout,
            runtime: Handle::current(),
            failures: registry.register_all(&CACHE_FAILURES, &[config.cache], &[LEADER_FAILED, LEADER_LATE]),
        })
    }

    /// Returns whether the replicas share the cache now.
    pub(crate) fn is_available(&self) -> bool {
        self.connection.is_available()
    }

    /// Returns another replica's response, no older than `max_age`, or the result of `fetch`.
    ///
    /// `on_stale` receives an older response as soon as it is found.
    pub(super) async fn get_or_fetch<E: FetchError>(
        self: &Arc<Self>,
        key: &str,
        max_age: Duration,
        fetch: impl Future<Output = Result<Envelope, E>>,
        on_stale: impl Fn(CachedResponse),
    ) -> Outcome<E> {
        let (keys, lease_token) = (self.keys(key), secret::random_id());
        let deadline = Instant::now() + self.fetch_timeout + DEADLINE_MARGIN;
        let lookup_state = LookupState {
            keys: &keys,
            lease_token: &lease_token,
            max_age,
            leader_token: String::new(),
            on_stale: &on_stale,
        };
        match self.look_up(lookup_state, key, deadline).await {
            Lookup::Hit(response) => return Outcome { result: Ok(response), is_shared: true },
            Lookup::Failed(kind) => return Outcome { result: Err(E::from_kind(kind)), is_shared: true },
            Lookup::Leader | Lookup::Unavailable => {}
        }
        let renewal = self.renew_until_dropped(&keys, &lease_token);
        let result = timeout_at(deadline, fetch).await.unwrap_or_else(|_| Err(E::aborted()));
        drop(renewal);
        let release = self.release(&keys, &lease_token, result.as_ref().map_err(FetchError::kind));
        // Until then, the next lookup would find the response that no longer exists.
        if result.as_ref().is_err_and(|error| error.kind().removes_entry()) {
            let _ = release.await;
        }
        Outcome::fetched(result)
    }

    /// Returns the Redis keys of a cache key. The braces keep them on one node of a cluster.
    fn keys(&self, key: &str) -> Keys {
        let redis_key = |name| format!("{}:{{{}}}:{name}", self.prefix, fingerprint(key));
        ["lease", "response", "failure"].map(redis_key)
    }

    /// Polls until there is a response, a failure, or a lease for this replica.
    async fn look_up(&self, mut lookup_state: LookupState<'_>, key: &str, deadline: Instant) -> Lookup {
        let mut backoff = INITIAL_BACKOFF;
        loop {
            let mut command = script(LOOK_UP, lookup_state.keys);
            command.arg(lookup_state.lease_token).arg(milliseconds(LEASE)).arg(&lookup_state.leader_token);
            let Some(reply) = self.connection.query::<LookUpReply>(command).await else { return Lookup::Unavailable };
            if reply.0 != lookup_state.leader_token
                && let Some(lookup) = self.resolve_reply(&mut lookup_state, reply, key)
            {
                return lookup;
            }
            if Instant::now() + backoff > deadline {
                self.record_failure(LEADER_LATE, key);
                return Lookup::Failed(FailureKind::Failed);
            }
            sleep(backoff).await;
            backoff = MAX_BACKOFF.min(backoff * 3 / 2);
        }
    }

    /// Ends the lookup, or follows the leader.
    fn resolve_reply(&self, lookup_state: &mut LookupState<'_>, reply: LookUpReply, key: &str) -> Option<Lookup> {
        let (token, response, remaining_ttl, failure) = reply;
        let is_leader = token == lookup_state.lease_token;
        let remaining_ttl = u64::try_from(remaining_ttl).ok().filter(|ttl| *ttl > 0).map(Duration::from_millis);
        let [_, response_key, failure_key] = lookup_state.keys;
        let record = response.as_deref().zip(remaining_ttl);
        let record = record.and_then(|(value, ttl)| self.mac.decode(response_key, value, ttl));
        // The leader's response serves its followers whatever its age.
        let is_fresh =
            record.as_ref().is_some_and(|it| it.age < lookup_state.max_age || it.lease_token == lookup_state.leader_token);
        let response =
            record.and_then(|record| Some(CachedResponse::with_age(Envelope::from_bytes(record.body)?, record.age)));
        let failure = failure.as_deref().and_then(|value| self.mac.decode(failure_key, value, FAILURE_TTL));
        let failure = failure.filter(|record| record.lease_token == lookup_state.leader_token);
        let failure = failure.and_then(|record| std::str::from_utf8(record.body).ok()?.parse().ok());
        let lookup = match (response, failure) {
            (Some(response), _) if is_fresh => Lookup::Hit(response),
            (stale, failure) => {
                if let Some(stale) = stale {
                    (lookup_state.on_stale)(stale);
                }
                match failure {
                    Some(kind) => Lookup::Failed(kind),
                    None if is_leader => return Some(Lookup::Leader),
                    None => {
                        lookup_state.leader_token = token;
                        return None;
                    }
                }
            }
        };
        if matches!(lookup, Lookup::Failed(FailureKind::Failed)) {
            self.record_failure(LEADER_FAILED, key);
        }
        if is_leader {
            self.release(lookup_state.keys, lookup_state.lease_token, Err(FailureKind::NotAttempted));
        }
        Some(lookup)
    }

    /// Renews the lease until the handle is dropped, however busy the worker is.
    fn renew_until_dropped(&self, [lease, ..]: &Keys, lease_token: &str) -> AbortOnDropHandle<()> {
        let (connection, mut command) = (Arc::clone(&self.connection), script(RENEW, &[lease]));
        command.arg(lease_token).arg(milliseconds(LEASE));
        AbortOnDropHandle::new(self.runtime.spawn(async move {
            loop {
                sleep(RENEWAL_INTERVAL).await;
                let _: Option<i64> = connection.query(command.clone()).await;
            }
        }))
    }

    /// Releases the lease and shares the result, in the background.
    fn release(&self, keys: &Keys, lease_token: &str, result: Result<&Envelope, FailureKind>) -> JoinHandle<Option<i64>> {
        let [lease, response, failure] = keys;
        let (keys, ttl, body) = match result {
            Ok(envelope) => (&[lease, response][..], self.ttl, envelope.bytes()),
            Err(FailureKind::NotAttempted) => (&[lease][..], Duration::ZERO, Bytes::new()),
            Err(kind @ FailureKind::Failed) => (&[lease, failure][..], FAILURE_TTL, <&str>::from(kind).into()),
            Err(kind) => (&[lease, failure, response][..], FAILURE_TTL, <&str>::from(kind).into()),
        };
        let value = keys.get(1).map_or_else(Vec::new, |name| self.mac.encode(name, lease_token, ttl, &body));
        let mut command = script(RELEASE, keys);
        command.arg(lease_token).arg(value).arg(milliseconds(ttl));
        let connection = Arc::clone(&self.connection);
        self.runtime.spawn(async move { connection.query::<i64>(command).await })
    }

    /// Logs and counts a failure that no fetch of this replica explains.
    fn record_failure(&self, reason: &'static str, key: &str) {
        self.failures.increment(reason);
        log::warn!(cache = self.name, room = key, reason; "shared read failed");
    }
}
