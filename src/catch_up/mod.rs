//! The catch-up: what was said so far in a room, for callers that may enter it.

pub mod live;
mod reason;
pub mod stream_limit;

use std::rc::Rc;

use crate::admin_control::{self, Endpoint};
use crate::auth::principal::Principal;
use crate::cache::{CachedResponse, Envelope, Responses};
use crate::request_context::RequestContext;
use crate::room::{NameComparison, RoomName};
use live::{Live, Watching};
pub use reason::Reason;
use reason::Rooms;

/// A catch-up, and why it is empty, if it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaughtUp {
    /// The catch-up.
    pub response: CachedResponse,
    /// Why it is empty; `None` if it is not, or if absences are not explained.
    pub reason: Option<Reason>,
}

/// Why there is no catch-up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller may not enter the room.
    #[error("the caller may not enter this room")]
    Forbidden,
    /// Admin Control has no catch-up of the room, and why not.
    #[error("there is no catch-up")]
    NoCatchUp(Option<Reason>),
    /// Admin Control failed.
    #[error(transparent)]
    AdminControl(admin_control::Error),
}

/// Reads and follows catch-ups.
pub struct CatchUp {
    rooms: Rc<Rooms>,
    live: Live,
    explain_absence: bool,
}

impl CatchUp {
    /// Reads `responses`, and finds rooms among the ended meetings by `comparison`; all workers share `live`.
    /// `explain_absence` is `APP_CATCH_UP__EXPLAIN_ABSENCE`.
    #[must_use]
    pub fn new(responses: Responses, comparison: NameComparison, live: Live, explain_absence: bool) -> Self {
        Self { rooms: Rc::new(Rooms::new(responses, comparison)), live, explain_absence }
    }

    /// Follows the catch-up of `room`. The caller's right to it is decided first.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`].
    pub fn watch(&self, caller: &Principal, room: &RoomName) -> Result<Watching, Error> {
        if !caller.may_enter(room) {
            return Err(Error::Forbidden);
        }
        Ok(self.live.watch(room, &self.rooms))
    }

    /// Reads the catch-up of `room`. The caller's right to it is decided first, before the cache is read.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn read(&self, caller: &Principal, room: &RoomName, asker: &RequestContext) -> Result<CaughtUp, Error> {
        if !caller.may_enter(room) {
            return Err(Error::Forbidden);
        }
        match self.rooms.responses.get(Endpoint::CallCatchUp, Some(room), asker).await {
            Ok(response) => {
                let reason = if is_empty(&response.envelope) { self.reason(room, asker).await } else { None };
                Ok(CaughtUp { response, reason })
            }
            Err(admin_control::Error::NotFound) => Err(Error::NoCatchUp(self.reason(room, asker).await)),
            Err(error) => Err(Error::AdminControl(error)),
        }
    }

    async fn reason(&self, room: &RoomName, asker: &RequestContext) -> Option<Reason> {
        if self.explain_absence { Some(self.rooms.reason(room, asker).await) } else { None }
    }
}

/// Whether a catch-up is `null` or an empty text. A blank text is none: its author wrote it.
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
