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
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::pool::Pool;
use super::transport::Transport;

/// The longest response head, and the most bytes of interim responses before it.
const MAX_HEAD: usize = 64 * 1024;
/// As many header lines as awc reads.
const MAX_HEADERS: usize = 96;
const READ_SIZE: usize = 8 * 1024;

/// A connection for one request. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct PooledStream {
    /// `None` once released to the pool or closed.
    transport: Option<Transport>,
    pool: Rc<Pool>,
    origin: Origin,
    progress: Progress,
    /// Received and not yet passed to awc.
    buffer: BytesMut,
}

/// Where a connection comes from, which decides what happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Was idle in the pool: the peer may have closed it already.
    Idle,
    /// Newly opened, and pooled afterwards.
    New,
    /// Newly opened, and closed afterwards.
    Unpooled,
}

#[derive(Debug)]
enum Progress {
    /// Before the end of the response head.
    Head { interim_bytes: usize },
    /// Behind it; the length is what is missing.
    Body(Body),
}

/// A reused connection failed before the first byte of a response: most likely, the peer closed it while it was idle.
#[derive(Debug, thiserror::Error)]
#[error("a reused connection failed before the response: {0}")]
pub(super) struct StaleConnection(io::Error);

impl PooledStream {
    /// Nothing must have arrived on `transport`.
    pub(super) fn new(transport: Transport, pool: Rc<Pool>, origin: Origin) -> Self {
        let progress = Progress::Head { interim_bytes: 0 };
        Self { transport: Some(transport), pool, origin, progress, buffer: BytesMut::new() }
    }

    /// Marks an error as [`StaleConnection`] if it is one.
    fn mark_stale(&self, error: io::Error) -> io::Error {
        let is_first = matches!(self.progress, Progress::Head { interim_bytes: 0 }) && self.buffer.is_empty();
        let is_stale = self.origin == Origin::Idle && is_first;
        if is_stale { io::Error::new(error.kind(), StaleConnection(error)) } else { error }
    }

    /// Reads until the buffer holds a whole head of a final response.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Progress::Head { interim_bytes } = &mut self.progress {
            match parse_head(&self.buffer)? {
                Head::Incomplete => {
                    let Some(transport) = &mut self.transport else { break };
                    self.buffer.reserve(READ_SIZE);
                    let read = ready!(poll_read_buf(Pin::new(transport.io()), cx, &mut self.buffer));
                    if read.map_err(|error| self.mark_stale(error))? == 0 {
                        return Poll::Ready(Err(self.mark_stale(io::ErrorKind::UnexpectedEof.into())));
                    }
                }
                Head::Interim(length) if *interim_bytes <= MAX_HEAD => {
                    self.buffer.advance(length);
                    *interim_bytes += length;
                }
                Head::Interim(_) => return Poll::Ready(Err(invalid("too many interim responses"))),
                Head::Final(length, body) => {
                    let received = self.buffer.len().saturating_sub(length);
                    self.announce_close(length);
                    self.progress = Progress::Body(body);
                    self.count_body(received)?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Adds `Connection: close` to the head in the first `length` bytes, so that awc does not pool the connection.
    fn announce_close(&mut self, length: usize) {
        let rest = self.buffer.split_off(length.saturating_sub(b"\r\n".len()));
        self.buffer.extend_from_slice(b"Connection: close\r\n");
        self.buffer.unsplit(rest);
    }

    /// Counts received bytes of the body. Releases the connection after the last one.
    ///
    /// # Errors
    ///
    /// If the peer sent more than the announced length; the connection is closed.
    fn count_body(&mut self, received: usize) -> io::Result<()> {
        let Progress::Body(Body::Length { bytes, is_reusable }) = &mut self.progress else { return Ok(()) };
        let Some(missing) = bytes.checked_sub(received) else {
            self.transport = None;
            self.pool.suspend_reuse();
            return Err(invalid("bytes behind the announced end of the response"));
        };
        *bytes = missing;
        if missing == 0
            && let Some(transport) = self.transport.take()
            && *is_reusable
            && self.origin != Origin::Unpooled
        {
            self.pool.release(transport);
        }
        Ok(())
    }
}

impl AsyncRead for PooledStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_head(cx))?;
        if !this.buffer.is_empty() {
            let length = this.buffer.len().min(buf.remaining());
            buf.put_slice(&this.buffer.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let Some(transport) = &mut this.transport else { return Poll::Ready(Ok(())) };
        let filled = buf.filled().len();
        ready!(Pin::new(transport.io()).poll_read(cx, buf))?;
        match buf.filled().len() - filled {
            // awc reads on only while the body is incomplete; it would take what it has for the whole.
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            received => Poll::Ready(this.count_body(received)),
        }
    }
}

impl AsyncWrite for PooledStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match (&mut this.transport, &this.progress) {
            (Some(transport), Progress::Head { .. }) => {
                Pin::new(transport.io()).poll_write(cx, bytes).map_err(|error| this.mark_stale(error))
            }
            // One request only.
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(transport) = &mut this.transport else { return Poll::Ready(Ok(())) };
        Pin::new(transport.io()).poll_flush(cx).map_err(|error| this.mark_stale(error))
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

/// What the received bytes begin with.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    Incomplete,
    /// An interim response (1xx) of so many bytes, before another response.
    Interim(usize),
    /// The head of the final response, of so many bytes.
    Final(usize, Body),
}

/// How the end of a body is found.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    /// By its `Content-Length`.
    Length { bytes: usize, is_reusable: bool },
    /// By awc (chunked), by the end of the connection, or there is no body. The connection is not reused.
    Other,
}

/// Parses the head at the start of `bytes`.
///
/// # Errors
///
/// If it is no HTTP/1 head, too long, framed in two ways, or has a line that parsers disagree on.
fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() <= MAX_HEAD => return Ok(Head::Incomplete),
        Ok(Status::Partial) => return Err(invalid("the response head is too long")),
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let head = bytes.get(..length).unwrap_or_default();
    if head.starts_with(b"\n") || head.windows(2).any(|pair| pair.ends_with(b"\n") && pair != b"\r\n") {
        return Err(invalid("a line of the response head ends without CR"));
    }
    // 101 is no interim response: another protocol follows.
    if matches!(response.code, Some(100 | 102..=199)) {
        return Ok(Head::Interim(length));
    }
    Ok(Head::Final(length, body(&response)?))
}

fn body(response: &Response<'_, '_>) -> io::Result<Body> {
    let values = |name: &'static str| {
        response.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    };
    let mut lengths = values("content-length");
    let is_coded = values("transfer-encoding").next().is_some();
    let bytes = match (lengths.next(), lengths.next()) {
        (None, _) => return Ok(Body::Other),
        (Some(length), None) if !is_coded => parse_length(length).ok_or_else(|| invalid("Content-Length is no number"))?,
        _ => return Err(invalid("the response is framed in two ways")),
    };
    // These statuses have no body, whatever length is announced.
    if matches!(response.code, Some(101 | 204 | 205 | 304)) {
        return Ok(Body::Other);
    }
    let is_kept_alive = values("connection").all(|value| value.trim_ascii().eq_ignore_ascii_case(b"keep-alive"));
    let is_reusable = response.version == Some(1) && is_kept_alive && values("upgrade").next().is_none();
    Ok(Body::Length { bytes, is_reusable })
}

/// Parses digits only: a sign would be accepted by `usize`.
fn parse_length(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses the head with another one behind it. Returns `None` for an interim response.
    fn body_of(head: &str) -> Option<Body> {
        let head = format!("{head}\r\n\r\n");
        let (length, body) = match parse_head(format!("{head}HTTP/1.1 200 OK\r\n\r\n").as_bytes()).unwrap() {
            Head::Incomplete => panic!("{head} is complete"),
            Head::Interim(length) => (length, None),
            Head::Final(length, body) => (length, Some(body)),
        };
        assert_eq!(length, head.len(), "{head}");
        body
    }

    fn is_refused(bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        assert_eq!(parse_head(bytes).unwrap_err().kind(), io::ErrorKind::InvalidData, "{}", bytes.escape_ascii());
    }

    #[test]
    fn plain_length_is_reusable() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5",
            "HTTP/1.1 500 Oops\r\ncontent-length:  5 \r\nX: y",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=5",
        ] {
            assert_eq!(body_of(head), Some(Body::Length { bytes: 5, is_reusable: true }), "{head}");
        }
    }

    #[test]
    fn length_is_not_reusable_if_anything_says_so() {
        for head in [
            "HTTP/1.0 200 OK\r\nContent-Length: 5",
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nConnection: close",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive, upgrade",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nUpgrade: h2c",
        ] {
            assert_eq!(body_of(head), Some(Body::Length { bytes: 5, is_reusable: false }), "{head}");
        }
    }

    #[test]
    fn response_without_length_or_body_is_not_measured() {
        for head in ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "HTTP/1.1 200 OK\r\nX: y"] {
            assert_eq!(body_of(head), Some(Body::Other), "{head}");
        }
        for status in [101, 204, 205, 304] {
            assert_eq!(body_of(&format!("HTTP/1.1 {status} X\r\nContent-Length: 5")), Some(Body::Other), "{status}");
        }
    }

    #[test]
    fn interim_response_is_told_from_the_final_one() {
        for code in [100, 102, 103, 199] {
            assert_eq!(body_of(&format!("HTTP/1.1 {code} X\r\nLink: </x>")), None, "{code}");
        }
    }

    #[test]
    fn response_framed_in_two_ways_is_refused() {
        for headers in [
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: identity\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: ",
            "Content-Length: 99999999999999999999",
        ] {
            is_refused(format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n"));
        }
    }

    #[test]
    fn lone_line_feed_in_a_head_is_refused_but_not_behind_it() {
        for text in [
            "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\n",
            "\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ] {
            is_refused(text);
        }
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n\n\n").unwrap(), Head::Final(19, Body::Other));
    }

    #[test]
    fn partial_head_is_awaited_up_to_its_limit() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        for length in 0..text.len() {
            assert_eq!(parse_head(&text[..length]).unwrap(), Head::Incomplete, "{length}");
        }
        is_refused([b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &b"y".repeat(MAX_HEAD)].concat());
        is_refused([b"HTTP/1.1 200 OK\r\n".as_slice(), &b"X: y\r\n".repeat(MAX_HEADERS + 1)].concat());
        is_refused("SSH-2.0-x\r\n\r\n");
        is_refused("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello");
    }
}
