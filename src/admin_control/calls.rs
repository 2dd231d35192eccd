//! `POST proconf-token`, the one call that is no [`AdminControl::get`].

use serde::Serialize;
use serde_json::value::RawValue;

use super::endpoint::Endpoint;
use super::{AdminControl, Error};

/// The body of `POST proconf-token`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest<'a> {
    /// The participant's role; Admin Control knows the roles.
    pub role: &'a str,
    /// The room.
    pub room: &'a str,
    /// The name that the other participants see.
    pub participant_name: &'a str,
}

impl AdminControl {
    /// Issues a token to join a call with. Never retried: the first attempt may have issued one.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn proconf_token(&self, wanted: &TokenRequest<'_>) -> Result<Box<RawValue>, Error> {
        self.post(Endpoint::ProconfToken, wanted).await
    }
}
