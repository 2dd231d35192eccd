//! Accounts: login and its limit, refresh and logout.

pub mod admin;
pub(crate) mod display_name;
mod email;
mod events;
mod login;
mod login_limit;
mod password;
mod password_policy;
mod refresh_token;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use events::AccountMetrics;

use crate::auth::revoked_sessions::RevokedSessions;
use crate::auth::room_access::{PermittedRoom, Requester};
use crate::auth::stream_lease::StreamLease;
use crate::auth::token::Tokens;
use crate::clock::{Clock, milliseconds};
use crate::db::{self, Database, RefreshOutcome, SessionRecord};
use crate::request_context::RequestContext;
use crate::secret::{self, Secret};

/// How long an unused refresh token is valid.
const REFRESH_TOKEN_IDLE_TIMEOUT: Duration = Duration::from_hours(7 * 24);

/// Configures sessions.
#[derive(Debug, Clone)]
pub(crate) struct SessionConfig {
    /// The lifetime of a session from its login (`APP_AUTH__REFRESH_TTL`).
    pub(crate) session_ttl: Duration,
    /// How long a spent refresh token still returns its successor (`APP_AUTH__REFRESH_GRACE`).
    ///
    /// A lost response must not end the session.
    pub(crate) refresh_grace: Duration,
    /// The secrets that derive the successors of refresh tokens, the current one first.
    pub(crate) secrets: Vec<Secret>,
}

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

/// A failed operation on accounts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unknown or disabled account, wrong password, or invalid refresh token. The response does not reveal which.
    #[error("wrong e-mail or password")]
    WrongCredentials,
    /// The stream ticket was redeemed before.
    #[error("the ticket was used before")]
    TicketReused,
    /// An invalid field. The text is a sentence for the client.
    #[error("{field} {problem}")]
    Invalid {
        /// The field's name in the API.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Too many failures; the next password may be tried after this time.
    #[error("too many failed logins")]
    Throttled(Duration),
    /// The e-mail has an account.
    #[error("there is an account with this e-mail already")]
    EmailTaken,
    /// The e-mail has no account. Reported on the command line only.
    #[error("there is no account with this e-mail")]
    NoSuchAccount,
    /// Neither the account nor the token of the identity provider has a name for a call.
    #[error("the account, or the token of the identity provider, has no name")]
    NoDisplayName,
    /// The queue of password checks is too long.
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
pub(crate) struct Accounts {
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
    /// Creates the service. Ended sessions are added to `revoked_sessions` at once.
    pub(crate) fn new(
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
    pub(crate) fn with_metrics(self, metrics: AccountMetrics) -> Self {
        Self { metrics, ..self }
    }

    /// Refreshes a session: issues a user token, and replaces the refresh token `token`.
    ///
    /// # Errors
    ///
    /// [`Error::WrongCredentials`], [`Error::Database`].
    pub(crate) async fn refresh(self: &Arc<Self>, token: &str, context: &RequestContext) -> Result<Session, Error> {
        // Detached: a client that reuses a token and disconnects must not keep its session.
        let (this, token, context) = (Arc::clone(self), token.to_owned(), context.clone());
        run_detached(async move {
            let result = this.rotate(&token, &context).await;
            events::refresh(&result, &this.metrics);
            result
        })
        .await
    }

    async fn rotate(&self, token: &str, context: &RequestContext) -> Result<Session, Error> {
        let now = self.clock.unix_milliseconds();
        let successor = self.rotation_keys.successor_of(token);
        let (hash, next) = (secret::sha256(token), secret::sha256(&successor));
        match self.database.rotate_refresh_token(hash, next, now, now - milliseconds(REFRESH_TOKEN_IDLE_TIMEOUT)).await? {
            RefreshOutcome::Rotated(session) => Ok(self.session(session, successor)),
            RefreshOutcome::Reused(spent_at, session) if now - spent_at < milliseconds(self.config.refresh_grace) => {
                let successor = self.stored_successor(token).await?.ok_or_else(|| events::refresh_rejected(context))?;
                Ok(self.session(session, successor))
            }
            RefreshOutcome::Reused(_, session) => {
                events::refresh_token_reused(&session, context, &self.metrics);
                self.revoke(session.id).await?;
                Err(Error::WrongCredentials)
            }
            RefreshOutcome::Rejected => Err(events::refresh_rejected(context)),
        }
    }

    /// Returns the stored successor of `token`. The secret may have changed since.
    async fn stored_successor(&self, token: &str) -> Result<Option<String>, Error> {
        for successor in self.rotation_keys.all_successors_of(token) {
            if self.database.session_of_refresh_token(secret::sha256(&successor)).await?.is_some() {
                return Ok(Some(successor));
            }
        }
        Ok(None)
    }

    /// Ends the session of a refresh token. Unknown tokens are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub(crate) async fn log_out(self: &Arc<Self>, token: &str, context: &RequestContext) -> Result<(), Error> {
        // Detached: a page that is being closed logs out and disconnects.
        let (this, hash, context) = (Arc::clone(self), secret::sha256(token), context.clone());
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

    /// Grants a stream of `room`, and redeems the ticket, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::TicketReused`] if the ticket was redeemed before, here or on another replica; [`Error::Database`].
    pub(crate) async fn lease_stream(&self, requester: Requester, room: &PermittedRoom) -> Result<StreamLease, Error> {
        if let Some(ticket) = &requester.credentials.ticket
            && !self.database.redeem_stream_ticket(ticket.id.clone(), ticket.expires_at.saturating_mul(1000)).await?
        {
            return Err(events::ticket_rejected(&requester.credentials.principal, &requester.context));
        }
        let (revoked_sessions, tokens, clock) =
            (self.revoked_sessions.clone(), Arc::clone(&self.tokens), self.clock.clone());
        Ok(StreamLease::new(requester, room, revoked_sessions, tokens, clock))
    }

    /// Revokes a session. `false` if it was revoked before.
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
            record,
        }
    }
}

/// Runs `operation` to its end on this worker, even if the caller is cancelled.
async fn run_detached<T: 'static>(operation: impl Future<Output = Result<T, Error>> + 'static) -> Result<T, Error> {
    tokio::task::spawn_local(operation).await.unwrap_or_else(|error| Err(db::Error::from(error).into()))
}
