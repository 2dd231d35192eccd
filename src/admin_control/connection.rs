//! Connections to Admin Control: one call at a time on each, used again only when nothing can be left on it.
//!
//! awc gives a connection back to its pool after an interim response, after a 204, or with the next response's bytes already
//! on it; whatever arrives then is taken for the answer to the next call, and that is another room's text. So awc's pool is
//! not used. Each call is lent a connection; when the answer's last byte has come, by a length that leaves no doubt, and not
//! one byte more, the socket rests. It is lent again only after a while of proven silence. Any doubt closes it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_rt::net::{ActixStream, Ready};
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use bytes::{Buf as _, BytesMut};
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{self, Body, Head};
use super::socket::{Socket, Target};

/// How long a socket must have been silent before it is lent again. What Admin Control sends too late, or unasked, comes
/// within that time, and closes the socket.
const SILENCE: Duration = Duration::from_millis(50);
/// How long a socket may rest. Node, which Admin Control is thought to run on, closes it after five seconds.
const REST: Duration = Duration::from_secs(3);
/// How old a socket may become: a name that resolves to another address is noticed by then.
const LIFETIME: Duration = Duration::from_secs(25);
/// The most sockets that rest, for each worker.
const MAX_RESTING: usize = 2048;

/// Connects for awc, or lends a socket that rests. Clones are the same; they belong to one worker.
#[derive(Clone)]
pub(super) struct Connections(Rc<Home>);

struct Home {
    /// `None` if the base URL names no place.
    target: Option<Rc<Target>>,
    /// The most sockets that rest.
    keeps: usize,
    /// The longest at rest first.
    resting: RefCell<VecDeque<(Socket, Instant)>>,
}

impl Connections {
    /// Connections that are used again.
    pub(super) fn kept(target: Option<Rc<Target>>) -> Self {
        Self(Rc::new(Home { target, keeps: MAX_RESTING, resting: RefCell::default() }))
    }

    /// A fresh connection for each call.
    pub(super) fn fresh(target: Option<Rc<Target>>) -> Self {
        Self(Rc::new(Home { target, keeps: 0, resting: RefCell::default() }))
    }

    /// Forgets what rests: one of them was closed at the other end, and the others may be too.
    pub(super) fn forget(&self) {
        self.0.resting.borrow_mut().clear();
    }
}

impl Service<ConnectInfo<Uri>> for Connections {
    type Response = Connection<Uri, Lent>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, _: ConnectInfo<Uri>) -> Self::Future {
        let home = Rc::clone(&self.0);
        Box::pin(async move {
            let socket = match (home.take(), &home.target) {
                (Some(socket), _) => socket,
                (None, Some(target)) => target.connect().await.map_err(ConnectError::Io)?,
                (None, None) => return Err(ConnectError::Unresolved),
            };
            Ok(Connection::new(Uri::default(), Lent::new(socket, home)))
        })
    }
}

impl Home {
    fn take(&self) -> Option<Socket> {
        let now = Instant::now();
        let mut resting = self.resting.borrow_mut();
        while let Some((_, since)) = resting.front()
            && now - *since >= SILENCE
        {
            let (socket, since) = resting.pop_front()?;
            if now - since < REST && now - socket.opened < LIFETIME && socket.is_silent() {
                return Some(socket);
            }
        }
        None
    }

    fn give_back(self: &Rc<Self>, socket: Socket) {
        let mut resting = self.resting.borrow_mut();
        if resting.len() >= self.keeps {
            return;
        }
        if resting.is_empty() {
            tokio::task::spawn_local(Rc::clone(self).tidy());
        }
        resting.push_back((socket, Instant::now()));
    }

    /// Closes what has rested for too long, until nothing rests: nobody may ask for a while.
    async fn tidy(self: Rc<Self>) {
        loop {
            tokio::time::sleep(REST / 3).await;
            let mut resting = self.resting.borrow_mut();
            while resting.front().is_some_and(|(_, since)| since.elapsed() >= REST) {
                resting.pop_front();
            }
            if resting.is_empty() {
                return;
            }
        }
    }
}

/// A connection for one call.
pub(super) struct Lent {
    /// `None` once it has gone to rest, or was closed.
    socket: Option<Socket>,
    home: Rc<Home>,
    state: State,
    /// Read, and not handed on yet.
    held: BytesMut,
}

enum State {
    /// The head of the answer has not come to its end.
    Head {
        /// So much of what is held has been looked at.
        scanned: usize,
        /// So many bytes of interim responses have been dropped.
        dropped: usize,
    },
    /// So many bytes of the body are still to come.
    Body(usize),
    /// The body ends where awc finds its end.
    Otherwise,
    /// No answer at all.
    Unknown,
}

impl Lent {
    fn new(socket: Socket, home: Rc<Home>) -> Self {
        let state = State::Head { scanned: 0, dropped: 0 };
        Self { socket: Some(socket), home, state, held: BytesMut::new() }
    }

    /// Reads and holds until the head of the answer is whole.
    fn poll_head(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while let State::Head { scanned, dropped } = &mut self.state {
            match framing::head(&self.held, scanned) {
                Head::Incomplete => {
                    let Some(socket) = &mut self.socket else { break };
                    let start = buf.filled().len();
                    ready!(Pin::new(socket).poll_read(cx, buf))?;
                    let new = buf.filled().get(start..).unwrap_or_default();
                    if new.is_empty() {
                        // Half a head is no answer, and neither is an interim response.
                        self.socket = None;
                        self.held.clear();
                    }
                    self.held.extend_from_slice(new);
                    buf.set_filled(start);
                }
                Head::Interim(length) if *dropped <= framing::MAX_HEAD => {
                    self.held.advance(length);
                    *dropped += length;
                    *scanned = 0;
                }
                Head::Interim(_) | Head::TooLong => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Head::Unknown => self.state = State::Unknown,
                Head::Final(_, Body::Otherwise) => self.state = State::Otherwise,
                Head::Final(length, Body::Exactly(body)) => {
                    self.state = State::Body(body);
                    self.came(self.held.len().saturating_sub(length));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// So many more bytes of the body have come. With the last one the socket goes to rest; with one too many, or too few and
    /// the end, it is closed.
    fn came(&mut self, bytes: usize) {
        let State::Body(left) = &mut self.state else { return };
        match left.checked_sub(bytes) {
            Some(0) => {
                if let Some(socket) = self.socket.take() {
                    self.home.give_back(socket);
                }
            }
            Some(still) => *left = still,
            None => self.socket = None,
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_head(cx, buf))?;
        if !this.held.is_empty() {
            let length = this.held.len().min(buf.remaining());
            buf.put_slice(&this.held.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let Some(socket) = &mut this.socket else { return Poll::Ready(Ok(())) };
        let start = buf.filled().len();
        ready!(Pin::new(socket).poll_read(cx, buf))?;
        let new = buf.filled().len() - start;
        if new == 0 && !matches!(this.state, State::Unknown) {
            // Who still reads has not had the whole body; awc would take what there is for it.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        this.came(new);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match (&mut this.socket, &this.state) {
            (Some(socket), State::Head { .. }) => Pin::new(socket).poll_write(cx, bytes),
            // It was lent for one call.
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.as_mut().map_or(Poll::Ready(Ok(())), |socket| Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropped, that is closed; there is nothing left to be said.
        self.get_mut().socket = None;
        Poll::Ready(Ok(()))
    }
}

impl ActixStream for Lent {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        // Nobody asks a client's connection.
        Poll::Ready(Ok(Ready::ALL))
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::ALL))
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}
