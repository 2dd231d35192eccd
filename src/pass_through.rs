//! What Admin Control says and this server only passes on: the configuration, a call's status, the ended meetings. Each has a
//! window of its own, shared by all workers. Of two of them a word is read here too, and nothing is ever changed.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::Deserialize;

use crate::admin_control::{AdminControl, Error};
use crate::answer::{Answer, Served};
use crate::asker::Asker;
use crate::room::{NameComparison, RoomName};
use crate::window::Window;

/// The windows, one for each endpoint.
#[derive(Clone)]
pub struct Windows {
    /// Of `configuration`.
    pub configuration: Window<Error>,
    /// Of `sessions-status`, by room.
    pub status: Window<Error>,
    /// Of `meetings`.
    pub meetings: Window<Error>,
}

/// Passes on.
pub struct PassThrough {
    admin_control: AdminControl,
    windows: Windows,
    room_names: NameComparison,
    ended: RefCell<Ended>,
}

/// The keys of the rooms whose meetings ended, read once for each answer: the list may be long.
#[derive(Default)]
struct Ended {
    /// The answer's entity tag.
    of: String,
    rooms: HashSet<String>,
}

#[derive(Deserialize)]
struct Status {
    transcript_status: bool,
}

#[derive(Deserialize)]
struct Meeting {
    room_name: String,
}

/// The key in a window with one entry.
const ONLY: &str = "";

impl PassThrough {
    /// Asks `admin_control`, by way of `windows`; `room_names` is how it finds a room among the ended meetings.
    #[must_use]
    pub fn new(admin_control: AdminControl, windows: Windows, room_names: NameComparison) -> Self {
        Self { admin_control, windows, room_names, ended: RefCell::default() }
    }

    /// The features that are turned on.
    ///
    /// # Errors
    ///
    /// Admin Control's.
    pub async fn configuration(&self, asker: &Asker) -> Result<Served, Error> {
        let client = self.admin_control.asked_by(asker);
        let call = || async move { client.configuration().await.map(|data| Answer::new(&data)) };
        self.windows.configuration.read(ONLY, call).await
    }

    /// Whether the call in `room` is transcribed and recorded.
    ///
    /// # Errors
    ///
    /// Admin Control's.
    pub async fn status(&self, room: &RoomName, asker: &Asker) -> Result<Served, Error> {
        let (client, of) = (self.admin_control.asked_by(asker), room.clone());
        let call = || async move { client.sessions_status(&of).await.map(|data| Answer::new(&data)) };
        self.windows.status.read(room.key(), call).await
    }

    /// The meetings that ended.
    ///
    /// # Errors
    ///
    /// Admin Control's.
    pub async fn meetings(&self, asker: &Asker) -> Result<Served, Error> {
        let client = self.admin_control.asked_by(asker);
        let call = || async move { client.meetings().await.map(|data| Answer::new(&data)) };
        self.windows.meetings.read(ONLY, call).await
    }

    /// Whether the call in `room` is transcribed.
    ///
    /// # Errors
    ///
    /// Admin Control's; [`Error::NotFound`] if no call goes on there.
    pub async fn is_transcribed(&self, room: &RoomName, asker: &Asker) -> Result<bool, Error> {
        let served = self.status(room, asker).await?;
        let status = serde_json::from_slice::<Status>(served.answer.data()).map_err(|_| Error::NotTheEnvelope)?;
        Ok(status.transcript_status)
    }

    /// Whether `room` is among the meetings that ended.
    ///
    /// # Errors
    ///
    /// Admin Control's.
    pub async fn has_ended(&self, room: &RoomName, asker: &Asker) -> Result<bool, Error> {
        let served = self.meetings(asker).await?;
        let mut ended = self.ended.borrow_mut();
        if ended.of != served.answer.etag() {
            let meetings =
                serde_json::from_slice::<Vec<Meeting>>(served.answer.data()).map_err(|_| Error::NotTheEnvelope)?;
            let rooms = meetings.iter().map(|meeting| self.room_names.key(&meeting.room_name).into_owned()).collect();
            *ended = Ended { of: served.answer.etag().to_owned(), rooms };
        }
        Ok(ended.rooms.contains(room.key()))
    }
}
