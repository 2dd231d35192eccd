//! What else Admin Control knows of a room: whether its call is transcribed, and whether its meeting ended.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use crate::admin_control::{Endpoint, Error};
use crate::cache::Responses;
use crate::request_context::RequestContext;
use crate::room::{NameComparison, RoomName};

/// How long a caller may wait for the reason.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a room has no catch-up, as far as that is known. For client developers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The call goes on and is not transcribed.
    TranscriptionOff,
    /// The call is over.
    MeetingEnded,
    /// Nothing was written yet, or nothing is known.
    NoneYet,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::TranscriptionOff, Self::MeetingEnded, Self::NoneYet];

    /// Returns its name in the header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TranscriptionOff => "transcription-off",
            Self::MeetingEnded => "meeting-ended",
            Self::NoneYet => "none-yet",
        }
    }
}

/// The rooms as Admin Control knows them.
pub(super) struct Rooms {
    pub(super) responses: Responses,
    comparison: NameComparison,
    ended: RefCell<EndedRooms>,
}

/// The keys of the rooms whose meeting ended, read once from each version of the list: it may be long.
#[derive(Default)]
struct EndedRooms {
    etag: String,
    keys: HashSet<String>,
}

#[derive(Deserialize)]
struct Status {
    transcript_status: bool,
}

#[derive(Deserialize)]
struct Meeting {
    room_name: String,
}

impl Rooms {
    pub(super) fn new(responses: Responses, comparison: NameComparison) -> Self {
        Self { responses, comparison, ended: RefCell::default() }
    }

    /// Finds the reason why `room` has no catch-up. A failure to find it is no error.
    pub(super) async fn reason(&self, room: &RoomName, asker: &RequestContext) -> Reason {
        let reason = async {
            match self.is_transcribed(room, asker).await {
                Ok(false) => Reason::TranscriptionOff,
                Err(Error::NotFound) if self.has_ended(room, asker).await == Ok(true) => Reason::MeetingEnded,
                _ => Reason::NoneYet,
            }
        };
        timeout(REASON_TIMEOUT, reason).await.unwrap_or(Reason::NoneYet)
    }

    /// Whether the call in `room` is transcribed; [`Error::NotFound`] if none goes on.
    pub(super) async fn is_transcribed(&self, room: &RoomName, asker: &RequestContext) -> Result<bool, Error> {
        let response = self.responses.get(Endpoint::SessionsStatus, Some(room), asker).await?;
        let status: Status = serde_json::from_slice(response.envelope.data()).map_err(|_| Error::NotTheEnvelope)?;
        Ok(status.transcript_status)
    }

    /// Whether `room` is among the ended meetings.
    pub(super) async fn has_ended(&self, room: &RoomName, asker: &RequestContext) -> Result<bool, Error> {
        let response = self.responses.get(Endpoint::Meetings, None, asker).await?;
        let mut ended = self.ended.borrow_mut();
        if ended.etag != response.envelope.etag() {
            let meetings = serde_json::from_slice::<Vec<Meeting>>(response.envelope.data());
            let meetings = meetings.map_err(|_| Error::NotTheEnvelope)?;
            let keys = meetings.iter().map(|meeting| self.comparison.key(&meeting.room_name).into_owned()).collect();
            *ended = EndedRooms { etag: response.envelope.etag().to_owned(), keys };
        }
        Ok(ended.keys.contains(room.key()))
    }
}
