//! What Admin Control says and this server only passes on: the configuration, a call's status, the ended meetings. Each has a
//! window of its own, shared by all workers.

use crate::admin_control::{AdminControl, Error};
use crate::answer::{Answer, Served};
use crate::room::RoomName;
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
}

/// The key in a window with one entry.
const ONLY: &str = "";

impl PassThrough {
    /// Asks `admin_control`, by way of `windows`.
    #[must_use]
    pub fn new(admin_control: AdminControl, windows: Windows) -> Self {
        Self { admin_control, windows }
    }

    /// The features that are turned on.
    ///
    /// # Errors
    ///
    /// Admin Control's.
    pub async fn configuration(&self) -> Result<Served, Error> {
        let asked = self.admin_control.clone();
        let call = || async move { asked.configuration().await.map(|data| Answer::new(&data)) };
        self.windows.configuration.read(ONLY, call).await
    }

    /// Whether the call in `room` is transcribed and recorded.
    ///
    /// # Errors
    ///
    /// Admin Control's.
    pub async fn status(&self, room: &RoomName) -> Result<Served, Error> {
        let (asked, of) = (self.admin_control.clone(), room.clone());
        let call = || async move { asked.sessions_status(&of).await.map(|data| Answer::new(&data)) };
        self.windows.status.read(room.as_str(), call).await
    }

    /// The meetings that ended.
    ///
    /// # Errors
    ///
    /// Admin Control's.
    pub async fn meetings(&self) -> Result<Served, Error> {
        let asked = self.admin_control.clone();
        let call = || async move { asked.meetings().await.map(|data| Answer::new(&data)) };
        self.windows.meetings.read(ONLY, call).await
    }
}
