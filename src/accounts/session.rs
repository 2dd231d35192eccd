//! A session, as a login or a refresh returns it.

use std::time::Duration;

use crate::db::SessionRecord;

/// The tokens of a session, and its account. Not `Debug`, so that they can't be logged.
pub(crate) struct Session {
    /// The user token.
    pub(crate) token: String,
    /// The lifetime of the user token.
    pub(crate) expires_in: Duration,
    /// The refresh token.
    pub(crate) refresh_token: String,
    /// The session's id, and its account.
    pub(crate) record: SessionRecord,
}
