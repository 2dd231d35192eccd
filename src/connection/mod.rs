//! A client's connection: a TCP stream that keeps the limits which the HTTP server behind it does not know.
//!
//! It sees the bytes in both directions and ends a connection whose request does not arrive in time, whose head or request line
//! is too long, or whose client does not take its answer; and it hands on one request at a time, however many were sent ahead.
//! What a request means it leaves to others; docs/LIMITS.md has every number.

mod ahead;
mod capacity;
mod framing;
mod handles;
mod output;
mod rules;
mod socket;
mod sweeper;
mod watch;

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::draining::Draining;
use ahead::Ahead;
pub use capacity::Capacity;
use framing::{Framing, Phase, Refused};
pub use handles::{Announcement, Answering, Invitation, Revocable, Sending, Standing, Turn};
use output::Output;
pub use rules::Rules;
pub use socket::listen;
use sweeper::Sweeper;
use watch::Watch;

/// How much is still read, and thrown away, of a request that was answered before it was complete.
const UNWANTED: usize = 64 * 1024;

/// How much is read before the HTTP server is left to take it: it would gather whatever is there, and keep that much room.
const PORTION: usize = 8 * 1024;

/// The connections of one worker.
#[derive(Clone)]
pub struct Connections(Rc<Sweeper>);

impl Connections {
    /// Starts to look after this thread's connections; must be called in a `LocalSet`.
    #[must_use]
    pub fn start(rules: Rules, capacity: Capacity, draining: Draining) -> Self {
        Self(Sweeper::start(rules, capacity, draining))
    }

    /// Takes on a connection.
    #[must_use]
    pub fn open(&self, stream: TcpStream) -> Connection {
        Connection {
            stream,
            watch: self.0.watch(),
            sweeper: Rc::clone(&self.0),
            framing: Framing::new(),
            begun: 0,
            refused: false,
            asked: false,
            output: Output::new(Rc::clone(&self.0)),
            portion: 0,
            ahead: Ahead::default(),
            closing: None,
        }
    }
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    watch: Rc<Watch>,
    sweeper: Rc<Sweeper>,
    framing: Framing,
    /// When the request that is being read began.
    begun: u32,
    /// Nothing more is handed on.
    refused: bool,
    /// The client waits to hear whether its body is wanted.
    asked: bool,
    output: Output,
    /// How much has been read since nothing was there, or since the last pause.
    portion: usize,
    /// What came together with a request and belongs to the next ones.
    ahead: Ahead,
    /// How much is still read for nothing, once our end is closed.
    closing: Option<usize>,
}

impl Connection {
    /// Takes note of what was read, keeps back what is not its turn yet, and changes what must not go further.
    fn has_read(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let requests = self.framing.begun();
        let bytes = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        if bytes.is_empty() {
            // Its client has closed its end, and can't be late any more.
            return self.watch.has_read(None);
        }
        let taken = match self.framing.read(bytes) {
            Ok(taken) => taken,
            Err(Refused(at)) => {
                // What no parser takes, in a head as in the frame of a body: 400, and no byte further.
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = 0;
                }
                self.refused = true;
                at + 1
            }
        };
        self.ahead.keep(bytes.get(taken..).unwrap_or_default(), taken);
        buffer.set_filled(before + taken);
        if self.framing.begun() != requests {
            self.begun = self.sweeper.now();
            self.watch.begins();
        }
        self.watch.announces(self.framing.announced());
        self.asked = self.framing.asks();
        self.watch.has_read(match self.framing.phase() {
            Phase::Between | Phase::Unknown => None,
            Phase::Head => Some(self.sweeper.head_by(self.begun)),
            Phase::Body => Some(self.sweeper.request_by(self.begun)),
        });
    }

    /// The next bytes: what was sent ahead, or what the kernel has.
    fn poll_bytes(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            self.ahead.give(buffer);
            return Poll::Ready(Ok(()));
        }
        let most = self.framing.missing().max(ahead::MOST).min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }

    /// Another request must not begin yet: what there is of it stays in the kernel. Only whether the client has left is looked at.
    fn wait_for_its_turn(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.portion = 0;
        self.watch.starves(context);
        if self.ahead.is_empty() && !self.watch.knows_of_more() {
            let mut byte = [0];
            if ready!(self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte)))? == 0 {
                // Nobody hangs up on what has no end and still reads it; a write would show that only later.
                return if self.watch.goes_on() { self.give_up() } else { Poll::Ready(Ok(())) };
            }
        }
        self.watch.has_more();
        Poll::Pending
    }

    /// Says `100 Continue` to a client that asked, if its body is wanted, and nothing else is on its way to it.
    fn answer_expectation(&mut self, context: &mut Context<'_>) {
        if !self.asked || !self.output.is_done() || !self.watch.is_wanted() {
            return;
        }
        self.asked = false;
        // An idle connection takes 25 bytes; should it not, the client sends its body without a word after a while.
        let _ = Pin::new(&mut self.stream).poll_write(context, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Ends it at once, with whatever is still on its way.
    fn give_up<T>(&self) -> Poll<io::Result<T>> {
        // Else the kernel would go on for minutes. It only fails if there is no connection any more.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    /// Whether a request was answered, and the answer sent, before all of its body came. Nobody reads the rest of it.
    fn has_an_unread_body(&self) -> bool {
        self.framing.phase() == Phase::Body && !self.watch.is_answering() && self.output.is_done()
    }

    /// Between requests nothing more is on its way, as far as anybody knows.
    fn may_get_more(&self) -> bool {
        let ahead = !self.ahead.is_empty() || self.watch.knows_of_more();
        self.refused || ahead || self.framing.phase() != Phase::Between
    }

    /// Reads for nothing: a connection that is closed with unread bytes is reset, and the answer may be lost with it.
    fn read_the_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        while let Some(left) = self.closing.filter(|left| *left > 0) {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.closing = Some(left.saturating_sub(buffer.filled().len()));
                }
                Poll::Pending if self.may_get_more() => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The rest of what is noted of it goes with the sweeper's next look; whoever comes now must not be turned away until then.
        self.watch.leaves();
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.is_over() {
            return this.give_up();
        }
        if this.refused {
            return Poll::Ready(Ok(()));
        }
        // One at a time, and none as long as its client does not take the answers that there are.
        if this.framing.phase() == Phase::Between && (this.watch.is_answering() || !this.output.is_done()) {
            return this.wait_for_its_turn(context);
        }
        if this.portion >= PORTION {
            this.portion = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        match this.poll_bytes(context, buffer) {
            Poll::Pending => {
                this.portion = 0;
                this.watch.starves(context);
                this.answer_expectation(context);
                Poll::Pending
            }
            Poll::Ready(Ok(())) => {
                this.portion += buffer.filled().len().saturating_sub(before);
                this.has_read(buffer, before);
                Poll::Ready(Ok(()))
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.watch.is_over() {
            return this.give_up();
        }
        ready!(this.output.poll_turn(&this.watch, context));
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        match outcome {
            Poll::Pending => this.watch.is_blocked(context, this.sweeper.now()),
            Poll::Ready(Ok(taken)) => this.watch.has_taken(taken),
            Poll::Ready(Err(_)) => {}
        }
        outcome
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Only called once everything was taken.
        let this = self.get_mut();
        this.output.has_been_sent();
        this.watch.has_sent();
        if !this.refused && this.has_an_unread_body() {
            // The HTTP server would wait for its end.
            this.refused = true;
            context.waker().wake_by_ref();
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.is_over() {
            return Poll::Ready(Ok(()));
        }
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.closing = Some(UNWANTED);
            this.watch.has_read(Some(this.sweeper.closed_by()));
        }
        if this.read_the_rest(context).is_pending() {
            this.watch.starves(context);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
