//! What a login comes to: the tokens, and whose they are.

use std::fmt;
use std::time::Duration;

/// A session that was started or carried on.
pub struct LoggedIn {
    /// The user token.
    pub token: String,
    /// How long it is good for.
    pub expires_in: Duration,
    /// The refresh token to carry on with.
    pub refresh_token: String,
    /// The account's id.
    pub id: String,
    /// The account's e-mail.
    pub email: String,
    /// The account's name.
    pub name: String,
}

/// Without the secrets in it.
impl fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoggedIn").field("id", &self.id).finish_non_exhaustive()
    }
}
