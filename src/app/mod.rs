//! The running application: what it is made of, its two listeners, its start and its shutdown. Only `cli` names this module.

mod component_config;
mod components;
mod connection;
mod listener;
mod management;
mod metrics;

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;

use actix_web::App as ActixApp;
use actix_web::dev::{Server as ActixServer, ServerHandle};
use actix_web::middleware::{Condition, from_fn};
use rlimit::Resource;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use components::Components;
use listener::ListenerConfig;
use management::Management;

pub use components::{admin_control_config, redis_config, summaries_config, validate, warnings};
pub(crate) use components::{session_config, token_config};

use crate::clock::Clock;
use crate::config::{Config, ServerConfig};
use crate::middleware::cors::cors;
use crate::middleware::error_envelope::error_envelope;
use crate::middleware::host::host;
use crate::middleware::keep_alive::keep_alive;
use crate::middleware::load_shed::load_shed;
use crate::middleware::loopback_host::loopback_host;
use crate::middleware::request_log::request_log;
use crate::middleware::security_headers::security_headers;
use crate::response::connection_state::ConnectionTimeouts;
use crate::routes;
use crate::telemetry::logging::DroppedLines;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not this machine's.
    #[error("can't listen on {0} (APP_SERVER__LISTEN): {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The same of the management listener.
    #[error("can't listen on {0} (APP_MANAGEMENT__LISTEN): {1}")]
    Management(SocketAddr, #[source] io::Error),
    /// Something behind the server can't be used.
    #[error(transparent)]
    Services(#[from] components::Error),
}

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// First serve on for a while, no longer ready, so that whoever sends requests here can stop doing so.
    Graceful,
    /// Let nobody new in; what is in flight is finished.
    Immediate,
}

/// A server that listens.
pub struct App {
    address: SocketAddr,
    running: ActixServer,
    draining: CancellationToken,
    drain_for: Duration,
    management: Management,
}

impl App {
    /// Opens the database, brings its schema up to date, and listens. `dropped` counts the log's lines that were dropped.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn bind(config: &Config, clock: &Clock, dropped: DroppedLines) -> Result<Self, Error> {
        let max_connections = connection_limit(config.server.max_connections.get() as usize);
        let components = Components::open(config, clock, dropped, max_connections).await?;
        let listener_config = listener_config(&config.server, max_connections, &components);
        let (loopback_only, any_origin) = (config.loopback_only, !config.server.cors_origins.is_empty());
        let management = Management::bind(config.management.listen, loopback_only, &components);
        let management = management.map_err(|error| Error::Management(config.management.listen, error))?;
        let (draining, drain_for) = (components.draining(), config.server.drain_for);
        let failed = |error| Error::Listen(config.server.listen, error);
        let listener = listener::listen(config.server.listen, &listener_config.timeouts).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let running = listener::serve(listener, &listener_config, move || {
            ActixApp::new()
                .configure(|config| components::register(&components, config))
                .configure(routes::mount)
                .wrap(Condition::new(loopback_only, from_fn(loopback_host)))
                // The last one is outermost.
                .wrap(from_fn(error_envelope))
                .wrap(from_fn(load_shed))
                .wrap(from_fn(host))
                .wrap(Condition::new(any_origin, from_fn(cors)))
                .wrap(from_fn(keep_alive))
                .wrap(from_fn(security_headers))
                .wrap(from_fn(request_log))
        });
        Ok(Self { address, running: running.map_err(failed)?, draining, drain_for, management })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where those who run it ask.
    #[must_use]
    pub fn management_addr(&self) -> SocketAddr {
        self.management.addr()
    }

    /// Serves until it is told to stop, then lets requests in flight finish; told once more, it ends at once.
    ///
    /// # Errors
    ///
    /// What ended the server before it was told to.
    pub async fn run(self, mut told: UnboundedReceiver<Shutdown>) -> io::Result<()> {
        let (management, version) = (self.management.addr(), env!("CARGO_PKG_VERSION"));
        log::info!(event = "start", address:% = self.address, management:% = management, version; "listening");
        // To the very end: who watches must see what goes on.
        let _answering = self.management.answer();
        let handle = self.running.handle();
        let mut running = actix_rt::spawn(self.running);
        let stop = tokio::select! {
            ended = &mut running => return ended?,
            stop = told.recv() => stop.unwrap_or(Shutdown::Immediate),
        };
        log::info!(event = "stop"; "told to stop");
        self.draining.cancel();
        if stop == Shutdown::Graceful {
            log::info!(serving_on_for:? = self.drain_for; "no longer ready");
            tokio::select! {
                ended = &mut running => return ended?,
                () = tokio::time::sleep(self.drain_for) => {}
                () = again(&mut told) => {
                    give_up(&handle);
                    return Ok(());
                }
            }
        }
        log::info!("stopping");
        tokio::select! {
            () = handle.stop(true) => running.await?,
            () = again(&mut told) => {
                give_up(&handle);
                Ok(())
            }
        }
    }
}

/// Done when told again, and never if nobody can tell any more.
async fn again(told: &mut UnboundedReceiver<Shutdown>) {
    if told.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Ends without another word to anybody. What was being worked on is lost.
fn give_up(handle: &ServerHandle) {
    log::warn!("told again to stop: ending at once");
    // Not waited for: the process is about to end.
    drop(handle.stop(false));
}

fn listener_config(config: &ServerConfig, max_connections: usize, components: &Components) -> ListenerConfig {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    ListenerConfig {
        workers: config.workers.map_or_else(cores, |workers| workers.get().into()),
        max_connections,
        timeouts: ConnectionTimeouts::new(config.keep_alive),
        shutdown_timeout: config.shutdown_timeout,
        open_connections: components.open_connections(),
    }
}

/// Limits the connections to three of four of the files that the process may have open.
fn connection_limit(asked: usize) -> usize {
    let Ok((files, _)) = Resource::NOFILE.get() else { return asked };
    let limit = usize::try_from(files / 4 * 3).unwrap_or(usize::MAX).max(1);
    if limit < asked {
        log::warn!(asked, connections = limit; "the limit on open files leaves room for fewer connections (ulimit -n)");
    }
    asked.min(limit)
}
