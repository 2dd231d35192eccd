//! Logging in: from the limit on failed logins to the session.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::login_limit::LoginAttempt;
use super::{Accounts, Error, Session, email, events, password, password_policy, refresh_token, run_detached};
use crate::clock::milliseconds;
use crate::db::{NewSession, SessionRecord, User};
use crate::request_context::RequestContext;
use crate::secret;

impl Accounts {
    /// Starts a session for `context`.
    ///
    /// An unknown e-mail, a wrong password and a disabled account take the same work and get the same answer.
    ///
    /// # Errors
    ///
    /// All but [`Error::EmailTaken`] and [`Error::NoSuchAccount`].
    pub async fn log_in(self: &Arc<Self>, email: &str, password: &str, context: &RequestContext) -> Result<Session, Error> {
        let email = email::normalise(email)?;
        password_policy::check_length(password)?;
        let attempt = LoginAttempt::new(&email, context.client());
        // Cancelling a queued login has no side effects.
        let permit = self.wait_for_permit(&attempt).await;
        // A task of its own: a password that was checked is counted, also if the client has gone.
        let (this, password, context) = (Arc::clone(self), password.to_owned(), context.clone());
        run_detached(async move {
            let mut user_id = None;
            let login = match permit {
                Ok(permit) => this.authenticate(&attempt, permit, &email, &password, &mut user_id).await,
                Err(error) => Err(error),
            };
            events::login(&login, user_id.as_deref(), &context, &this.metrics);
            login
        })
        .await
    }

    /// Waits for leave to hash. Throttled clients and a failing database take no place in the queue.
    async fn wait_for_permit(&self, attempt: &LoginAttempt) -> Result<OwnedSemaphorePermit, Error> {
        attempt.check(&self.database, self.clock.unix_milliseconds()).await?;
        self.hasher.acquire().await
    }

    /// Checks the password and starts a session. `user_id` becomes the account's id, if there is such an account.
    async fn authenticate(
        &self,
        attempt: &LoginAttempt,
        permit: OwnedSemaphorePermit,
        email: &str,
        password: &str,
        user_id: &mut Option<String>,
    ) -> Result<Session, Error> {
        let user = self.verify(attempt, permit, email, password, user_id).await?;
        if let Some(session) = self.start_session(attempt, user, password).await? {
            return Ok(session);
        }
        // The account changed since its password was checked: another login may have renewed its hash.
        let permit = self.hasher.acquire().await?;
        let user = self.verify(attempt, permit, email, password, user_id).await?;
        self.start_session(attempt, user, password).await?.ok_or(Error::WrongCredentials)
    }

    /// Checks the limit and then the password. A failure is counted before `_permit` is released, so that the limit is exceeded
    /// by no more failures than there are permits.
    async fn verify(
        &self,
        attempt: &LoginAttempt,
        _permit: OwnedSemaphorePermit,
        email: &str,
        password: &str,
        user_id: &mut Option<String>,
    ) -> Result<User, Error> {
        attempt.check(&self.database, self.clock.unix_milliseconds()).await?;
        let user = self.database.user_by_email(email.to_owned()).await?;
        *user_id = user.as_ref().map(|user| user.id.clone());
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let is_right = self.hasher.verify(password, hash).await?;
        if let Some(user) = user.filter(|user| is_right && !user.disabled) {
            return Ok(user);
        }
        attempt.record_failure(&self.database, self.clock.unix_milliseconds()).await?;
        Err(Error::WrongCredentials)
    }

    /// `None` if the account was disabled or got another password meanwhile.
    async fn start_session(&self, attempt: &LoginAttempt, user: User, password: &str) -> Result<Option<Session>, Error> {
        let refresh_token = secret::random_secret();
        let now = self.clock.unix_milliseconds();
        let record = SessionRecord { id: secret::random_id(), user_id: user.id, email: user.email, name: user.name };
        let new = NewSession {
            id: record.id.clone(),
            user_id: record.user_id.clone(),
            password_hash: user.password_hash.clone(),
            refresh_token_hash: refresh_token::hash(&refresh_token),
            created_at: now,
            expires_at: now.saturating_add(milliseconds(self.config.session_ttl)),
        };
        if !self.database.insert_session(new, attempt.account_and_address()).await? {
            return Ok(None);
        }
        if password::is_outdated(&user.password_hash) {
            self.renew_hash(&record.user_id, user.password_hash, password).await;
        }
        Ok(Some(self.session(record, refresh_token)))
    }

    /// Replaces a hash made with other parameters. The session exists already, so that a failure is only logged.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::accounts::{RevokedSessions, SessionConfig};
    use crate::auth::token::{TokenConfig, Tokens};
    use crate::clock::Clock;
    use crate::db::Database;
    use crate::secret::Secret;

    #[actix_rt::test]
    async fn cancelled_login_in_the_queue_has_no_side_effects() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        let database = Database::open(&url).await.unwrap();
        let (secret, ttl) = (Secret::new("a secret of thirty-two bytes or more"), Duration::from_hours(1));
        let config = SessionConfig { session_ttl: ttl, secrets: vec![secret.clone()] };
        let rules = TokenConfig {
            secret,
            previous_secrets: Vec::new(),
            issuer: "i".into(),
            audience: "a".into(),
            user_ttl: ttl,
            guest_ttl: None,
            room_names: crate::room::NameComparison::Exact,
        };
        let tokens = Arc::new(Tokens::new(rules, Clock::system()));
        let accounts = Accounts::new(database.clone(), tokens, RevokedSessions::default(), config, Clock::system());
        let accounts = Arc::new(accounts);
        let mut busy = Vec::new();
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            busy.push(accounts.hasher.acquire().await.unwrap());
        }
        let context = RequestContext::internal();
        for _ in 0..20 {
            let queued = accounts.log_in("ann@example.com", "guess", &context);
            assert!(tokio::time::timeout(Duration::from_millis(50), queued).await.is_err(), "no permit is free");
        }
        drop(busy);
        let attempt = LoginAttempt::new("ann@example.com", context.client());
        let now = Clock::system().unix_milliseconds();
        attempt.check(&database, now).await.unwrap();
        for _ in 0..10 {
            let failed = accounts.log_in("ann@example.com", "guess", &context).await;
            assert!(matches!(failed, Err(Error::WrongCredentials)), "{failed:?}");
        }
        let throttled = accounts.log_in("ann@example.com", "guess", &context).await;
        assert!(matches!(throttled, Err(Error::Throttled(_))), "{throttled:?}");
    }
}
