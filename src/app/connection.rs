//! A client's TCP stream with deadlines: idle, request head, write stall. It does not inspect the bytes.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::request_context::connection_state::{ConnectionState, WRITE_TIMEOUT};
use crate::telemetry::metrics::Gauge;

/// Interval of checks while no deadline is set.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_mins(1);
/// Write timeout of an event stream whose client has closed its end.
const ABANDONED_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// A client connection.
pub(super) struct Connection {
    stream: TcpStream,
    state: Rc<ConnectionState>,
    /// One timer for all deadlines. It may be early, never late.
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes read since the parser last ran.
    read_since_parse: usize,
    /// A read was skipped without registering for its readiness.
    is_read_paused: bool,
    stalled_since: Option<Instant>,
    is_shut_down: bool,
    has_discarded: bool,
    open_connections: Gauge,
}

impl Connection {
    /// Wraps an accepted stream, and counts it until it is dropped.
    pub(super) fn new(stream: TcpStream, keep_alive: Duration, open_connections: Gauge) -> Self {
        open_connections.increment(1.0);
        Self {
            stream,
            state: ConnectionState::new(keep_alive),
            timer: None,
            read_since_parse: 0,
            is_read_paused: false,
            stalled_since: None,
            is_shut_down: false,
            has_discarded: false,
            open_connections,
        }
    }

    /// Returns the state that its requests share.
    pub(super) fn state(&self) -> Rc<ConnectionState> {
        Rc::clone(&self.state)
    }

    /// Returns whether the task will be woken at `deadline` or before; without one, whether it will be woken.
    fn is_armed_for(&self, deadline: Option<Instant>) -> bool {
        let is_early = |timer: &Pin<Box<Sleep>>| deadline.is_none_or(|deadline| timer.deadline() <= deadline);
        self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed() && is_early(timer))
    }

    /// Makes sure that the task is woken at `deadline`. Moving a timer costs more than being woken early now and then.
    fn wake_at(&mut self, deadline: Instant, context: &mut Context<'_>) {
        if !self.is_armed_for(Some(deadline)) {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            timer.as_mut().reset(deadline);
            if timer.as_mut().poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
        }
    }

    /// Waits for input; end of input if the client is too late.
    fn poll_input_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let deadline = self.state.deadline();
        // Then it has not passed, and the time need not be read.
        if self.is_armed_for(deadline) {
            return Poll::Pending;
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Poll::Ready(Ok(()));
        }
        self.wake_at(deadline.unwrap_or(now + IDLE_CHECK_INTERVAL), context);
        Poll::Pending
    }

    /// Reads no more for now. Until the next flush, only the end of input is looked for.
    fn poll_paused_input(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_read_paused = true;
        let mut byte = [0];
        match self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(1..)) | Poll::Pending => {}
            Poll::Ready(Ok(0)) => self.state.record_end_of_input(),
            Poll::Ready(Err(error)) => {
                self.state.record_end_of_input();
                return Poll::Ready(Err(error));
            }
        }
        self.poll_input_deadline(context)
    }

    /// Returns whether the client has closed its end, also behind input that is not read, as after a malformed request.
    fn is_input_closed(&self) -> bool {
        self.stream.ready(Interest::READABLE).now_or_never().is_some_and(|ready| ready.is_ok_and(Ready::is_read_closed))
    }

    /// Waits until the client reads some of the response; resets the connection if that takes too long.
    fn poll_write_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let since = *self.stalled_since.get_or_insert(now);
        let deadline = since + if self.state.is_abandoned() { ABANDONED_WRITE_TIMEOUT } else { WRITE_TIMEOUT };
        if deadline <= now {
            // Otherwise the kernel would retry for minutes. Fails only if there is no connection any more.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        self.wake_at(deadline, context);
        Poll::Pending
    }

    /// Closes our end.
    fn poll_shut_down(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut_down {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut_down = true;
            self.state.close();
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the connection, of which our end is closed.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_discard_input(context))?;
        Poll::Ready(Err(ErrorKind::ConnectionAborted.into()))
    }

    /// Discards what is still coming in. Closing with unread input resets the connection, and the response may be lost.
    fn poll_discard_input(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.has_discarded = true,
                Poll::Pending if self.has_discarded || self.state.has_unread_body() => {
                    return self.poll_input_deadline(context);
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open_connections.decrement(1.0);
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_shut_down {
            return this.poll_end(context);
        }
        let limit = this.state.read_limit();
        if limit == 0 || this.stalled_since.is_some() {
            return this.poll_paused_input(context);
        }
        if this.read_since_parse >= limit {
            this.read_since_parse = 0;
            context.waker().wake_by_ref();
            return this.poll_input_deadline(context);
        }
        let filled = buffer.filled().len();
        let mut limited = (&mut this.stream).take((limit - this.read_since_parse) as u64);
        let Poll::Ready(outcome) = Pin::new(&mut limited).poll_read(context, buffer) else {
            this.read_since_parse = 0;
            return this.poll_input_deadline(context);
        };
        let read = buffer.filled().len() - filled;
        if read == 0 {
            this.state.record_end_of_input();
        } else {
            this.read_since_parse += read;
            this.state.record_read(read);
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        if outcome.is_pending() {
            return this.poll_write_deadline(context);
        }
        this.stalled_since = None;
        outcome
    }

    /// Called once everything has been taken, and at each check of an event stream's lease.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state.is_event_stream() && this.is_input_closed() {
            this.state.record_end_of_input();
        }
        if this.state.is_closing() {
            // actix-http would go on with requests that it has read already. After the end of input, it reads no more.
            ready!(this.poll_shut_down(context))?;
            return this.poll_end(context);
        }
        if this.is_read_paused && this.state.read_limit() > 0 {
            this.is_read_paused = false;
            context.waker().wake_by_ref();
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_shut_down(context))?;
        this.poll_discard_input(context)
    }
}
