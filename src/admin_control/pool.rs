//! Connection pool for Admin Control, behind awc's connector interface.
//!
//! awc's own pool stays empty: it does not see unread bytes on an idle connection (`docs/adr/0006`). The order is LIFO, so
//! that connections beyond the current load time out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use super::stream::{ConnectionKind, PooledStream};
use super::transport::{Probe, Target, Transport};

/// The idle timeout. Node.js, which Admin Control is assumed to run on, closes an idle connection after 5 s.
const MAX_IDLE: Duration = Duration::from_secs(3);
/// The longest lifetime, which bounds how long a changed DNS record goes unnoticed.
const MAX_LIFETIME: Duration = Duration::from_secs(25);
/// How often idle connections are probed and expired.
const REAP_INTERVAL: Duration = Duration::from_millis(500);
/// The time without reuse after a surplus byte.
const SUSPENSION: Duration = Duration::from_mins(10);

/// Idle connections of one worker.
#[derive(Debug)]
pub(super) struct Pool {
    /// `None` if the base URL names no host.
    target: Option<Target>,
    /// The most recently released connection is last.
    idle: RefCell<Vec<Transport>>,
    suspension: ReuseSuspension,
    is_reaper_running: Cell<bool>,
}

impl Pool {
    pub(super) fn new(target: Option<Target>, suspension: ReuseSuspension) -> Rc<Self> {
        Rc::new(Self { target, idle: RefCell::default(), suspension, is_reaper_running: Cell::default() })
    }

    /// Takes the most recently released connection on which nothing has arrived.
    fn take_idle(&self) -> Option<Transport> {
        if self.suspension.is_active() {
            self.idle.borrow_mut().clear();
        }
        loop {
            let mut transport = self.idle.borrow_mut().pop()?;
            match transport.probe() {
                Probe::Quiet if !is_expired(&transport) => return Some(transport),
                Probe::Quiet | Probe::Closed => {}
                Probe::Surplus => self.suspend_reuse(),
            }
        }
    }

    /// Opens a connection. Boxed, because a call that reuses one would copy the large future.
    fn connect(&self) -> LocalBoxFuture<'_, Result<Transport, ConnectError>> {
        Box::pin(async {
            let target = self.target.as_ref().ok_or(ConnectError::Unresolved)?;
            target.connect().await.map_err(ConnectError::Io)
        })
    }

    /// Makes a connection idle. Its response must have had exactly the announced length.
    pub(super) fn release(self: &Rc<Self>, mut transport: Transport) {
        if self.suspension.is_active() {
            return;
        }
        transport.released_at = Instant::now();
        self.idle.borrow_mut().push(transport);
        if !self.is_reaper_running.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).reap());
        }
    }

    /// Closes all idle connections and reuses none for ten minutes, on all workers.
    pub(super) fn suspend_reuse(&self) {
        if self.suspension.start() {
            log::warn!("Admin Control sent bytes that belong to no request; connection reuse is suspended for 10 minutes");
        }
        self.idle.borrow_mut().clear();
    }

    /// Closes connections that are closed by the peer, expired or suspended. Ends when none is left.
    async fn reap(self: Rc<Self>) {
        while !self.idle.borrow().is_empty() {
            tokio::time::sleep(REAP_INTERVAL).await;
            let mut has_surplus = self.suspension.is_active();
            self.idle.borrow_mut().retain_mut(|transport| {
                let probe = transport.probe();
                has_surplus |= probe == Probe::Surplus;
                probe == Probe::Quiet && !is_expired(transport)
            });
            if has_surplus {
                self.suspend_reuse();
            }
        }
        self.is_reaper_running.set(false);
    }
}

fn is_expired(transport: &Transport) -> bool {
    transport.released_at.elapsed() >= MAX_IDLE || transport.opened_at.elapsed() >= MAX_LIFETIME
}

/// Provides awc with connections.
#[derive(Clone)]
pub(super) enum PoolConnector {
    /// Takes an idle connection if there is one, and releases it afterwards.
    Pooled(Rc<Pool>),
    /// Opens a connection for each request and closes it afterwards.
    Unpooled(Rc<Pool>),
}

impl Service<ConnectInfo<Uri>> for PoolConnector {
    type Response = Connection<Uri, PooledStream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, _: ConnectInfo<Uri>) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let stream = match connector {
                Self::Unpooled(pool) => PooledStream::new(pool.connect().await?, pool, ConnectionKind::Unpooled),
                Self::Pooled(pool) => match pool.take_idle() {
                    Some(transport) => PooledStream::new(transport, pool, ConnectionKind::Reused),
                    None => PooledStream::new(pool.connect().await?, pool, ConnectionKind::New),
                },
            };
            Ok(Connection::new(Uri::default(), stream))
        })
    }
}

/// The end of the time without reuse. Clones share it, so that it applies to all workers.
#[derive(Debug, Clone, Default)]
pub(super) struct ReuseSuspension(Arc<Mutex<Option<Instant>>>);

impl ReuseSuspension {
    fn is_active(&self) -> bool {
        let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        end.is_some_and(|end| Instant::now() < end)
    }

    /// Starts or extends the suspension. Returns whether it was not active before.
    fn start(&self) -> bool {
        let end = Instant::now() + SUSPENSION;
        let previous = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(end);
        previous.is_none_or(|previous| previous <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::advance;
    use tokio_util::either::Either;

    fn pool(suspension: &ReuseSuspension) -> Rc<Pool> {
        // Without the reaper, which needs a runtime of its own.
        let pool = Pool::new(None, suspension.clone());
        pool.is_reaper_running.set(true);
        pool
    }

    async fn release_one(pool: &Rc<Pool>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (local, peer) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        pool.release(Transport::new(Either::Left(local.unwrap())));
        peer.unwrap().0
    }

    /// The local port, which identifies the connection.
    fn port(transport: &Transport) -> u16 {
        match &transport.io {
            Either::Left(tcp) => tcp.local_addr().unwrap().port(),
            Either::Right(_) => unreachable!("a plain connection"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn last_released_connection_is_taken_first() {
        let pool = pool(&ReuseSuspension::default());
        let (first, second) = (release_one(&pool).await, release_one(&pool).await);
        for peer in [second, first] {
            assert_eq!(port(&pool.take_idle().unwrap()), peer.peer_addr().unwrap().port());
        }
        assert!(pool.take_idle().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn connection_is_not_reused_when_idle_or_open_for_too_long() {
        let pool = pool(&ReuseSuspension::default());
        let mut peers = vec![release_one(&pool).await];
        advance(MAX_IDLE).await;
        assert!(pool.take_idle().is_none(), "idle for too long");
        peers.push(release_one(&pool).await);
        for _ in 0..12 {
            advance(Duration::from_secs(2)).await;
            let transport = pool.take_idle().expect("neither idle nor open for too long");
            pool.release(transport);
        }
        advance(Duration::from_secs(1)).await;
        assert!(pool.take_idle().is_none(), "open for too long");
    }

    #[tokio::test(start_paused = true)]
    async fn surplus_byte_suspends_reuse_for_ten_minutes_on_all_workers() {
        let suspension = ReuseSuspension::default();
        let (pool, other) = (pool(&suspension), pool(&suspension));
        let (_peer, _other_peer) = (release_one(&pool).await, release_one(&other).await);
        let mut sending_peer = release_one(&pool).await;
        sending_peer.write_all(b"x").await.unwrap();
        assert!(pool.take_idle().is_none() && other.take_idle().is_none());
        for _ in 0..299 {
            let _peer = (release_one(&pool).await, release_one(&other).await);
            assert!(pool.take_idle().is_none() && other.take_idle().is_none());
            advance(Duration::from_secs(2)).await;
        }
        advance(Duration::from_secs(2)).await;
        let _peer = (release_one(&pool).await, release_one(&other).await);
        assert!(pool.take_idle().is_some() && other.take_idle().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn closed_connection_is_discarded_without_suspension() {
        let suspension = ReuseSuspension::default();
        let pool = pool(&suspension);
        let quiet = release_one(&pool).await;
        drop(release_one(&pool).await);
        assert_eq!(port(&pool.take_idle().unwrap()), quiet.peer_addr().unwrap().port());
        assert!(!suspension.is_active());
    }

    #[actix_rt::test]
    async fn reaper_closes_closed_and_surplus_connections_and_ends() {
        let suspension = ReuseSuspension::default();
        let pool = Pool::new(None, suspension.clone());
        drop(release_one(&pool).await);
        let ends = async || {
            while pool.is_reaper_running.get() {
                tokio::task::yield_now().await;
            }
            assert!(pool.idle.borrow().is_empty());
        };
        ends().await;
        assert!(!suspension.is_active());
        let mut sending_peer = release_one(&pool).await;
        sending_peer.write_all(b"x").await.unwrap();
        let _quiet = release_one(&pool).await;
        ends().await;
        assert!(suspension.is_active());
    }
}
