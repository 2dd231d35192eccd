//! The management listener: metrics and health, on an address and a worker of its own.
//!
//! It responds while the server drains and when the other workers are busy.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};

use super::components::Components;
use super::http_app;
use super::listener::{self, ListenerConfig};
use crate::config::Config;
use crate::routes;
use crate::telemetry::metrics::{Gauge, Metrics};

/// Monitoring needs few connections.
const MAX_CONNECTIONS: usize = 128;
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Interval at which samples are moved into histogram buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A management listener that does not serve yet.
pub(super) struct Management {
    address: SocketAddr,
    running: Server,
    metrics: Metrics,
}

/// Stops the management listener when it is dropped.
pub(super) struct ManagementGuard {
    handle: ServerHandle,
    upkeep: actix_rt::task::JoinHandle<()>,
}

impl Management {
    /// Listens.
    ///
    /// # Errors
    ///
    /// If the address is taken, or not this machine's.
    pub(super) fn bind(config: &Config, components: &Components) -> io::Result<Self> {
        let data = components.management_data.clone();
        let listener_config = ListenerConfig {
            workers: 1,
            max_connections: MAX_CONNECTIONS,
            keep_alive: KEEP_ALIVE,
            shutdown_timeout: Duration::ZERO,
            open_connections: Gauge::noop(),
        };
        let listener = listener::listen(config.management.listen)?;
        let address = listener.local_addr()?;
        let build = move || http_app::build(&data, routes::MANAGEMENT);
        let running = listener::serve(listener, &listener_config, build)?;
        Ok(Self { address, running, metrics: components.metrics.clone() })
    }

    /// Returns its address, with the actual port.
    pub(super) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the guard is dropped.
    pub(super) fn serve(self) -> ManagementGuard {
        let handle = self.running.handle();
        actix_rt::spawn(async move {
            if let Err(error) = self.running.await {
                log::error!(cause:% = error; "the management listener ended");
            }
        });
        let metrics = self.metrics;
        let upkeep = actix_rt::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
            loop {
                ticks.tick().await;
                metrics.run_upkeep();
            }
        });
        ManagementGuard { handle, upkeep }
    }
}

impl Drop for ManagementGuard {
    fn drop(&mut self) {
        self.upkeep.abort();
        drop(self.handle.stop(false));
    }
}
