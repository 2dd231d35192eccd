//! The management listener: metrics and health, on an address and a worker of its own.
//!
//! It responds while the server drains and when the other workers are busy.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::App;
use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{Condition, from_fn};

use crate::app::components::Components;
use crate::app::listener::{self, ListenerConfig};
use crate::middleware::error_envelope::error_envelope;
use crate::middleware::host::host;
use crate::middleware::keep_alive::keep_alive;
use crate::middleware::loopback_host::loopback_host;
use crate::middleware::request_log::request_log;
use crate::middleware::security_headers::security_headers;
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
    pub(super) fn bind(address: SocketAddr, loopback_only: bool, components: &Components) -> io::Result<Self> {
        let data = components.management_data.clone();
        let config = ListenerConfig {
            workers: 1,
            max_connections: MAX_CONNECTIONS,
            keep_alive: KEEP_ALIVE,
            shutdown_timeout: Duration::ZERO,
            open_connections: Gauge::noop(),
        };
        let listener = listener::listen(address)?;
        let address = listener.local_addr()?;
        let running = listener::serve(listener, &config, move || {
            App::new()
                .configure(|config| data.register(config))
                .configure(|config| routes::mount(routes::MANAGEMENT, config))
                .wrap(Condition::new(loopback_only, from_fn(loopback_host)))
                // The last one is outermost.
                .wrap(from_fn(error_envelope))
                .wrap(from_fn(host))
                .wrap(from_fn(keep_alive))
                .wrap(from_fn(security_headers))
                .wrap(from_fn(request_log))
        })?;
        Ok(Self { address, running, metrics: components.metrics.clone() })
    }

    /// Returns its address, with the actual port.
    #[must_use]
    pub(super) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the guard is dropped.
    #[must_use]
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
