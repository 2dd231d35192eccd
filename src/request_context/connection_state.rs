//! The state of one client connection, shared by the connection and its requests.
//!
//! It decides how much is read, and until when: a head and a body have limits and deadlines of their own, and while a response
//! is made, almost nothing is read ahead.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time limit of a request head, from its first byte.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time without the client reading part of a response.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The time limit for the client to close its end after the last response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The number of bytes that may be read before the parser runs. The parser uses a hundred times its input in memory.
const MAX_READ_PER_PARSE: usize = 2 * 1024;
/// The same for a body that a handler reads.
const MAX_BODY_READ_PER_PARSE: usize = 8 * 1024;
/// The number of bytes that may be read during a response. The rest stays in the kernel.
const READ_AHEAD: usize = 256;

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next request.
    Idle,
    /// The rest of a request head.
    Head,
    /// The response.
    InFlight,
    /// The end of input, after the last response.
    Closing,
}

/// The progress of the request body in flight.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestBody {
    /// Absent, or read to its end.
    Complete,
    /// Not read by a handler so far.
    Unread,
    /// Being read by a handler.
    Reading,
}

/// The state of one client connection.
pub(crate) struct ConnectionState {
    keep_alive: Duration,
    phase: Cell<(Phase, Instant)>,
    body: Cell<RequestBody>,
    /// The bytes read after the request in flight and its body.
    read_ahead: Cell<usize>,
    end_of_input: CancellationToken,
    /// No request follows the one in flight.
    is_last: Cell<bool>,
    /// The response in flight ends when the input does.
    is_event_stream: Cell<bool>,
}

/// Keeps a request in flight until it is dropped.
pub(crate) struct RequestInFlight(Rc<ConnectionState>);

impl ConnectionState {
    /// Creates the state of a new connection. `keep_alive` is its idle timeout.
    pub(crate) fn new(keep_alive: Duration) -> Rc<Self> {
        Rc::new(Self {
            keep_alive,
            phase: Cell::new((Phase::Idle, Instant::now())),
            body: Cell::new(RequestBody::Complete),
            read_ahead: Cell::new(0),
            end_of_input: CancellationToken::new(),
            is_last: Cell::new(false),
            is_event_stream: Cell::new(false),
        })
    }

    /// Begins a request; `None` if the connection is closing.
    ///
    /// No response may follow one with `Connection: close`.
    pub(crate) fn begin_request(self: &Rc<Self>, body: RequestBody) -> Option<RequestInFlight> {
        if self.is_closing() {
            return None;
        }
        // It has no deadline, so that the time need not be read.
        self.phase.set((Phase::InFlight, self.phase.get().1));
        self.body.set(body);
        self.read_ahead.set(0);
        self.is_event_stream.set(false);
        Some(RequestInFlight(Rc::clone(self)))
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

    /// Returns whether the response will leave a part of the request's body unread.
    pub(crate) fn has_unread_body(&self) -> bool {
        self.body.get() != RequestBody::Complete
    }

    /// Marks the response as an event stream.
    ///
    /// Returns a token that is cancelled at the end of input.
    pub(crate) fn begin_event_stream(&self) -> CancellationToken {
        self.is_event_stream.set(true);
        self.end_of_input.clone()
    }

    /// Returns whether the response in flight is an event stream.
    pub(crate) fn is_event_stream(&self) -> bool {
        self.is_event_stream.get()
    }

    /// Records the end of input, for the rest of the connection.
    pub(crate) fn record_end_of_input(&self) {
        self.end_of_input.cancel();
    }

    /// Returns whether the response in flight is an event stream that its client has left.
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

    /// Returns the number of bytes that may be read before the parser runs.
    pub(crate) fn read_limit(&self) -> usize {
        match (self.phase.get().0, self.body.get()) {
            (Phase::InFlight, RequestBody::Reading) => MAX_BODY_READ_PER_PARSE,
            (Phase::InFlight, _) => READ_AHEAD.saturating_sub(self.read_ahead.get()),
            _ => MAX_READ_PER_PARSE,
        }
    }

    /// Returns whether the last response is complete.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase.get().0 == Phase::Closing
    }

    /// Begins to close the connection.
    pub(crate) fn close(&self) {
        self.enter(Phase::Closing);
    }

    /// Returns the deadline for input; `None` while a request is in flight.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (phase, since) = self.phase.get();
        match phase {
            Phase::Idle => Some(since + self.keep_alive),
            Phase::Head => Some(since + HEAD_TIMEOUT),
            Phase::Closing => Some(since + LINGER_TIMEOUT),
            Phase::InFlight => None,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set((phase, Instant::now()));
    }
}

impl RequestInFlight {
    /// Marks the request as the last one of its connection.
    pub(crate) fn mark_last(&self) {
        self.0.is_last.set(true);
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.enter(match (self.0.is_last.get(), self.0.read_ahead.get()) {
            (true, _) => Phase::Closing,
            (false, 0) => Phase::Idle,
            // The next request has begun.
            (false, _) => Phase::Head,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Rc<ConnectionState> {
        ConnectionState::new(Duration::from_secs(75))
    }

    /// Returns the seconds until the deadline.
    fn left(state: &ConnectionState) -> Option<u64> {
        state.deadline().map(|deadline| (deadline - Instant::now()).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn head_deadline_runs_from_its_first_byte() {
        let state = new();
        assert_eq!(left(&state), Some(75));
        state.record_read(1);
        tokio::time::advance(Duration::from_secs(2)).await;
        state.record_read(1);
        assert_eq!(left(&state), Some(3));
        let request = state.begin_request(RequestBody::Complete).unwrap();
        assert_eq!(left(&state), None);
        drop(request);
        assert_eq!(left(&state), Some(75));
    }

    #[tokio::test(start_paused = true)]
    async fn head_sent_ahead_has_its_deadline_after_the_response() {
        let state = new();
        let request = state.begin_request(RequestBody::Complete).unwrap();
        state.record_read(1);
        drop(request);
        assert_eq!(left(&state), Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn body_is_read_without_limit_once_a_handler_reads() {
        let state = new();
        let request = state.begin_request(RequestBody::Unread).unwrap();
        assert!(state.has_unread_body());
        state.begin_body();
        state.record_read(100_000);
        assert_eq!(state.read_limit(), MAX_BODY_READ_PER_PARSE);
        state.complete_body();
        assert!(!state.has_unread_body());
        drop(request);
        assert_eq!(left(&state), Some(75));
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_begins_after_the_last_one() {
        let state = new();
        let request = state.begin_request(RequestBody::Complete).unwrap();
        request.mark_last();
        assert!(!state.is_closing());
        drop(request);
        assert!(state.is_closing() && state.begin_request(RequestBody::Complete).is_none());
        assert_eq!(left(&state), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn read_ahead_of_a_response_is_limited() {
        let state = new();
        state.record_read(10 * READ_AHEAD);
        assert_eq!(state.read_limit(), MAX_READ_PER_PARSE, "a head may be long");
        let request = state.begin_request(RequestBody::Unread).unwrap();
        state.record_read(READ_AHEAD - 1);
        assert_eq!(state.read_limit(), 1);
        state.record_read(1);
        assert_eq!(state.read_limit(), 0);
        drop(request);
        assert_eq!(state.read_limit(), MAX_READ_PER_PARSE);
    }

    #[tokio::test(start_paused = true)]
    async fn event_stream_alone_is_abandoned_at_end_of_input() {
        let state = new();
        let _request = state.begin_request(RequestBody::Complete).unwrap();
        state.record_end_of_input();
        assert!(!state.is_abandoned());
        assert!(state.begin_event_stream().is_cancelled(), "it came before the stream");
        assert!(state.is_abandoned());
    }
}
