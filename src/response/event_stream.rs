//! Server-sent events: the updates of a room, and when a stream of them ends.
//!
//! The data of each event is the envelope of the plain route.

use std::fmt::Write as _;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix_web::body::{BodyStream, BoxBody, MessageBody as _};
use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::{Error, HttpRequest, HttpResponse, Responder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ApiError;
use super::chunked_body::split_chunk;
use crate::auth::room_access::{AccessError, Requester};
use crate::auth::stream_lease::StreamLease;
use crate::catch_up::live::{Event, Subscription, Update};
use crate::catch_up::stream_limit::StreamPermit;
use crate::request_context::connection_state::ConnectionState;
use crate::telemetry::logging::AUDIT;

/// The time after which a comment is sent, so that proxies keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The interval of lease checks.
///
/// A revoked session ends its streams within two seconds on every replica.
const LEASE_CHECK: Duration = Duration::from_millis(500);
/// The time after which a client reconnects, in milliseconds.
const RECONNECT_DELAY_MS: u32 = 3_000;
/// The range over which reconnects after a drain are spread, in milliseconds.
const RECONNECT_JITTER_MS: u32 = 2_000;
/// The shortest reconnection delay while the server drains, in milliseconds.
const DRAIN_RECONNECT_MIN_MS: u32 = RECONNECT_DELAY_MS / 3;
/// Turns off response buffering in nginx.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// 200 with a stream of events.
pub(crate) struct EventStream {
    subscription: Subscription,
    lease: StreamLease,
    /// Released when the stream is dropped.
    _permit: StreamPermit,
    draining: CancellationToken,
    /// Cancelled when the client has closed its sending half, or the connection.
    end_of_input: CancellationToken,
    /// The entity tag of the catch-up that the client has.
    last_event_id: Option<String>,
    /// The unsent rest of an event. Its bytes are shared by all streams.
    unsent: Bytes,
    /// No event follows `unsent`.
    is_last_event: bool,
}

impl EventStream {
    /// Streams updates until the lease ends, the client leaves, or the server drains.
    pub(crate) fn new(
        subscription: Subscription,
        lease: StreamLease,
        permit: StreamPermit,
        draining: CancellationToken,
        last_event_id: Option<String>,
    ) -> Self {
        Self {
            subscription,
            lease,
            _permit: permit,
            draining,
            end_of_input: CancellationToken::new(),
            last_event_id,
            // Becomes a line of the first event: some clients take a block of its own for an event without data.
            unsent: retry_hint(RECONNECT_DELAY_MS),
            is_last_event: false,
        }
    }

    fn into_chunks(self) -> impl Stream<Item = Result<Bytes, Error>> {
        stream::unfold(self, |mut stream| async move {
            if stream.unsent.is_empty() {
                stream.unsent = stream.next_event().await?;
            }
            // Also within an event, which takes a slow reader long.
            if stream.end_of_input.is_cancelled() || !stream.is_permitted().await {
                return None;
            }
            Some((Ok(split_chunk(&mut stream.unsent)), stream))
        })
    }

    async fn next_event(&mut self) -> Option<Bytes> {
        let mut heartbeat = pin!(sleep(HEARTBEAT));
        while !self.is_last_event && self.is_permitted().await {
            tokio::select! {
                biased;
                () = self.end_of_input.cancelled() => break,
                () = self.draining.cancelled() => {
                    self.is_last_event = true;
                    let jitter = RECONNECT_JITTER_MS * u32::from(rand::random::<u8>()) / u32::from(u8::MAX);
                    return Some(retry_hint(DRAIN_RECONNECT_MIN_MS + jitter));
                }
                event = self.subscription.next() => if let Some(bytes) = self.bytes_to_send(&*event?) {
                    return Some(bytes);
                },
                () = &mut heartbeat => return Some(Bytes::from_static(b":\n")),
                () = sleep(LEASE_CHECK) => {}
            }
        }
        None
    }

    /// Returns whether the lease is valid. The log says if the room is refused.
    async fn is_permitted(&mut self) -> bool {
        let result = self.lease.check().await;
        if result == Err(AccessError::Forbidden) {
            let Requester { credentials, context, .. } = &self.lease.requester;
            let principal = &credentials.principal;
            let ((user, guest), issuer, reason) = (principal.ids(), principal.issuer(), "room not permitted");
            let (client, request_id) = (context.client(), context.request_id());
            log::info!(target: AUDIT, event = "access-denied", reason, client:%, user, issuer, guest, request_id; "access denied");
        }
        result == Ok(true)
    }

    /// Returns what to send of an event; `None` if the client has that version.
    fn bytes_to_send(&mut self, event: &Event) -> Option<Bytes> {
        match &event.update {
            Update::CatchUp(envelope) => {
                let previous = self.last_event_id.replace(envelope.etag().to_owned());
                (previous.as_deref() != Some(envelope.etag())).then(|| event.bytes.clone())
            }
            Update::Ended => {
                self.is_last_event = true;
                let last = event.last_catch_up.as_ref().and_then(|last| self.bytes_to_send(last));
                Some(last.map_or_else(|| event.bytes.clone(), |last| [last, event.bytes.clone()].concat().into()))
            }
            Update::NoneYet | Update::Failed(_) => {
                // The client shows no catch-up now, so any version is new to it.
                self.last_event_id = None;
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
            .content_type("text/event-stream; charset=utf-8")
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((X_ACCEL_BUFFERING, "no"))
            .body(BodyStream::new(self.into_chunks().boxed_local()).boxed())
    }
}

/// Serialises an update, once for all streams.
pub(crate) fn to_event(update: &Update) -> Bytes {
    match update {
        Update::CatchUp(envelope) => event(&format!("id: {}", envelope.etag()), &envelope.bytes()),
        Update::NoneYet => event("event: none", ApiError::UnknownRoom.envelope().as_bytes()),
        Update::Ended => event("event: ended", ApiError::UnknownRoom.envelope().as_bytes()),
        Update::Failed(error) => event("event: failed", ApiError::from(error.clone()).envelope().as_bytes()),
    }
}

/// Writes an event with one `data:` line per line of `data`.
///
/// JSON may have line breaks between its members.
fn event(first_line: &str, data: &[u8]) -> Bytes {
    let data = String::from_utf8_lossy(data).replace("\r\n", "\n").replace('\r', "\n");
    let mut event = String::with_capacity(first_line.len() + data.len() + 16);
    event.push_str(first_line);
    for line in data.split('\n') {
        // Writing to a string can't fail.
        let _ = write!(event, "\ndata: {line}");
    }
    event.push_str("\n\n");
    event.into()
}

/// Writes the `retry` line: the client's delay before it reconnects.
fn retry_hint(milliseconds: u32) -> Bytes {
    format!("retry: {milliseconds}\n").into()
}

/// Returns the client's last event: the header, or the query parameter of a new `EventSource`.
pub(crate) fn last_event_id(request: &HttpRequest) -> Option<String> {
    let header = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let in_query = || request.query_string().split('&').find_map(|pair| pair.strip_prefix("lastEventId="));
    let id = percent_encoding::percent_decode_str(header.or_else(in_query)?).decode_utf8().ok()?;
    Some(id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Envelope;
    use serde_json::value::RawValue;

    #[test]
    fn event_has_the_etag_as_id_and_the_envelope_as_data() {
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
