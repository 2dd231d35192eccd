//! Explains an absent catch-up by the call's status and the ended meetings.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::admin_control::{Endpoint, Error};
use crate::cache::Responses;
use crate::request_context::RequestContext;
use crate::room::{NameComparison, RoomName};

/// The longest wait for the reason.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);

/// The reason why a room has no catch-up, for client developers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is a call, and it is not transcribed.
    TranscriptionOff,
    /// The call is over.
    MeetingEnded,
    /// Nothing has been written yet, or the reason is unknown.
    NoneYet,
}

impl Reason {
    /// Returns its name in the header.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TranscriptionOff => "transcription-off",
            Self::MeetingEnded => "meeting-ended",
            Self::NoneYet => "none-yet",
        }
    }
}

/// Reads from Admin Control whether a call is transcribed and whether a meeting has ended.
pub(super) struct RoomStatus {
    responses: Responses,
    comparison: NameComparison,
    ended: RefCell<EndedRooms>,
}

/// The keys of rooms with an ended meeting, parsed once per version.
#[derive(Default)]
struct EndedRooms {
    etag: String,
    keys: HashSet<String>,
}

#[derive(Deserialize)]
struct CallStatus {
    transcript_status: bool,
}

impl RoomStatus {
    pub(super) fn new(responses: Responses, comparison: NameComparison) -> Self {
        Self { responses, comparison, ended: RefCell::default() }
    }

    /// Finds the reason why `room` has no catch-up; [`Reason::NoneYet`] if that fails.
    pub(super) async fn reason(&self, room: &RoomName, context: &RequestContext) -> Reason {
        let reason = async {
            match self.is_transcribed(room, context).await {
                Ok(false) => Reason::TranscriptionOff,
                Err(Error::NotFound) if self.has_ended(room, context).await == Ok(true) => Reason::MeetingEnded,
                _ => Reason::NoneYet,
            }
        };
        timeout(REASON_TIMEOUT, reason).await.unwrap_or(Reason::NoneYet)
    }

    /// Returns whether the call in `room` is transcribed; [`Error::NotFound`] if there is none.
    pub(super) async fn is_transcribed(&self, room: &RoomName, context: &RequestContext) -> Result<bool, Error> {
        let response = self.responses.get(Endpoint::SessionsStatus, Some(room), context).await?;
        let status: CallStatus = serde_json::from_slice(response.envelope.data()).map_err(|_| Error::NotTheEnvelope)?;
        Ok(status.transcript_status)
    }

    /// Returns whether `room` is among the ended meetings.
    pub(super) async fn has_ended(&self, room: &RoomName, context: &RequestContext) -> Result<bool, Error> {
        let response = self.responses.get(Endpoint::Meetings, None, context).await?;
        let mut ended = self.ended.borrow_mut();
        if ended.etag != response.envelope.etag() {
            let meetings = serde_json::from_slice::<Option<Vec<Value>>>(response.envelope.data());
            let meetings = meetings.map_err(|_| Error::NotTheEnvelope)?.unwrap_or_default();
            // A malformed meeting does not hide the others.
            let names = meetings.iter().filter_map(|meeting| meeting.get("room_name")?.as_str());
            let keys = names.map(|name| self.comparison.key(name).into_owned()).collect();
            *ended = EndedRooms { etag: response.envelope.etag().to_owned(), keys };
        }
        Ok(ended.keys.contains(room.key()))
    }
}
