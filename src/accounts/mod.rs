//! Accounts: who may sign in, with which password, and what a session is. Knows neither HTTP nor SQL.

mod password;
mod refresh_token;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::db::{self, Database, NewSession, NewUser};
use crate::jwt::Tokens;
use crate::random;

/// The longest e-mail address, in bytes (RFC 5321 section 4.5.3.1.3, less the angle brackets).
const MAX_EMAIL_BYTES: usize = 254;
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// What accounts and sessions are held to.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long a session lasts from its login (`APP_AUTH__REFRESH_TTL`).
    pub session_ttl: Duration,
}

/// Why an account's request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such account, a wrong password, or a disabled account: which one is not told.
    #[error("wrong e-mail or password")]
    WrongCredentials,
    /// A field can't be what was given. A sentence, fit for the person who gave it.
    #[error("{field} {problem}")]
    Invalid {
        /// The field's name in the API.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The e-mail has an account already.
    #[error("there is an account with this e-mail already")]
    EmailTaken,
    /// More password checks are waiting than this machine can do in time.
    #[error("too many logins at once")]
    Overloaded,
    /// A password could not be hashed.
    #[error("a password could not be hashed")]
    Hash,
    /// The database failed.
    #[error(transparent)]
    Database(db::Error),
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Duplicate => Self::EmailTaken,
            error => Self::Database(error),
        }
    }
}

/// A successful login.
#[derive(Debug)]
pub struct LoggedIn {
    /// The user token.
    pub token: String,
    /// How long it is good for.
    pub expires_in: Duration,
    /// The session's first refresh token.
    pub refresh_token: String,
    /// The account's id.
    pub id: String,
    /// The account's e-mail.
    pub email: String,
    /// The account's name.
    pub name: String,
}

/// Signs users in and keeps their accounts.
pub struct Accounts {
    database: Database,
    hasher: password::Hasher,
    tokens: Arc<Tokens>,
    rules: Rules,
    clock: Clock,
}

impl Accounts {
    /// The accounts in `database`.
    #[must_use]
    pub fn new(database: Database, tokens: Arc<Tokens>, rules: Rules, clock: Clock) -> Self {
        Self { database, hasher: password::Hasher::new(), tokens, rules, clock }
    }

    /// Starts a session.
    ///
    /// An unknown e-mail, a wrong password and a disabled account take the same work and get the same answer.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], [`Error::WrongCredentials`], [`Error::Overloaded`], [`Error::Hash`], [`Error::Database`].
    pub async fn log_in(&self, email: &str, password: &str) -> Result<LoggedIn, Error> {
        let email = mailbox(email)?;
        password::check_length(password)?;
        let user = self.database.user_by_email(email).await?;
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let matches = self.hasher.verify(password, hash).await?;
        let user = user.filter(|user| matches && !user.disabled).ok_or(Error::WrongCredentials)?;

        let (session, refresh_token) = (random::id(), random::secret());
        let now = self.clock.unix_seconds();
        let ttl = i64::try_from(self.rules.session_ttl.as_secs()).unwrap_or(i64::MAX);
        self.database
            .insert_session(NewSession {
                id: session.clone(),
                user_id: user.id.clone(),
                refresh_token_hash: refresh_token::hash(&refresh_token),
                created_at: now,
                expires_at: now.saturating_add(ttl),
            })
            .await?;
        Ok(LoggedIn {
            token: self.tokens.for_user(&user.id, &session),
            expires_in: self.tokens.user_ttl(),
            refresh_token,
            id: user.id,
            email: user.email,
            name: user.name,
        })
    }
}

/// Adds an account; the door for the command line, which has neither tokens nor sessions.
///
/// # Errors
///
/// [`Error::Invalid`], [`Error::EmailTaken`], [`Error::Overloaded`], [`Error::Hash`], [`Error::Database`].
pub async fn add(
    database: &Database,
    user: (&str, &str),
    password: &str,
    min_password: usize,
    clock: &Clock,
) -> Result<(), Error> {
    let email = email_address(user.0)?;
    let name = display_name(user.1)?;
    password::check_new(password, min_password)?;
    let password_hash = password::Hasher::new().hash(password).await?;
    let user = NewUser { id: random::id(), email, name, password_hash, created_at: clock.unix_seconds() };
    Ok(database.insert_user(user).await?)
}

/// How a new account's e-mail is kept: as [`mailbox`] spells it, and with something on both sides of an `@`.
fn email_address(email: &str) -> Result<String, Error> {
    let email = mailbox(email)?;
    let (local, domain) = email.rsplit_once('@').unwrap_or_default();
    if local.is_empty() || domain.is_empty() || email.contains(char::is_whitespace) {
        return Err(Error::Invalid { field: "email", problem: "is not an e-mail address.".to_owned() });
    }
    Ok(email)
}

/// One mailbox, one spelling: trimmed and in lower case.
fn mailbox(email: &str) -> Result<String, Error> {
    let email = email.trim().to_lowercase();
    if email.len() > MAX_EMAIL_BYTES || email.contains(char::is_control) {
        let problem = format!("must be at most {MAX_EMAIL_BYTES} bytes, without control characters.");
        return Err(Error::Invalid { field: "email", problem });
    }
    Ok(email)
}

fn display_name(name: &str) -> Result<String, Error> {
    let name = name.trim();
    let invalid = |problem: &str| Error::Invalid { field: "name", problem: problem.to_owned() };
    if name.is_empty() {
        return Err(invalid("must not be blank."));
    }
    if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
        return Err(invalid("must be at most 255 bytes, without control characters."));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mailbox_has_one_spelling() {
        assert_eq!(email_address(" Ann@Example.COM ").unwrap(), "ann@example.com");
        for wrong in
            ["", " ", "ann", "@", "ann@", "@example.com", "ann @example.com", "ann@exa\0mple.com", "a\r\nb@example.com"]
        {
            assert!(email_address(wrong).is_err(), "{wrong:?}");
        }
        assert!(email_address(&format!("{}@example.com", "a".repeat(242))).is_ok());
        assert!(email_address(&format!("{}@example.com", "a".repeat(243))).is_err());
    }
}
