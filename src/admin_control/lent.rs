//! A connection as awc sees it, for one call: watches where the answer begins and ends, and hands the socket back only if
//! nothing can be left on it. What becomes of it then is `connection`'s business.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Home;
use super::framing::{self, Body, Head};
use super::socket::Socket;

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
}

impl Lent {
    /// Of a socket that has nothing on it, and comes from `home`.
    pub(super) fn new(socket: Socket, home: Rc<Home>) -> Self {
        let state = State::Head { scanned: 0, dropped: 0 };
        Self { socket: Some(socket), home, state, held: BytesMut::new() }
    }

    /// Reads until the head of the answer is whole: into `buf` if it comes at once, and holds it otherwise.
    fn poll_head(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while let State::Head { scanned, dropped } = &mut self.state {
            match framing::head(&self.held, scanned) {
                Head::Incomplete => {
                    let Some(socket) = &mut self.socket else { break };
                    let start = buf.filled().len();
                    ready!(Pin::new(socket).poll_read(cx, buf))?;
                    let new = buf.filled().get(start..).unwrap_or_default();
                    if self.held.is_empty()
                        && let Head::Final(length, Body::Exactly(body)) = framing::head(new, &mut 0)
                    {
                        // Whole at once, as most are: it stays where it was read to.
                        let came = new.len().saturating_sub(length);
                        self.state = State::Body(body);
                        self.came(came);
                        break;
                    }
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
                Head::Interim(_) | Head::Refused => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Head::Final(length, Body::Otherwise) => {
                    self.state = State::Otherwise;
                    framing::announce_the_end(&mut self.held, length);
                }
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
            None => {
                self.socket = None;
                self.home.distrust();
            }
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        ready!(this.poll_head(cx, buf))?;
        if buf.filled().len() > start {
            return Poll::Ready(Ok(()));
        }
        if !this.held.is_empty() {
            let length = this.held.len().min(buf.remaining());
            buf.put_slice(&this.held.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let Some(socket) = &mut this.socket else { return Poll::Ready(Ok(())) };
        ready!(Pin::new(socket).poll_read(cx, buf))?;
        let new = buf.filled().len() - start;
        if new == 0 {
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
