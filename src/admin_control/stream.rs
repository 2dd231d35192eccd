//! A connection to Admin Control as awc sees it, for one request.
//!
//! Drops interim responses, enforces the exact length of the body, and releases the connection to the pool only if no
//! byte can be left on it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::head::{Body, Head, MAX_HEAD, invalid, parse_head};
use super::pool::Pool;
use super::transport::Transport;

const READ_SIZE: usize = 8 * 1024;
/// A header that keeps awc from pooling the connection.
const CLOSE_HEADER: &[u8] = b"Connection: close\r\n";

/// A connection for one request. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct PooledStream {
    /// `None` once released to the pool or closed.
    transport: Option<Transport>,
    pool: Rc<Pool>,
    kind: ConnectionKind,
    /// The head of the final response without its blank line, as far as it is not passed to awc. Empty until it is complete.
    head: BytesMut,
    /// The other bytes that were received and not yet passed to awc.
    buffer: BytesMut,
    interim_bytes: usize,
    /// `None` before the end of the response head.
    body: Option<Body>,
}

/// The kind of a connection, which decides whether it is retried and pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionKind {
    /// Was idle in the pool: the peer may have closed it already.
    Reused,
    /// Newly opened, and pooled afterwards.
    New,
    /// Newly opened, and closed afterwards.
    Unpooled,
}

/// A reused connection failed before the first byte of a response.
///
/// Most likely, the peer closed it while it was idle.
#[derive(Debug, thiserror::Error)]
#[error("a reused connection failed before the response: {0}")]
pub(super) struct StaleConnection(io::Error);

impl PooledStream {
    /// Prepares `transport` for one request. No byte must have arrived on it.
    pub(super) fn new(transport: Transport, pool: Rc<Pool>, kind: ConnectionKind) -> Self {
        Self {
            transport: Some(transport),
            pool,
            kind,
            head: BytesMut::new(),
            buffer: BytesMut::new(),
            interim_bytes: 0,
            body: None,
        }
    }

    /// Wraps an error in [`StaleConnection`] if the connection was reused and no byte has arrived.
    fn wrap_if_stale(&self, error: io::Error) -> io::Error {
        let has_received = self.body.is_some() || self.interim_bytes > 0 || !self.buffer.is_empty();
        let is_stale = self.kind == ConnectionKind::Reused && !has_received;
        if is_stale { io::Error::new(error.kind(), StaleConnection(error)) } else { error }
    }

    /// Reads into awc's buffer. A response whose head arrives at once is not copied.
    ///
    /// Returns whether `buf` has the head of the final response. If not, the received bytes are in `self.buffer`.
    fn poll_read_directly(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let Some(transport) = &mut self.transport else { return Poll::Ready(Ok(false)) };
        let start = buf.filled().len();
        buf.put_slice(CLOSE_HEADER);
        let read = Pin::new(&mut transport.io).poll_read(cx, buf);
        let added = buf.filled_mut().get_mut(start..).unwrap_or_default();
        let received = added.get(CLOSE_HEADER.len()..).unwrap_or_default();
        let direct = match parse_head(received) {
            Ok(Head::Final(head_bytes, body)) if received.starts_with(b"HTTP") => {
                let line_end = received.iter().position(|byte| *byte == b'\n').unwrap_or_default();
                Some((line_end, body, received.len().saturating_sub(head_bytes)))
            }
            _ => None,
        };
        let Some((line_end, body, body_bytes)) = direct else {
            self.buffer.extend_from_slice(received);
            buf.set_filled(start);
            return match ready!(read) {
                Ok(()) if self.buffer.is_empty() => {
                    Poll::Ready(Err(self.wrap_if_stale(io::ErrorKind::UnexpectedEof.into())))
                }
                Ok(()) => Poll::Ready(Ok(false)),
                Err(error) => Poll::Ready(Err(self.wrap_if_stale(error))),
            };
        };
        if let Some(line) = added.get_mut(..=CLOSE_HEADER.len() + line_end) {
            // Moves the header behind the status line.
            line.rotate_left(CLOSE_HEADER.len());
        }
        self.body = Some(body);
        Poll::Ready(self.count_body(body_bytes).map(|()| true))
    }

    /// Reads the head of the final response.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.body.is_none() {
            match parse_head(&self.buffer)? {
                Head::Incomplete => {
                    let Some(transport) = &mut self.transport else { break };
                    self.buffer.reserve(READ_SIZE);
                    let read = ready!(poll_read_buf(Pin::new(&mut transport.io), cx, &mut self.buffer));
                    if read.map_err(|error| self.wrap_if_stale(error))? == 0 {
                        return Poll::Ready(Err(self.wrap_if_stale(io::ErrorKind::UnexpectedEof.into())));
                    }
                }
                Head::Interim(length) if self.interim_bytes <= MAX_HEAD => {
                    self.buffer.advance(length);
                    self.interim_bytes += length;
                }
                Head::Interim(_) => return Poll::Ready(Err(invalid("too many interim responses"))),
                Head::Final(length, body) => {
                    let received = self.buffer.len().saturating_sub(length);
                    self.head = self.buffer.split_to(length.saturating_sub(b"\r\n".len()));
                    self.head.extend_from_slice(CLOSE_HEADER);
                    self.body = Some(body);
                    self.count_body(received)?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Counts received bytes of the body. Releases the connection after the last one.
    ///
    /// # Errors
    ///
    /// If the peer sent more than the announced length; the connection is closed.
    fn count_body(&mut self, received: usize) -> io::Result<()> {
        let Some(Body::Length { bytes, is_reusable }) = &mut self.body else { return Ok(()) };
        let Some(missing) = bytes.checked_sub(received) else {
            self.transport = None;
            self.pool.suspend_reuse();
            return Err(invalid("bytes behind the announced end of the response"));
        };
        *bytes = missing;
        if missing == 0
            && let Some(transport) = self.transport.take()
            && *is_reusable
            && self.kind != ConnectionKind::Unpooled
        {
            self.pool.release(transport);
        }
        Ok(())
    }
}

impl AsyncRead for PooledStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let is_direct = this.body.is_none() && this.buffer.is_empty() && buf.remaining() > CLOSE_HEADER.len();
        if is_direct && ready!(this.poll_read_directly(cx, buf))? {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_head(cx))?;
        if !this.head.is_empty() || !this.buffer.is_empty() {
            for part in [&mut this.head, &mut this.buffer] {
                let length = part.len().min(buf.remaining());
                buf.put_slice(&part.split_to(length));
            }
            return Poll::Ready(Ok(()));
        }
        let Some(transport) = &mut this.transport else { return Poll::Ready(Ok(())) };
        let filled = buf.filled().len();
        ready!(Pin::new(&mut transport.io).poll_read(cx, buf))?;
        match buf.filled().len() - filled {
            // awc reads only while the body is incomplete, and would take an early end for the end of the body.
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            received => Poll::Ready(this.count_body(received)),
        }
    }
}

impl AsyncWrite for PooledStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // One request only.
        let (Some(transport), None) = (&mut this.transport, &this.body) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        Pin::new(&mut transport.io).poll_write(cx, bytes).map_err(|error| this.wrap_if_stale(error))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(transport) = &mut this.transport else { return Poll::Ready(Ok(())) };
        Pin::new(&mut transport.io).poll_flush(cx).map_err(|error| this.wrap_if_stale(error))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().transport = None;
        Poll::Ready(Ok(()))
    }
}

impl ActixStream for PooledStream {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        // awc does not call this for a client connection.
        Poll::Ready(Ok(Ready::ALL))
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::ALL))
    }
}
