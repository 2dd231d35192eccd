//! The application: its components, its two listeners, its start and its shutdown.

mod component_config;
mod components;
mod connection;
mod first_contact;
mod http_app;
mod listener;
mod management;
mod metrics;
mod room_access;
mod service_manager;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::time::Duration;

use actix_web::dev::Server as ActixServer;
use rlimit::Resource;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use components::Components;
use first_contact::FirstContact;
use listener::ListenerConfig;
use management::Management;

pub(crate) use component_config::{
    admin_control as admin_control_config, database as database_config, identity as identity_config, identity_client,
    redis as redis_config, sessions as session_config, summaries as summaries_config, tokens as token_config,
};
pub use component_config::{validate, warnings};

use crate::clock::Clock;
use crate::config::{Config, ServerConfig};
use crate::routes;
use crate::telemetry::logging::DroppedLines;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not this machine's.
    #[error("can't listen on {0} (APP_SERVER__LISTEN): {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The address of the management listener is taken, or not this machine's.
    #[error("can't listen on {0} (APP_MANAGEMENT__LISTEN): {1}")]
    Management(SocketAddr, #[source] io::Error),
    /// A component can't be used.
    #[error(transparent)]
    Components(#[from] components::Error),
    /// The server ended by itself.
    #[error("the server ended: {0}")]
    Ended(#[from] io::Error),
}

/// How to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Drain first: serve requests, but report as not ready.
    ///
    /// Load balancers then stop sending requests.
    Graceful,
    /// Accept no more connections, and finish the requests in flight.
    Immediate,
}

/// A server that listens.
pub struct App {
    first_contact: FirstContact,
    address: SocketAddr,
    /// A duplicate of the main listener's socket.
    listener: TcpListener,
    running: ActixServer,
    draining: CancellationToken,
    drain_for: Duration,
    management: Management,
}

impl App {
    /// Opens all components and listens. Runs on the current runtime.
    ///
    /// A database that can't be reached yet is retried in the background; until then the server is not ready.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn bind(config: &Config, clock: &Clock, dropped_lines: DroppedLines) -> Result<Self, Error> {
        let max_connections = connection_limit(config.server.max_connections.get() as usize);
        let components = Components::open(config, clock, dropped_lines, max_connections).await?;
        let listener_config = listener_config(&config.server, max_connections, &components);
        let management = Management::bind(config, &components);
        let management = management.map_err(|error| Error::Management(config.management.listen, error))?;
        let failed = |error| Error::Listen(config.server.listen, error);
        let listener = listener::listen(config.server.listen).map_err(failed)?;
        let (address, data) = (listener.local_addr().map_err(failed)?, components.data);
        let duplicate = listener.try_clone().map_err(failed)?;
        let build = move || http_app::build(&data, routes::TABLE);
        let running = listener::serve(listener, &listener_config, build);
        Ok(Self {
            first_contact: components.first_contact,
            address,
            listener: duplicate,
            running: running.map_err(failed)?,
            draining: components.draining,
            drain_for: config.server.drain_for,
            management,
        })
    }

    /// Returns the address of the main listener, with the actual port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of the management listener.
    #[must_use]
    pub fn management_addr(&self) -> SocketAddr {
        self.management.addr()
    }

    /// Serves until a shutdown, then finishes the requests in flight. A second shutdown aborts them.
    ///
    /// # Errors
    ///
    /// If the server ends by itself, or its database can't be used.
    pub async fn run(mut self, mut shutdowns: UnboundedReceiver<Shutdown>) -> Result<(), Error> {
        let (management, version) = (self.management.addr(), env!("CARGO_PKG_VERSION"));
        log::info!(event = "start", address:% = self.address, management:% = management, version; "listening");
        service_manager::notify_ready();
        // Serves metrics to the end of the shutdown.
        let _management = self.management.serve();
        let handle = self.running.handle();
        let mut running = actix_rt::spawn(self.running);
        let shutdown = tokio::select! {
            ended = &mut running => return Ok(ended.map_err(io::Error::from)??),
            error = self.first_contact.failure() => {
                drop(handle.stop(false));
                return Err(components::Error::from(error).into());
            }
            shutdown = shutdowns.recv() => shutdown.unwrap_or(Shutdown::Immediate),
        };
        log::info!(event = "stop"; "shutdown signal received");
        service_manager::notify_stopping();
        self.draining.cancel();
        let finish = async {
            if shutdown == Shutdown::Graceful {
                log::info!(drain_for:? = self.drain_for; "draining");
                tokio::select! {
                    ended = &mut running => return ended.map_err(io::Error::from)?,
                    () = tokio::time::sleep(self.drain_for) => {}
                }
            }
            log::info!("stopping");
            listener::drain_queue(self.listener).await;
            handle.stop(true).await;
            running.await.map_err(io::Error::from)?
        };
        tokio::select! {
            outcome = finish => Ok(outcome?),
            Some(_) = shutdowns.recv() => {
                log::warn!("second shutdown signal received: aborting requests in flight");
                // Not waited for: the process is about to end.
                drop(handle.stop(false));
                Ok(())
            }
        }
    }
}

fn listener_config(config: &ServerConfig, max_connections: usize, components: &Components) -> ListenerConfig {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    ListenerConfig {
        workers: config.workers.map_or_else(cores, |workers| workers.get().into()),
        max_connections,
        keep_alive: config.keep_alive,
        shutdown_timeout: config.shutdown_timeout,
        open_connections: components.open_connections.clone(),
    }
}

/// Limits the connections to three quarters of the files that the process may open.
fn connection_limit(configured: usize) -> usize {
    let Ok((files, _)) = Resource::NOFILE.get() else { return configured };
    let limit = usize::try_from(files / 4 * 3).unwrap_or(usize::MAX).max(1);
    if limit < configured {
        log::warn!(configured, connections = limit; "the limit on open files allows fewer connections (ulimit -n)");
    }
    configured.min(limit)
}
