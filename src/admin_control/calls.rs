//! `POST proconf-token`, the one call that is no [`AdminControl::get`].

use serde::Serialize;
use serde_json::value::RawValue;

use super::endpoint::Endpoint;
use super::{AdminControl, Error, response};

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
        let endpoint = Endpoint::ProconfToken;
        self.call(endpoint, async {
            let url = self.url(endpoint, None)?;
            let request = self.prepared(self.fresh.post(url)).force_close();
            response::read(request.send_json(wanted).await, self.rules.max_body_bytes).await
        })
        .await
    }
}
