//! The management listener: metrics and health for those who run the server, on an address of their own with a worker of its
//! own. It goes on answering while the server drains and when the workers are busy.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App, web};

use crate::app::components::{self, Components};
use crate::app::listener::{self, ListenerConfig};
use crate::middleware::error_envelope::error_envelope;
use crate::middleware::host::host;
use crate::middleware::keep_alive::keep_alive;
use crate::middleware::loopback_host::loopback_host;
use crate::middleware::request_log::request_log;
use crate::middleware::security_headers::security_headers;
use crate::response::connection_state::ConnectionTimeouts;
use crate::routes;
use crate::telemetry::metrics::{Gauge, Metrics};

/// Monitoring opens a few.
const MAX_CONNECTIONS: usize = 128;
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How often measurements are moved into their buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A listener that is there, and answers from now on.
pub(super) struct Management {
    address: SocketAddr,
    running: Server,
    metrics: Metrics,
}

/// Answers until it is dropped.
pub(super) struct Answering {
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
        let (metrics, components) = (components.metrics(), components.clone());
        let shown = web::Data::new(metrics.clone());
        let config = ListenerConfig {
            workers: 1,
            max_connections: MAX_CONNECTIONS,
            timeouts: ConnectionTimeouts::new(KEEP_ALIVE),
            shutdown_timeout: Duration::ZERO,
            open_connections: Gauge::noop(),
        };
        let listener = listener::listen(address, &config.timeouts)?;
        let address = listener.local_addr()?;
        let running = listener::serve(listener, &config, move || {
            App::new()
                .app_data(shown.clone())
                .configure(|config| components::register_for_management(&components, config))
                .configure(routes::mount_management)
                .wrap(Condition::new(loopback_only, from_fn(loopback_host)))
                // The last one is outermost.
                .wrap(from_fn(error_envelope))
                .wrap(from_fn(host))
                .wrap(from_fn(keep_alive))
                .wrap(from_fn(security_headers))
                .wrap(from_fn(request_log))
        })?;
        Ok(Self { address, running, metrics })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub(super) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on.
    #[must_use]
    pub(super) fn answer(self) -> Answering {
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
        Answering { handle, upkeep }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.upkeep.abort();
        // Told, and not waited for: nobody is owed an answer here.
        drop(self.handle.stop(false));
    }
}
