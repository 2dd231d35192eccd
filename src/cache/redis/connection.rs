//! The connection to Redis and its circuit breaker.
//!
//! The first failure opens the breaker, the next successful probe closes it.
//!
//! Both run on the runtime that opened it, so that a busy HTTP worker's delay does not count as one of Redis.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, Cmd, FromRedisValue, RedisError};
use futures_util::future::select_ok;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::server::{Server, describe};
use crate::telemetry::metrics::{OperationMetrics, Registry};

/// The time limit of a command.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
/// The time limit of connecting, which no request waits for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time between two probes while the circuit is open.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The most commands that wait to be sent.
const PIPELINE_BUFFER: usize = 1_000;

/// The most causes that are logged of one outage.
const MAX_CAUSES: usize = 10;

/// A connection with a circuit breaker.
pub(super) struct Connection {
    server: Server,
    probe: Cmd,
    /// `None` while the circuit is open.
    manager: Mutex<Option<ConnectionManager>>,
    runtime: Handle,
    metrics: OperationMetrics,
}

/// Connects and runs `probe`. With sentinels, the first success counts: one may be down, or not know the new primary yet.
pub(super) async fn connect(server: &Server, probe: &Cmd) -> Result<ConnectionManager, RedisError> {
    let attempts = server.sentinels().map(|sentinel| {
        let attempt = timeout(CONNECT_TIMEOUT, connect_by(server, sentinel, probe));
        Box::pin(async { attempt.await.unwrap_or_else(|_| Err(timed_out())) })
    });
    select_ok(attempts).await.map(|(manager, _)| manager)
}

async fn connect_by(server: &Server, sentinel: Option<&Client>, probe: &Cmd) -> Result<ConnectionManager, RedisError> {
    // One attempt, so that its error is reported. A manager that failed to connect is discarded: it reconnects after I/O
    // errors only.
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(PIPELINE_BUFFER)
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(None);
    let mut manager = ConnectionManager::new_with_config(server.find_primary(sentinel).await?, config).await?;
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
    pub(super) async fn open(server: Server, probe: Cmd, registry: &Registry) -> Arc<Self> {
        let metrics = OperationMetrics::new(registry, "redis");
        let connection = Arc::new(Self { server, probe, manager: Mutex::default(), runtime: Handle::current(), metrics });
        match connect(&connection.server, &connection.probe).await {
            Ok(manager) => *connection.manager() = Some(manager),
            Err(error) => connection.recover_from(&error),
        }
        connection
    }

    /// Returns whether the circuit is closed.
    pub(super) fn is_available(&self) -> bool {
        self.manager().is_some()
    }

    /// Sends a command; `None` if the circuit is open, or opens because of it.
    pub(super) async fn query<T: FromRedisValue + Send + 'static>(self: &Arc<Self>, command: Cmd) -> Option<T> {
        let mut manager = self.manager().clone()?;
        let connection = Arc::clone(self);
        let reply = self.runtime.spawn(async move {
            let reply = connection.metrics.observe(query(&mut manager, &command), |_| true).await;
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
        let (connection, mut causes) = (Arc::clone(self), Vec::new());
        log_new_cause(&mut causes, error);
        self.runtime.spawn(async move {
            loop {
                sleep(PROBE_INTERVAL).await;
                match connect(&connection.server, &connection.probe).await {
                    Ok(manager) => {
                        *connection.manager() = Some(manager);
                        return log::info!("Redis available; replicas share the cache");
                    }
                    Err(error) => log_new_cause(&mut causes, &error),
                }
            }
        });
    }

    fn manager(&self) -> MutexGuard<'_, Option<ConnectionManager>> {
        // Nothing panics while it holds the lock.
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs each cause of an outage once.
///
/// A rejected password may follow a lost connection, for example.
fn log_new_cause(causes: &mut Vec<String>, error: &RedisError) {
    // The text of most error replies names the script, which differs between commands.
    let cause = error.code().filter(|code| *code != "ERR").map_or_else(|| error.to_string(), str::to_owned);
    if causes.len() < MAX_CAUSES && !causes.contains(&cause) {
        log::warn!(cause:% = describe(error); "Redis unavailable; using the local cache only");
        causes.push(cause);
    }
}
