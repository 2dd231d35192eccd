//! The state of one client connection, shared by the connection and the requests on it. Knows no bytes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How much is read before the parser gets its turn, in bytes. A request takes a hundred times its bytes there.
const READ_PORTION: usize = 2 * 1024;
/// The same of a body that a handler reads.
const BODY_PORTION: usize = 8 * 1024;
/// How much is read behind a request whose response is not complete, in bytes. The rest waits in the kernel.
const READ_AHEAD: usize = 256;

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionTimeouts {
    /// Between a response and the next request.
    pub keep_alive: Duration,
    /// For a request head, from its first byte.
    pub head: Duration,
    /// Without taking anything of a response.
    pub write_stall: Duration,
    /// To close its end after the last response.
    pub linger: Duration,
}

impl ConnectionTimeouts {
    /// Returns the timeouts of a listener with this idle timeout.
    pub(crate) fn new(keep_alive: Duration) -> Self {
        Self {
            keep_alive,
            head: Duration::from_secs(5),
            write_stall: Duration::from_secs(30),
            linger: Duration::from_secs(1),
        }
    }
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next request.
    Idle,
    /// The rest of a request head.
    Head,
    /// The response.
    InFlight,
    /// The end of what the client still sends: the last response has been made.
    Closing,
}

/// The body of the request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestBody {
    /// Absent, or read to its end.
    Complete,
    /// Not wanted by a handler so far.
    Unread,
    /// A handler reads it.
    Reading,
}

/// The state of one client connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    phase: Cell<(Phase, Instant)>,
    body: Cell<RequestBody>,
    /// Bytes read since the request in flight began, without its body.
    read_ahead: Cell<usize>,
    end_of_input: CancellationToken,
    /// No request follows the one in flight.
    is_last: Cell<bool>,
    /// The response in flight ends when the input does.
    is_event_stream: Cell<bool>,
}

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<ConnectionState>);

impl ConnectionState {
    /// Creates the state of a new connection, which is idle.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new((Phase::Idle, Instant::now())),
            body: Cell::new(RequestBody::Complete),
            read_ahead: Cell::new(0),
            end_of_input: CancellationToken::new(),
            is_last: Cell::new(false),
            is_event_stream: Cell::new(false),
        })
    }

    /// Begins a request; `None` if the connection is closing. A response must not follow one that says `Connection: close`.
    pub(crate) fn begin_request(self: &Rc<Self>, body: bool) -> Option<InFlight> {
        if self.is_closing() {
            return None;
        }
        self.enter(Phase::InFlight);
        self.body.set(if body { RequestBody::Unread } else { RequestBody::Complete });
        self.read_ahead.set(0);
        self.is_event_stream.set(false);
        Some(InFlight(Rc::clone(self)))
    }

    /// Lets the body of the request in flight be read.
    pub(crate) fn begin_body(&self) {
        self.body.set(RequestBody::Reading);
    }

    /// Records that the body of the request in flight has been read to its end.
    pub(crate) fn complete_body(&self) {
        self.body.set(RequestBody::Complete);
        self.read_ahead.set(0);
    }

    /// Whether the response will leave a part of the request's body unread.
    pub(crate) fn has_unread_body(&self) -> bool {
        self.body.get() != RequestBody::Complete
    }

    /// Marks the response in flight as an event stream, and returns the token that is cancelled at the end of input.
    pub(crate) fn begin_event_stream(&self) -> CancellationToken {
        self.is_event_stream.set(true);
        self.end_of_input.clone()
    }

    /// Whether the response in flight is an event stream.
    pub(crate) fn is_event_stream(&self) -> bool {
        self.is_event_stream.get()
    }

    /// Latches the end of input.
    pub(crate) fn end_input(&self) {
        self.end_of_input.cancel();
    }

    /// Whether the response in flight is an event stream that its client has left.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_event_stream.get() && self.end_of_input.is_cancelled()
    }

    /// Records that bytes have been read.
    pub(crate) fn record_read(&self, bytes: usize) {
        match (self.phase.get().0, self.body.get()) {
            (Phase::Idle, _) => self.enter(Phase::Head),
            (Phase::InFlight, RequestBody::Complete | RequestBody::Unread) => {
                self.read_ahead.set(self.read_ahead.get() + bytes);
            }
            _ => {}
        }
    }

    /// How much may be read before the parser gets its turn, in bytes.
    pub(crate) fn read_limit(&self) -> usize {
        match (self.phase.get().0, self.body.get()) {
            (Phase::InFlight, RequestBody::Reading) => BODY_PORTION,
            (Phase::InFlight, _) => READ_AHEAD.saturating_sub(self.read_ahead.get()),
            _ => READ_PORTION,
        }
    }

    /// Whether the last response has been made.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase.get().0 == Phase::Closing
    }

    /// Begins to close the connection.
    pub(crate) fn close(&self) {
        self.enter(Phase::Closing);
    }

    /// When the client is too late; `None` while a request is in flight.
    pub(crate) fn deadline(&self, timeouts: &ConnectionTimeouts) -> Option<Instant> {
        let (phase, since) = self.phase.get();
        match phase {
            Phase::Idle => Some(since + timeouts.keep_alive),
            Phase::Head => Some(since + timeouts.head),
            Phase::Closing => Some(since + timeouts.linger),
            Phase::InFlight => None,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set((phase, Instant::now()));
    }
}

impl InFlight {
    /// Marks the request as the last one of its connection.
    pub(crate) fn mark_last(&self) {
        self.0.is_last.set(true);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let state = &self.0;
        state.enter(if state.is_last.get() {
            Phase::Closing
        } else if state.read_ahead.get() > 0 {
            // The next request has begun.
            Phase::Head
        } else {
            Phase::Idle
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: ConnectionTimeouts = ConnectionTimeouts {
        keep_alive: Duration::from_secs(75),
        head: Duration::from_secs(5),
        write_stall: Duration::from_secs(30),
        linger: Duration::from_secs(1),
    };

    /// Seconds until the client is too late.
    fn left(state: &ConnectionState) -> Option<u64> {
        state.deadline(&TIMEOUTS).map(|deadline| (deadline - Instant::now()).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn head_deadline_runs_from_its_first_byte() {
        let state = ConnectionState::new();
        assert_eq!(left(&state), Some(75));
        state.record_read(1);
        tokio::time::advance(Duration::from_secs(2)).await;
        state.record_read(1);
        assert_eq!(left(&state), Some(3));
        let request = state.begin_request(false).unwrap();
        assert_eq!(left(&state), None);
        drop(request);
        assert_eq!(left(&state), Some(75));
    }

    #[tokio::test(start_paused = true)]
    async fn head_sent_ahead_has_its_deadline_after_the_response() {
        let state = ConnectionState::new();
        let request = state.begin_request(false).unwrap();
        state.record_read(1);
        drop(request);
        assert_eq!(left(&state), Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn body_is_read_without_limit_once_it_is_wanted() {
        let state = ConnectionState::new();
        let request = state.begin_request(true).unwrap();
        assert!(state.has_unread_body());
        state.begin_body();
        state.record_read(100_000);
        assert_eq!(state.read_limit(), BODY_PORTION);
        state.complete_body();
        assert!(!state.has_unread_body());
        drop(request);
        assert_eq!(left(&state), Some(75));
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_begins_after_the_last_one() {
        let state = ConnectionState::new();
        let request = state.begin_request(false).unwrap();
        request.mark_last();
        assert!(!state.is_closing());
        drop(request);
        assert!(state.is_closing() && state.begin_request(false).is_none());
        assert_eq!(left(&state), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_much_is_read_ahead_of_a_response() {
        let state = ConnectionState::new();
        state.record_read(10 * READ_AHEAD);
        assert_eq!(state.read_limit(), READ_PORTION, "a head may be long");
        let request = state.begin_request(true).unwrap();
        state.record_read(READ_AHEAD - 1);
        assert_eq!(state.read_limit(), 1);
        state.record_read(1);
        assert_eq!(state.read_limit(), 0);
        drop(request);
        assert_eq!(state.read_limit(), READ_PORTION);
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_event_stream_is_abandoned_at_the_end_of_input() {
        let state = ConnectionState::new();
        let _request = state.begin_request(false).unwrap();
        state.end_input();
        assert!(!state.is_abandoned());
        assert!(state.begin_event_stream().is_cancelled(), "it came before the stream");
        assert!(state.is_abandoned());
    }
}
