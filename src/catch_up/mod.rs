//! Catch-ups: the text of what was said so far in a call.

pub(crate) mod live;
mod reason;
pub(crate) mod stream_limit;

use std::rc::Rc;

use crate::admin_control::{self, Endpoint};
use crate::auth::room_access::PermittedRoom;
use crate::cache::{CachedResponse, Envelope, Responses};
use crate::request_context::RequestContext;
use crate::room::{NameComparison, RoomName};
use live::{LiveCatchUps, Subscription};
pub(crate) use reason::Reason;
use reason::RoomStatus;

/// A catch-up, with the reason if it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatchUpResponse {
    /// The catch-up.
    pub response: CachedResponse,
    /// The reason why it is empty. `None` if it is not, or if absences are not explained.
    pub reason: Option<Reason>,
}

/// The reason why a catch-up cannot be returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Admin Control has no catch-up of the room.
    #[error("there is no catch-up")]
    NoCatchUp(Option<Reason>),
    /// Admin Control failed.
    #[error(transparent)]
    AdminControl(admin_control::Error),
}

/// Configures catch-ups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CatchUpConfig {
    /// How names of rooms are compared.
    pub(crate) room_names: NameComparison,
    /// Whether an empty response has a [`Reason`] (`APP_CATCH_UP__EXPLAIN_ABSENCE`).
    pub(crate) explain_absence: bool,
}

/// Reads and follows catch-ups.
pub(crate) struct CatchUp {
    responses: Responses,
    status: Rc<RoomStatus>,
    live: LiveCatchUps,
    config: CatchUpConfig,
}

impl CatchUp {
    /// Reads catch-ups from `responses`; all workers share `live`.
    pub(crate) fn new(responses: Responses, live: LiveCatchUps, config: CatchUpConfig) -> Self {
        let status = Rc::new(RoomStatus::new(responses.clone(), config.room_names));
        Self { responses, status, live, config }
    }

    /// Subscribes to the catch-up of `room`.
    pub(crate) fn subscribe(&self, room: &PermittedRoom) -> Subscription {
        self.live.subscribe(room, &self.responses, &self.status)
    }

    /// Reads the catch-up of `room`.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub(crate) async fn read(&self, room: &PermittedRoom, context: &RequestContext) -> Result<CatchUpResponse, Error> {
        match self.responses.get(Endpoint::CallCatchUp, Some(room), context).await {
            Ok(response) => {
                let reason = if is_empty(&response.envelope) { self.reason(room, context).await } else { None };
                Ok(CatchUpResponse { response, reason })
            }
            Err(admin_control::Error::NotFound) => Err(Error::NoCatchUp(self.reason(room, context).await)),
            Err(error) => Err(Error::AdminControl(error)),
        }
    }

    async fn reason(&self, room: &RoomName, context: &RequestContext) -> Option<Reason> {
        // Boxed, because most reads need no reason, and would copy its large future.
        if self.config.explain_absence { Some(Box::pin(self.status.reason(room, context)).await) } else { None }
    }
}

/// Returns whether a catch-up is `null` or an empty text. A blank text is not empty: its author wrote it.
fn is_empty(envelope: &Envelope) -> bool {
    matches!(envelope.data(), b"null" | b"\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    #[test]
    fn catch_up_is_empty_only_if_it_is_null_or_an_empty_text() {
        let envelope = |json: &str| Envelope::new(&RawValue::from_string(json.to_owned()).unwrap());
        assert!(["null", r#""""#].map(envelope).iter().all(is_empty));
        assert!(!["\"x\"", "\" \"", "0", "{}", r#""\"""#].map(envelope).iter().any(is_empty));
    }
}
