//! A session, as a login or a refresh returns it.

use std::fmt;
use std::time::Duration;

/// The tokens of a session, and its account.
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

/// Without the secrets in it.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}
