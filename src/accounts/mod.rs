//! Accounts: logins, the limit on failed ones, and sessions.

pub mod admin;
mod email;
mod events;
mod login;
mod login_limit;
mod password;
mod password_policy;
mod refresh_token;
mod session;

use std::sync::Arc;
use std::time::Duration;

pub use events::AccountMetrics;
pub use session::Session;

use crate::auth::principal::Principal;
use crate::auth::principal::StreamTicket;
use crate::auth::revoked_sessions::RevokedSessions;
use crate::auth::stream_lease::StreamLease;
use crate::auth::token::Tokens;
use crate::clock::{Clock, milliseconds};
use crate::db::{self, Database, Refresh, SessionRecord};
use crate::request_context::RequestContext;
use crate::secret::Secret;

/// For so long a spent refresh token answers with the very same successor: an answer that was lost must log nobody out.
const GRACE: Duration = Duration::from_secs(10);
/// A refresh token that nobody used for so long is dead.
const IDLE: Duration = Duration::from_hours(7 * 24);

/// Settings of sessions.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// How long a session lasts from its login (`APP_AUTH__REFRESH_TTL`).
    pub session_ttl: Duration,
    /// The secrets that refresh tokens' successors are derived under, the one in force first.
    pub secrets: Vec<Secret>,
}

/// Why an account's request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such account, a wrong password, a disabled account, a dead refresh token: which one is not told.
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
    /// Too many failures; a password is checked again after this time.
    #[error("too many failed logins")]
    Throttled(Duration),
    /// The e-mail has an account already.
    #[error("there is an account with this e-mail already")]
    EmailTaken,
    /// The e-mail has no account. Only the command line is told.
    #[error("there is no account with this e-mail")]
    NoSuchAccount,
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

/// Starts, refreshes and ends sessions.
pub struct Accounts {
    database: Database,
    hasher: password::Hasher,
    tokens: Arc<Tokens>,
    revoked_sessions: RevokedSessions,
    rotation_keys: refresh_token::RotationKeys,
    config: SessionConfig,
    clock: Clock,
    metrics: AccountMetrics,
}

impl Accounts {
    /// The accounts in `database`. Sessions that end are ended in `revoked_sessions` at once.
    #[must_use]
    pub fn new(
        database: Database,
        tokens: Arc<Tokens>,
        revoked_sessions: RevokedSessions,
        config: SessionConfig,
        clock: Clock,
    ) -> Self {
        let rotation_keys = refresh_token::RotationKeys::new(&config.secrets);
        let (hasher, metrics) = (password::Hasher::new(), AccountMetrics::default());
        Self { database, hasher, tokens, revoked_sessions, rotation_keys, config, clock, metrics }
    }

    /// Counts logins and refreshes in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: AccountMetrics) -> Self {
        Self { metrics, ..self }
    }

    /// Refreshes a session: a new user token, and a new refresh token in place of `token`.
    ///
    /// # Errors
    ///
    /// [`Error::WrongCredentials`], [`Error::Database`].
    pub async fn refresh(self: &Arc<Self>, token: &str, context: &RequestContext) -> Result<Session, Error> {
        // A task of its own: a client that sends a reused token and disconnects must not keep its session alive.
        let (this, token, context) = (Arc::clone(self), token.to_owned(), context.clone());
        run_detached(async move {
            let refreshed = this.rotate(&token, &context).await;
            events::refresh(&refreshed, &this.metrics);
            refreshed
        })
        .await
    }

    async fn rotate(&self, token: &str, context: &RequestContext) -> Result<Session, Error> {
        let now = self.clock.unix_milliseconds();
        let successor = self.rotation_keys.successor_of(token);
        let (hash, next) = (refresh_token::hash(token), refresh_token::hash(&successor));
        match self.database.spend_refresh_token(hash, next, now, now - milliseconds(IDLE)).await? {
            Refresh::Rotated(session) => Ok(self.session(session, successor)),
            Refresh::Reused(at, session) if now - at < milliseconds(GRACE) => {
                let successor = self.stored_successor(token).await?.ok_or_else(|| refused(context))?;
                Ok(self.session(session, successor))
            }
            Refresh::Reused(_, session) => {
                events::reused(&session, context, &self.metrics);
                self.revoke(session.id).await?;
                Err(Error::WrongCredentials)
            }
            Refresh::Refused => Err(refused(context)),
        }
    }

    /// The successor that `token` was spent for. The secret in force may have changed since.
    async fn stored_successor(&self, token: &str) -> Result<Option<String>, Error> {
        for successor in self.rotation_keys.all_successors_of(token) {
            if self.database.session_of_refresh_token(refresh_token::hash(&successor)).await?.is_some() {
                return Ok(Some(successor));
            }
        }
        Ok(None)
    }

    /// Ends the session of a refresh token. A token that is not known ends nothing, and that is no failure.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn log_out(self: &Arc<Self>, token: &str, context: &RequestContext) -> Result<(), Error> {
        // A task of its own: a page that is closed logs out and disconnects.
        let (this, hash, context) = (Arc::clone(self), refresh_token::hash(token), context.clone());
        run_detached(async move {
            if let Some((session, user)) = this.database.session_of_refresh_token(hash).await?
                && this.revoke(session).await?
            {
                events::logout(&user, &context);
            }
            Ok(())
        })
        .await
    }

    /// Uses up a ticket. `false` if it was used before, here or on another replica.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn redeem_ticket(&self, ticket: &StreamTicket) -> Result<bool, Error> {
        Ok(self.database.redeem_stream_ticket(ticket.id.clone(), ticket.expires_at.saturating_mul(1000)).await?)
    }

    /// Grants `principal` a stream until `expires_at` (seconds since 1970-01-01 UTC).
    #[must_use]
    pub fn lease_stream(&self, principal: &Principal, expires_at: i64) -> StreamLease {
        StreamLease::new(principal, expires_at, self.revoked_sessions.clone(), self.clock.clone())
    }

    /// `false` if it had been revoked before.
    async fn revoke(&self, session: String) -> Result<bool, Error> {
        let now = self.clock.unix_milliseconds();
        let revoked = self.database.revoke_session(session.clone(), now).await?;
        self.revoked_sessions.insert(session);
        Ok(revoked)
    }

    fn session(&self, record: SessionRecord, refresh_token: String) -> Session {
        Session {
            token: self.tokens.issue_user_token(&record.user_id, &record.id),
            expires_in: self.tokens.user_ttl(),
            refresh_token,
            id: record.user_id,
            email: record.email,
            name: record.name,
        }
    }
}

/// Runs `work` to its end on this worker, even if the principal is cancelled.
async fn run_detached<T: 'static>(work: impl Future<Output = Result<T, Error>> + 'static) -> Result<T, Error> {
    let task = tokio::task::spawn_local(work);
    task.await.unwrap_or_else(|error| Err(db::Error::from(error).into()))
}

/// Logs why `context` gets a 401.
fn refused(context: &RequestContext) -> Error {
    events::refresh_refused(context);
    Error::WrongCredentials
}
