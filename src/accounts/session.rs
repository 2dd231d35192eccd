//! A session, as a login or a refresh returns it.

use std::time::Duration;

/// The tokens of a session, and its account. Not `Debug`, so that they can't be logged.
pub struct Session {
    /// The user token.
    pub token: String,
    /// The lifetime of the user token.
    pub expires_in: Duration,
    /// The refresh token.
    pub refresh_token: String,
    /// The account's id.
    pub id: String,
    /// The account's e-mail.
    pub email: String,
    /// The account's name.
    pub name: String,
}
