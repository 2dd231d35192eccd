//! Accounts: who may sign in, how often one may try, and how long a session goes on. Knows neither HTTP nor SQL.

mod admissions;
mod email;
mod events;
mod giving_way;
mod limit;
mod line;
mod logged_in;
mod login;
pub mod management;
mod new_password;
mod password;
mod refresh_token;
mod revocations;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

pub use admissions::{Admission, Admissions};
pub use events::Counted;
pub use logged_in::LoggedIn;
pub use revocations::{Revocations, Watch};

use crate::asker::Asker;
use crate::background::GivenUp;
use crate::caller::StreamTicket;
use crate::clock::Clock;
use crate::db::{self, Database, Refresh, Session};
use crate::jwt::Tokens;
use crate::secret::Secret;

/// For so long a spent refresh token answers with the very same successor: an answer that was lost must log nobody out.
const GRACE: Duration = Duration::from_secs(10);
/// A refresh token that nobody used for so long is dead.
const IDLE: Duration = Duration::from_hours(7 * 24);

/// What sessions are held to.
#[derive(Debug, Clone)]
pub struct Rules {
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
    /// Too many failures; a password will be checked again after this time.
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

/// Signs users in, carries their sessions on, and ends them.
pub struct Accounts {
    database: Database,
    hasher: password::Hasher,
    lines: line::Lines,
    tokens: Arc<Tokens>,
    revocations: Revocations,
    successors: refresh_token::Successors,
    rules: Rules,
    clock: Clock,
    counted: Counted,
}

impl Accounts {
    /// The accounts in `database`. Sessions that end are ended in `revocations` at once.
    #[must_use]
    pub fn new(database: Database, tokens: Arc<Tokens>, revocations: Revocations, rules: Rules, clock: Clock) -> Self {
        let successors = refresh_token::Successors::new(&rules.secrets);
        let (hasher, lines, counted) = (password::Hasher::new(), throttle::lines(), Counted::default());
        Self { database, hasher, lines, tokens, revocations, successors, rules, clock, counted }
    }

    /// Counts logins and refreshes from here on.
    #[must_use]
    pub fn counted_by(self, counted: Counted) -> Self {
        Self { counted, ..self }
    }

    /// Starts a session for `asker`.
    ///
    /// An unknown e-mail, a wrong password and a disabled account take the same work and get the same answer.
    ///
    /// # Errors
    ///
    /// All but [`Error::EmailTaken`] and [`Error::NoSuchAccount`].
    pub async fn log_in(self: &Arc<Self>, email: &str, password: &str, asker: &Asker) -> Result<LoggedIn, Error> {
        let email = email::normalise(email)?;
        new_password::check_length(password)?;
        let client = asker.client();
        let applicant = throttle::Applicant::wait(&self.database, &self.lines, &email, client, &self.clock).await;
        // A task of its own: a client that hangs up must not leave an attempt that never ends.
        let (this, password, asker) = (Arc::clone(self), password.to_owned(), asker.clone());
        to_its_end(async move {
            let mut user = None;
            let login = match applicant {
                Ok(applicant) => this.attempt(applicant, email, &password, &mut user).await,
                Err(error) => Err(error),
            };
            events::login(&login, user.as_deref(), &asker, &this.counted);
            login
        })
        .await
    }

    /// Carries a session on: a new user token, and a new refresh token in place of this one.
    ///
    /// # Errors
    ///
    /// [`Error::WrongCredentials`], [`Error::Database`].
    pub async fn refresh(self: &Arc<Self>, token: &str, asker: &Asker) -> Result<LoggedIn, Error> {
        // A task of its own: whoever hands in a spent token and hangs up must not keep its session alive.
        let (this, token, asker) = (Arc::clone(self), token.to_owned(), asker.clone());
        to_its_end(async move {
            let refreshed = this.carry_on(&token, &asker).await;
            events::refresh(&refreshed, &this.counted);
            refreshed
        })
        .await
    }

    async fn carry_on(&self, token: &str, asker: &Asker) -> Result<LoggedIn, Error> {
        let now = self.clock.unix_milliseconds();
        let successor = self.successors.of(token);
        let (hash, next) = (refresh_token::hash(token), refresh_token::hash(&successor));
        match self.database.spend_refresh_token(hash, next, now, now - milliseconds(IDLE)).await? {
            Refresh::Rotated(session) => Ok(self.logged_in(session, successor)),
            Refresh::SpentAt(at, session) if now - at < milliseconds(GRACE) => {
                let successor = self.stored_successor(token).await?.ok_or_else(|| refused(asker))?;
                Ok(self.logged_in(session, successor))
            }
            Refresh::SpentAt(_, session) => {
                events::reused(&session, asker, &self.counted);
                self.revoke(session.id).await?;
                Err(Error::WrongCredentials)
            }
            Refresh::Refused => Err(refused(asker)),
        }
    }

    /// The successor that `token` was spent for. The secret in force may have changed since.
    async fn stored_successor(&self, token: &str) -> Result<Option<String>, Error> {
        for successor in self.successors.all_of(token) {
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
    pub async fn log_out(self: &Arc<Self>, token: &str, asker: &Asker) -> Result<(), Error> {
        // A task of its own: a page that is closed says goodbye and hangs up, and means it.
        let (this, hash, asker) = (Arc::clone(self), refresh_token::hash(token), asker.clone());
        to_its_end(async move {
            if let Some((session, user)) = this.database.session_of_refresh_token(hash).await?
                && this.revoke(session).await?
            {
                events::logout(&user, &asker);
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
        Ok(self.database.use_stream_ticket(ticket.id.clone(), ticket.expires_at.saturating_mul(1000)).await?)
    }

    /// `false` if it had been revoked before.
    async fn revoke(&self, session: String) -> Result<bool, Error> {
        let now = self.clock.unix_milliseconds();
        let revoked = self.database.revoke_session(session.clone(), now).await?;
        self.revocations.insert(session);
        Ok(revoked)
    }

    fn logged_in(&self, session: Session, refresh_token: String) -> LoggedIn {
        LoggedIn {
            token: self.tokens.for_user(&session.user_id, &session.id),
            expires_in: self.tokens.user_ttl(),
            refresh_token,
            id: session.user_id,
            email: session.email,
            name: session.name,
        }
    }
}

/// Does `work` on this worker to its end, even if nobody waits for it any more.
async fn to_its_end<T: 'static>(work: impl Future<Output = Result<T, Error>> + 'static) -> Result<T, Error> {
    let task = tokio::task::spawn_local(work);
    task.await.unwrap_or(Err(Error::Database(db::Error::GivenUp(GivenUp))))
}

/// Says in the log what is 401 to `asker`.
fn refused(asker: &Asker) -> Error {
    events::refresh_refused(asker);
    Error::WrongCredentials
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
