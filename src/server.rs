//! The HTTP server: bound first, so that its address is known, then run until it is told to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;

use actix_web::dev::Server as ActixServer;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer};

use crate::clock::Clock;
use crate::draining::Draining;
use crate::middleware::access_log::access_log;
use crate::middleware::error_boundary::error_boundary;
use crate::routes;
use crate::services::{self, Shared};
use crate::settings::Settings;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not this machine's.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// Something behind the server can't be used.
    #[error(transparent)]
    Services(#[from] services::Error),
}

/// A server that listens.
pub struct Server {
    address: SocketAddr,
    running: ActixServer,
    draining: Draining,
}

impl Server {
    /// Opens the database, brings its schema up to date, and listens.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn bind(settings: &Settings, clock: &Clock) -> Result<Self, Error> {
        let shared = Shared::open(settings, clock).await?;
        let draining = shared.draining();
        let server = &settings.server;
        let failed = |error| Error::Listen(server.listen, error);
        let workers = server.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get));
        let http = HttpServer::new(move || {
            App::new()
                .configure(|config| services::register(&shared, config))
                .configure(routes::mount)
                // The last one is outermost.
                .wrap(from_fn(error_boundary))
                .wrap(from_fn(access_log))
        })
        .workers(workers)
        .max_connections(server.max_connections.div_ceil(workers))
        .keep_alive(server.keep_alive)
        // actix counts in seconds; rounded up, so that nothing is cut early.
        .shutdown_timeout(server.shutdown_timeout.as_secs() + u64::from(server.shutdown_timeout.subsec_nanos() > 0))
        // Signals are the command line's business.
        .disable_signals()
        .bind(server.listen)
        .map_err(failed)?;
        let address = http.addrs().first().copied().unwrap_or(server.listen);
        Ok(Self { address, running: http.run(), draining })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is done, then lets requests in flight finish.
    ///
    /// # Errors
    ///
    /// What ended the server before it was told to.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        log::info!(address:% = self.address; "listening");
        let handle = self.running.handle();
        let mut running = actix_rt::spawn(self.running);
        tokio::select! {
            ended = &mut running => return ended?,
            () = shutdown => {}
        }
        log::info!("stopping");
        self.draining.begin();
        handle.stop(true).await;
        running.await?
    }
}
