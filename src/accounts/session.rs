//! A session, as a login or a refresh returns it.

use std::time::Duration;

/// The tokens of a session, and its account. Not `Debug`, so that they can't be logged.
pub(crate) struct Session {
    /// The user token.
    pub(crate) token: String,
    /// The lifetime of the user token.
    pub(crate) expires_in: Duration,
    /// The refresh token.
    pub(crate) refresh_token: String,
    /// The account's id.
    pub(crate) id: String,
    /// The account's e-mail.
    pub(crate) email: String,
    /// The account's name.
    pub(crate) name: String,
}
