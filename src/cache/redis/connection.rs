//! The connection to Redis and its circuit breaker.
//!
//! The first failure opens the breaker, the next successful probe closes it.
//!
//! Both run on the runtime that opened it, so that a busy HTTP worker's delay does not count as one of Redis.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo as _, ProtocolVersion, RedisError};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::secret::Secret;

/// The time limit of a command.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
/// The time limit of connecting, which no request waits for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time between two probes while the circuit is open.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The most commands that wait to be sent.
const PIPELINE_BUFFER: usize = 1_000;

/// The URL is not a Redis URL.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it is not a URL like redis://[user:password@]host:port[/database]")]
pub struct InvalidUrl;

/// A connection with a circuit breaker.
pub(super) struct Connection {
    client: Client,
    probe: Cmd,
    /// `None` while the circuit is open.
    manager: Mutex<Option<ConnectionManager>>,
    runtime: Handle,
}

/// Checks the form of a URL.
///
/// # Errors
///
/// [`InvalidUrl`] if it is not a Redis URL.
pub fn check_url(url: &Secret) -> Result<(), InvalidUrl> {
    client(url).map(drop)
}

/// Creates a client, which connects later.
pub(super) fn client(url: &Secret) -> Result<Client, InvalidUrl> {
    if !["redis://", "rediss://"].iter().any(|scheme| url.expose().starts_with(scheme)) {
        return Err(InvalidUrl);
    }
    let info = url.expose().into_connection_info().map_err(|_| InvalidUrl)?;
    // With RESP3, a connection that Redis closes is noticed and reopened before the next command.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    // Without it, a command waits until the previous one is acknowledged.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp)).map_err(|_| InvalidUrl)
}

/// Connects and runs `probe`.
pub(super) async fn connect(client: &Client, probe: &Cmd) -> Result<ConnectionManager, RedisError> {
    // One attempt, so that its error is reported. A manager that failed to connect is discarded: it reconnects after I/O
    // errors only.
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(PIPELINE_BUFFER)
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(None);
    let connecting = ConnectionManager::new_with_config(client.clone(), config);
    let mut manager = timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(timed_out()))?;
    let _: ::redis::Value = query(&mut manager, probe).await?;
    Ok(manager)
}

async fn query<T: FromRedisValue>(manager: &mut ConnectionManager, command: &Cmd) -> Result<T, RedisError> {
    timeout(COMMAND_TIMEOUT, command.query_async(manager)).await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, "no reply in time").into()
}

impl Connection {
    /// Connects once; if that fails, retries in the background. `probe` succeeds on a usable Redis.
    pub(super) async fn open(client: Client, probe: Cmd) -> Arc<Self> {
        let connection = Arc::new(Self { client, probe, manager: Mutex::default(), runtime: Handle::current() });
        match connect(&connection.client, &connection.probe).await {
            Ok(manager) => *connection.manager() = Some(manager),
            Err(error) => connection.recover_from(&error),
        }
        connection
    }

    /// Whether the circuit is closed.
    pub(super) fn is_available(&self) -> bool {
        self.manager().is_some()
    }

    /// Sends a command; `None` if the circuit is open, or opens because of it.
    pub(super) async fn query<T: FromRedisValue + Send + 'static>(self: &Arc<Self>, command: Cmd) -> Option<T> {
        let mut manager = self.manager().clone()?;
        let connection = Arc::clone(self);
        let reply = self.runtime.spawn(async move {
            let reply = query(&mut manager, &command).await;
            if let Err(error) = &reply
                && connection.manager().take().is_some()
            {
                connection.recover_from(error);
            }
            reply
        });
        reply.await.ok()?.ok()
    }

    /// Probes until Redis is usable again. By then, all commands of the failed connection have ended.
    fn recover_from(self: &Arc<Self>, error: &RedisError) {
        log::warn!(cause:% = error; "Redis unavailable; using the local cache only");
        let connection = Arc::clone(self);
        self.runtime.spawn(async move {
            loop {
                sleep(PROBE_INTERVAL).await;
                if let Ok(manager) = connect(&connection.client, &connection.probe).await {
                    *connection.manager() = Some(manager);
                    log::info!("Redis available; replicas share the cache");
                    return;
                }
            }
        });
    }

    fn manager(&self) -> MutexGuard<'_, Option<ConnectionManager>> {
        // Nothing panics while it holds the lock.
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
