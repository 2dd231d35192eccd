//! What Admin Control can be asked: one method an endpoint. All give `data` byte for byte.

use serde::Serialize;
use serde_json::value::RawValue;

use super::endpoint::Endpoint;
use super::{AdminControl, Error, response};
use crate::room::RoomName;

/// What `POST proconf-token` is asked with.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest<'a> {
    /// What the participant may do; Admin Control knows the roles.
    pub role: &'a str,
    /// The room.
    pub room: &'a str,
    /// The name that others in the call see.
    pub participant_name: &'a str,
}

impl AdminControl {
    /// `GET call-catchup/{room}`: what was said so far in a call that goes on.
    ///
    /// # Errors
    ///
    /// See [`Error`]; all but [`Error::NotFound`] have been logged. So it is for every method here.
    pub async fn call_catch_up(&self, room: &RoomName) -> Result<Box<RawValue>, Error> {
        self.get(Endpoint::CallCatchup, Some(room)).await
    }

    /// `GET call-summary/{room}`: the record of an ended call's summary; its `file_url` is a key in the summary store.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn call_summary(&self, room: &RoomName) -> Result<Box<RawValue>, Error> {
        self.get(Endpoint::CallSummary, Some(room)).await
    }

    /// `GET sessions-status/{room}`: whether the call is transcribed and recorded.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn sessions_status(&self, room: &RoomName) -> Result<Box<RawValue>, Error> {
        self.get(Endpoint::SessionsStatus, Some(room)).await
    }

    /// `GET configuration`: the features that are turned on.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn configuration(&self) -> Result<Box<RawValue>, Error> {
        self.get(Endpoint::Configuration, None).await
    }

    /// `GET meetings`: the meetings that ended.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn meetings(&self) -> Result<Box<RawValue>, Error> {
        self.get(Endpoint::Meetings, None).await
    }

    /// `POST proconf-token`: a token to join a call with. Never tried twice: it may have been issued the first time.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn proconf_token(&self, wanted: &TokenRequest<'_>) -> Result<Box<RawValue>, Error> {
        let endpoint = Endpoint::ProconfToken;
        self.call(endpoint, async {
            let url = self.url(endpoint, None)?;
            let request = self.prepared(self.fresh.post(url)).force_close();
            response::read(request.send_json(wanted).await, self.rules.max_body_bytes).await
        })
        .await
    }
}
