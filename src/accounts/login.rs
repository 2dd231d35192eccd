//! One attempt to sign in, from its count to its session.

use super::{Accounts, Error, LoggedIn, milliseconds, password, refresh_token, throttle};
use crate::db::{NewSession, Session, User};
use crate::random;

impl Accounts {
    /// `user` becomes the account's id, if there is such an account.
    pub(super) async fn attempt(
        &self,
        applicant: throttle::Applicant,
        email: String,
        password: &str,
        user: &mut Option<String>,
    ) -> Result<LoggedIn, Error> {
        // Begun before the password is looked at: fifty guesses at one instant are fifty.
        let attempt = applicant.begin(&self.database).await?;
        let checked = self.check(email, password, &attempt, user).await;
        match &checked {
            // It ended together with the session's start.
            Ok(_) => {}
            Err(Error::WrongCredentials) => attempt.failed(&self.database).await?,
            // Nothing can be written just now.
            Err(Error::Database(_)) => attempt.withdrawn_later(self.database.clone()),
            Err(_) => attempt.withdrawn(&self.database).await?,
        }
        checked
    }

    async fn check(
        &self,
        email: String,
        password: &str,
        attempt: &throttle::Attempt,
        id: &mut Option<String>,
    ) -> Result<LoggedIn, Error> {
        // An account that changed since its password was checked is looked at once more: another login may have renewed its hash.
        for _ in 0..2 {
            let user = self.database.user_by_email(email.clone()).await?;
            *id = user.as_ref().map(|user| user.id.clone());
            let hash = user.as_ref().map(|user| user.password_hash.clone());
            let matches = self.hasher.verify(password, hash, attempt.known_here()).await?;
            let user = user.filter(|user| matches && !user.disabled).ok_or(Error::WrongCredentials)?;
            let outdated = password::is_outdated(&user.password_hash).then(|| user.password_hash.clone());
            if let Some(logged_in) = self.start_session(user, attempt).await? {
                if let (Some(outdated), Some(id)) = (outdated, id) {
                    self.renew_hash(id, outdated, password).await;
                }
                return Ok(logged_in);
            }
        }
        Err(Error::WrongCredentials)
    }

    /// `None` if the account was disabled or got another password meanwhile.
    async fn start_session(&self, user: User, attempt: &throttle::Attempt) -> Result<Option<LoggedIn>, Error> {
        let refresh_token = random::secret();
        let now = self.clock.unix_milliseconds();
        let session = Session { id: random::id(), user_id: user.id, email: user.email, name: user.name };
        let new = NewSession {
            id: session.id.clone(),
            user_id: session.user_id.clone(),
            password_hash: user.password_hash,
            refresh_token_hash: refresh_token::hash(&refresh_token),
            created_at: now,
            expires_at: now.saturating_add(milliseconds(self.rules.session_ttl)),
        };
        let started = self.database.insert_session(new, attempt.succeeded()).await?;
        Ok(started.then(|| self.logged_in(session, refresh_token)))
    }

    /// Takes the place of a hash made in an older way. The session is there already, so that a failure is no reason to keep it.
    async fn renew_hash(&self, id: &str, outdated: String, password: &str) {
        let renewed = async {
            let hash = self.hasher.hash(password).await?;
            Ok::<_, Error>(self.database.renew_password_hash(id.to_owned(), outdated, hash).await?)
        };
        if let Err(error) = renewed.await {
            log::warn!(user = id, cause:% = error; "a password's hash could not be renewed");
        }
    }
}
