//! actix-web's HTTP/1.1 service over [`Connection`]s, because its ready-made server takes plain TCP streams only.

use std::future::{pending, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::{ConnectionType, HttpService, KeepAlive, Request, Response};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service as _, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config,
};
use actix_web::dev::{AppConfig, Payload, ServiceResponse};
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use tokio::net::TcpStream;

use super::connection::Connection;
use crate::request_context::connection_state::{ConnectionState, HEAD_TIMEOUT, RequestBody, RequestInFlight, WRITE_TIMEOUT};
use crate::telemetry::metrics::Gauge;

/// Bytes of a response that are buffered before they are written. With bodies in chunks of 16 KiB
/// ([`crate::middleware::keep_alive`]) this is the memory that a slow reader takes.
const WRITE_BUFFER: usize = 16 * 1024;
/// Time limit for the listen queue to run empty.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for accepted connections to reach their worker, and for the first bytes of their request.
const ACCEPT_DELAY: Duration = Duration::from_millis(300);
/// A socket filter in classic BPF that drops each segment with the flag SYN.
#[cfg(target_os = "linux")]
const DROP_SYN: [SockFilter; 4] = [
    // Load the flags, byte 13 of the TCP header; skip the next statement unless SYN is among them.
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];
/// Length of the listen queue.
const BACKLOG: i32 = 4096;
/// Bytes of unsent response that the kernel buffers.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;

/// The configuration of a listener.
#[derive(Clone)]
pub(super) struct ListenerConfig {
    /// Worker threads.
    pub workers: usize,
    /// Maximum number of connections over all workers. Others wait in the listen queue.
    pub max_connections: usize,
    /// Idle timeout of a connection.
    pub keep_alive: Duration,
    /// Time limit for requests in flight during a shutdown.
    pub shutdown_timeout: Duration,
    /// Counts the open connections.
    pub open_connections: Gauge,
}

/// Listens on `address`.
///
/// # Errors
///
/// If the address is taken, or not this machine's.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server must not wait for the connections of the previous one. Accepted sockets inherit the rest.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        // For a client that disappeared without closing, or does not read the last bytes of a response.
        socket.set_tcp_user_timeout(Some(WRITE_TIMEOUT + Duration::from_secs(2)))?;
        socket.set_tcp_notsent_lowat(UNSENT)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets the listen queue run empty before the listener is closed, which resets the connections in it.
///
/// A proxy that has sent a POST on such a connection must not repeat it. A client whose SYN is dropped sends it again a second
/// later; its connection is refused then, and it may try another server.
pub(super) async fn drain_queue(listener: TcpListener) {
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(&listener).attach_filter(&DROP_SYN) {
        log::debug!(cause:% = error; "connections that arrive during the stop are reset");
    }
    let started = Instant::now();
    while has_waiting(&listener) && started.elapsed() < QUEUE_TIMEOUT {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(ACCEPT_DELAY).await;
    // A duplicate would keep the queue open.
    drop(listener);
}

/// Returns whether the listen queue has connections.
fn has_waiting(listener: &TcpListener) -> bool {
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Serves what `factory` makes, once for each worker.
///
/// # Errors
///
/// If the listener can't be used.
pub(super) fn serve<F, I, S, B>(listener: TcpListener, config: &ListenerConfig, factory: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let (keep_alive, open_connections) = (config.keep_alive, config.open_connections.clone());
    let address = listener.local_addr()?;
    let builder = Server::build()
        .workers(config.workers)
        // actix counts for each worker.
        .max_concurrent_connections((config.max_connections / config.workers).max(1))
        // In whole seconds, rounded up.
        .shutdown_timeout(config.shutdown_timeout.as_secs() + u64::from(config.shutdown_timeout.subsec_nanos() > 0))
        // The command line handles signals.
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let builder = builder.listen("http", listener, move || {
        let service = apply_fn_factory(factory(), |mut request: Request, service: &S::Service| {
            let tracked = TrackedRequest::begin(&mut request);
            let response = tracked.map(|tracked| (service.call(request), tracked));
            async move {
                let Some((response, tracked)) = response else {
                    // The connection is closing.
                    return pending().await;
                };
                let response = match response.await {
                    Ok(response) => Response::from(response).map_into_boxed_body(),
                    Err(error) => Response::from(error),
                };
                Ok::<_, actix_web::Error>(tracked.track(response))
            }
        });
        let (stopping, open_connections) = (stopping.clone(), open_connections.clone());
        let http = HttpService::build()
            // The connection has the idle timeout: actix's would cut a response that is not written yet.
            .keep_alive(KeepAlive::Os)
            // For the first head only; the connection has the deadline of the others.
            .client_request_timeout(HEAD_TIMEOUT)
            // The connection discards the unread rest itself.
            .client_disconnect_timeout(Duration::ZERO)
            .h1_write_buffer_size(WRITE_BUFFER)
            .local_addr(address)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.state());
            })
            .h1(map_config(service, |()| AppConfig::default()));
        fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            ready(Ok((Connection::new(stream, keep_alive, open_connections.clone()), peer)))
        })
        .and_then(http)
    })?;
    Ok(builder.run())
}

/// A request whose response is being made.
struct TrackedRequest {
    in_flight: RequestInFlight,
    /// Whether the client may send another request on the connection.
    is_keep_alive: bool,
}

impl TrackedRequest {
    /// Begins a request; `None` if its connection is closing.
    fn begin(request: &mut Request) -> Option<Self> {
        let body = if matches!(request.payload(), Payload::None) { RequestBody::Complete } else { RequestBody::Unread };
        let is_keep_alive = request.head().connection_type() == ConnectionType::KeepAlive;
        request.conn_data::<Rc<ConnectionState>>()?.begin_request(body).map(|in_flight| Self { in_flight, is_keep_alive })
    }

    /// Keeps the request in flight until the body of its response has been made.
    fn track(self, response: Response<BoxBody>) -> Response<InFlightBody> {
        if !self.is_keep_alive || response.head().connection_type() == ConnectionType::Close {
            self.in_flight.mark_last();
        }
        response.map_body(|_, body| InFlightBody { body, _in_flight: self.in_flight })
    }
}

/// A response body. Once it is dropped, the request is no longer in flight.
struct InFlightBody {
    body: BoxBody,
    _in_flight: RequestInFlight,
}

impl MessageBody for InFlightBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
