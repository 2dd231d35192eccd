//! actix-web's HTTP server, put together from its parts: the same workers and the same parser, over connections of our own
//! ([`crate::connection`]), because the ready-made one takes no other. Must not know what is served.

use std::future::ready;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::{HttpService, KeepAlive, Request};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service as _, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config,
};
use actix_web::dev::{AppConfig, Payload, ServiceResponse};
use bytes::Bytes;
use tokio::net::TcpStream;

use crate::connection::{self, Answering, Capacity, Connection, Connections, Turn};
use crate::draining::Draining;

/// How much of an answer is gathered before it is sent. Together with bodies that come in slices
/// ([`crate::middleware::keep_alive`]) all that a slow reader holds of our memory.
const WRITE_BUFFER: usize = 16 * 1024;

/// actix takes the time for a connection that is kept from when an answer is made, by a clock that is half a second late, and ends
/// it with whatever waits to be sent. With less than this, nothing waits.
const LONG_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What the listener goes by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Worker threads.
    pub workers: usize,
    /// For its connections, and for those beyond that are told so, or how the server is, and end.
    pub capacity: Capacity,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long what is in flight may take to finish at the stop.
    pub shutdown_timeout: Duration,
    /// What a client may take its time for.
    pub connection: connection::Rules,
}

/// Serves what `factory` makes, once for each worker.
///
/// # Errors
///
/// If the listener can't be used.
pub fn serve<F, I, S, B>(listener: TcpListener, rules: &Rules, draining: &Draining, factory: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let (keep_alive, of_connection) = (rules.keep_alive, rules.connection);
    let (draining, address) = (draining.clone(), listener.local_addr()?);
    let capacity = rules.capacity.clone();
    let builder = Server::build()
        .workers(rules.workers)
        // Never reached: of those that stand the oldest gives way before.
        .max_concurrent_connections(capacity.more_than_one_has(rules.workers))
        // actix counts in seconds; rounded up, so that nothing is cut early.
        .shutdown_timeout(rules.shutdown_timeout.as_secs() + u64::from(rules.shutdown_timeout.subsec_nanos() > 0))
        // Signals are the command line's business.
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let builder = builder.listen("http", listener, move || {
        let connections = Connections::start(of_connection, capacity.clone(), draining.clone());
        let served = apply_fn_factory(factory(), move |mut request: Request, served: &S::Service| {
            // Once such a request has been answered, nothing can go wrong with it any more.
            let bodiless = matches!(request.payload(), Payload::None);
            let turn = request.conn_data::<Turn>().map(|turn| turn.begin(bodiless && keep_alive >= LONG_KEEP_ALIVE));
            let answer = served.call(request);
            async move {
                let answer = answer.await?;
                Ok(answer.map_body(|_, body| OfOneTurn { body: body.boxed(), _turn: turn }))
            }
        });
        let stopping = stopping.clone();
        let http = HttpService::build()
            .keep_alive(KeepAlive::Timeout(keep_alive))
            // Only this one answers, with 408, and only the first head of a connection.
            .client_request_timeout(of_connection.head)
            // The connection closes itself, and reads the rest of what it refused.
            .client_disconnect_timeout(Duration::ZERO)
            .h1_write_buffer_size(WRITE_BUFFER)
            .local_addr(address)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|connection: &Connection, of_connection| {
                of_connection.insert(connection.invitation());
                of_connection.insert(connection.announcement());
                of_connection.insert(connection.sending());
                of_connection.insert(connection.standing());
                of_connection.insert(connection.turn());
            })
            .h1(map_config(served.map_err(|error| error.error_response()), |()| AppConfig::default()));
        fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            ready(Ok((connections.open(stream), peer)))
        })
        .and_then(http)
    })?;
    Ok(builder.run())
}

/// The body of an answer; when it is dropped, it has been made, and its connection's next request may come.
struct OfOneTurn {
    body: BoxBody,
    _turn: Option<Answering>,
}

impl MessageBody for OfOneTurn {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
