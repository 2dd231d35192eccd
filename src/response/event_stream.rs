//! Server-sent events: how news of a room travel, and when a stream of them ends.
//!
//! The data of each event is the envelope that the plain route would answer with.

use std::fmt::Write as _;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix_web::body::{BodyStream, BoxBody, MessageBody as _};
use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::{Error, HttpRequest, HttpResponse, Responder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::ApiError;
use crate::auth::stream_lease::StreamLease;
use crate::catch_up::live::{Event, Subscription, Update};
use crate::catch_up::stream_limit::StreamPermit;
use crate::response::connection_state::ConnectionState;

/// How often something is said where there is nothing to say, so that nobody in between takes the connection for dead.
const SILENCE: Duration = Duration::from_secs(15);
/// How often the lease is checked. With what it takes to hear of a revocation elsewhere, the contract's two seconds hold.
const LEASE_CHECK: Duration = Duration::from_millis(500);
/// When a client whose connection broke comes back, in milliseconds.
const RETRY: u32 = 3_000;
/// Clients that are sent away together must not come back together: over how many milliseconds they are spread.
const SPREAD: u32 = 2_000;
/// Proxies that gather an answer before they pass it on are told not to (nginx).
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Handed on at a time, in bytes: what a slow reader holds in memory is this, and not a copy of a whole event.
const SLICE: usize = 16 * 1024;

/// 200 with a stream of events.
pub struct EventStream {
    subscription: Subscription,
    lease: StreamLease,
    lease_check: Interval,
    /// Released when the stream is dropped.
    _permit: StreamPermit,
    draining: CancellationToken,
    /// Cancelled when the client has closed its sending half, or the connection.
    end_of_input: CancellationToken,
    /// What the client has already.
    last: Option<String>,
    /// What is not handed on yet of the last event. Its bytes are shared with all who get it.
    rest: Bytes,
    next: Next,
}

/// What the stream says next.
enum Next {
    Greeting,
    News,
    Nothing,
}

impl EventStream {
    /// Streams the events of `subscription`, while `lease` is valid, the client is there, and the server does not drain.
    #[must_use]
    pub fn new(
        subscription: Subscription,
        lease: StreamLease,
        permit: StreamPermit,
        draining: CancellationToken,
        last: Option<String>,
    ) -> Self {
        let mut lease_check = interval(LEASE_CHECK);
        lease_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (rest, next, end_of_input) = (Bytes::new(), Next::Greeting, CancellationToken::new());
        Self { subscription, lease, lease_check, _permit: permit, draining, end_of_input, last, rest, next }
    }

    fn events(self) -> impl Stream<Item = Result<Bytes, Error>> {
        stream::unfold(self, |mut stream| async move {
            // Also within an event: a slow reader takes long for one.
            if stream.end_of_input.is_cancelled() || !stream.lease.is_valid() {
                return None;
            }
            if stream.rest.is_empty() {
                stream.rest = stream.next().await?;
            }
            let length = stream.rest.len().min(SLICE);
            let slice = stream.rest.split_to(length);
            Some((Ok(slice), stream))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        match self.next {
            Next::Greeting => {
                self.next = Next::News;
                // Said at once, so that a client knows that it is connected.
                return Some(format!("retry: {RETRY}\n\n").into());
            }
            Next::Nothing => return None,
            Next::News => {}
        }
        let mut silence = pin!(sleep(SILENCE));
        loop {
            tokio::select! {
                biased;
                () = self.end_of_input.cancelled() => return None,
                () = self.draining.cancelled() => {
                    self.next = Next::Nothing;
                    return Some(farewell());
                }
                event = self.subscription.next() => if let Some(bytes) = self.unless_known(&*event?) {
                    return Some(bytes);
                },
                _ = self.lease_check.tick() => if !self.lease.is_valid() {
                    return None;
                },
                () = &mut silence => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    /// Returns what to send of an event; `None` if the client has it already.
    fn unless_known(&mut self, event: &Event) -> Option<Bytes> {
        match &event.update {
            Update::CatchUp(envelope) => {
                let known = self.last.replace(envelope.etag().to_owned()).is_some_and(|last| last == envelope.etag());
                (!known).then(|| event.bytes.clone())
            }
            Update::Ended => {
                self.next = Next::Nothing;
                let before = event.last_catch_up.as_ref().and_then(|before| self.unless_known(before));
                Some(before.map_or_else(|| event.bytes.clone(), |before| [before, event.bytes.clone()].concat().into()))
            }
            Update::NoneYet | Update::Failed(_) => {
                // It shows nothing now, and whatever comes next is new to it.
                self.last = None;
                Some(event.bytes.clone())
            }
        }
    }
}

impl Responder for EventStream {
    type Body = BoxBody;

    fn respond_to(mut self, request: &HttpRequest) -> HttpResponse {
        if let Some(connection) = request.conn_data::<Rc<ConnectionState>>() {
            self.end_of_input = connection.begin_event_stream();
        }
        HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((X_ACCEL_BUFFERING, "no"))
            .body(BodyStream::new(self.events().boxed_local()).boxed())
    }
}

/// Serialises an update as an event.
#[must_use]
pub fn to_event(update: &Update) -> Bytes {
    match update {
        Update::CatchUp(envelope) => event(&format!("id: {}", envelope.etag()), &envelope.bytes()),
        Update::NoneYet => event("event: none", ApiError::NotFound.body().as_bytes()),
        Update::Ended => event("event: ended", ApiError::NotFound.body().as_bytes()),
        Update::Failed(error) => event("event: failed", ApiError::from(error.clone()).body().as_bytes()),
    }
}

/// Each line of the data is a line of its own in the event: between the members of an object, JSON may have line breaks.
fn event(first: &str, data: &[u8]) -> Bytes {
    let data = String::from_utf8_lossy(data).replace("\r\n", "\n").replace('\r', "\n");
    let mut event = String::with_capacity(first.len() + data.len() + 16);
    event.push_str(first);
    for line in data.split('\n') {
        // Writing to a string can't fail.
        let _ = write!(event, "\ndata: {line}");
    }
    event.push_str("\n\n");
    event.into()
}

/// When to come back; by then, somebody else serves.
fn farewell() -> Bytes {
    let share = SPREAD * u32::from(rand::random::<u8>()) / u32::from(u8::MAX);
    format!("retry: {}\n\n", RETRY / 3 + share).into()
}

/// What the client has already: the header, or the query where a page opens a new `EventSource` by itself.
#[must_use]
pub fn last_event_id(request: &HttpRequest) -> Option<String> {
    let header = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let in_query = || request.query_string().split('&').find_map(|pair| pair.strip_prefix("lastEventId="));
    let id = header.or_else(in_query)?;
    let id = percent_encoding::percent_decode_str(id).decode_utf8().ok()?;
    Some(id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Envelope;
    use serde_json::value::RawValue;

    #[test]
    fn an_event_is_its_id_and_the_envelope_line_by_line() {
        let envelope = Envelope::new(&RawValue::from_string("{\n  \"a\":\r\n\"b\\nc\"}".into()).unwrap());
        let expected =
            format!("id: {}\ndata: {{\"error\":null,\"data\":{{\ndata:   \"a\":\ndata: \"b\\nc\"}}}}\n\n", envelope.etag());
        assert_eq!(to_event(&Update::CatchUp(envelope)), expected);
        assert_eq!(
            to_event(&Update::Ended),
            "event: ended\ndata: {\"data\":null,\"error\":{\"code\":404,\"message\":\"Not found\"}}\n\n"
        );
    }
}
