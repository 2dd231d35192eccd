//! Login: from the limit on failed logins to the new session.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::login_limit::FailureScopes;
use super::{Accounts, Error, Session, email, events, password, password_policy, run_detached};
use crate::clock::milliseconds;
use crate::db::{NewSession, SessionRecord, User};
use crate::request_context::RequestContext;
use crate::secret;

/// One login attempt.
struct LoginAttempt {
    /// Normalised.
    email: String,
    password: String,
    scopes: FailureScopes,
    /// The account's id, once it is known.
    user_id: Option<String>,
}

impl Accounts {
    /// Logs a client in, and starts a session.
    ///
    /// An unknown e-mail, a wrong password and a disabled account take the same work and get the same response.
    ///
    /// # Errors
    ///
    /// All but [`Error::EmailTaken`] and [`Error::NoSuchAccount`].
    pub(crate) async fn log_in(
        self: &Arc<Self>,
        email: &str,
        password: &str,
        context: &RequestContext,
    ) -> Result<Session, Error> {
        let email = email::normalise(email)?;
        password_policy::check_length(password)?;
        let scopes = FailureScopes::new(&email, context.client());
        // Cancelling a queued login has no side effects.
        let permit = self.acquire_permit(&scopes).await;
        let (this, context) = (Arc::clone(self), context.clone());
        let mut attempt = LoginAttempt { email, password: password.to_owned(), scopes, user_id: None };
        // Detached: the result of a checked password is recorded even if the client disconnects.
        run_detached(async move {
            let result = match permit {
                Ok(permit) => this.authenticate(&mut attempt, permit).await,
                Err(error) => Err(error),
            };
            events::login(&result, attempt.user_id.as_deref(), &context, &this.metrics);
            result
        })
        .await
    }

    /// Acquires a permit to hash. Throttled clients do not queue, and none does while the database fails.
    async fn acquire_permit(&self, scopes: &FailureScopes) -> Result<OwnedSemaphorePermit, Error> {
        scopes.check(&self.database, self.clock.unix_milliseconds()).await?;
        self.hasher.acquire().await
    }

    /// Checks the password and starts a session.
    async fn authenticate(&self, attempt: &mut LoginAttempt, permit: OwnedSemaphorePermit) -> Result<Session, Error> {
        let user = self.verify_password(attempt, permit).await?;
        if let Some(session) = self.start_session(attempt, user).await? {
            return Ok(session);
        }
        // The account changed meanwhile: another login may have renewed its hash.
        let permit = self.hasher.acquire().await?;
        let user = self.verify_password(attempt, permit).await?;
        self.start_session(attempt, user).await?.ok_or(Error::WrongCredentials)
    }

    /// Checks the limit and then the password.
    ///
    /// A failure is counted before `_permit` is released, so the limit is exceeded by at most the number of permits.
    async fn verify_password(&self, attempt: &mut LoginAttempt, _permit: OwnedSemaphorePermit) -> Result<User, Error> {
        attempt.scopes.check(&self.database, self.clock.unix_milliseconds()).await?;
        let user = self.database.user_by_email(attempt.email.clone()).await?;
        attempt.user_id = user.as_ref().map(|user| user.id.clone());
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let is_correct = self.hasher.verify(&attempt.password, hash).await?;
        if let Some(user) = user.filter(|user| is_correct && user.disabled_at.is_none()) {
            return Ok(user);
        }
        attempt.scopes.record_failure(&self.database, self.clock.unix_milliseconds()).await?;
        Err(Error::WrongCredentials)
    }

    /// Starts a session; `None` if the account was disabled or its password changed meanwhile.
    async fn start_session(&self, attempt: &LoginAttempt, user: User) -> Result<Option<Session>, Error> {
        let refresh_token = secret::random_secret();
        let now = self.clock.unix_milliseconds();
        let record = SessionRecord { id: secret::random_id(), user_id: user.id, email: user.email, name: user.name };
        let new = NewSession {
            id: record.id.clone(),
            user_id: record.user_id.clone(),
            password_hash: user.password_hash.clone(),
            refresh_token_hash: secret::sha256(&refresh_token),
            created_at: now,
            expires_at: now.saturating_add(milliseconds(self.config.session_ttl)),
        };
        if !self.database.insert_session(new, attempt.scopes.account_and_address()).await? {
            return Ok(None);
        }
        if password::is_outdated(&user.password_hash) {
            self.renew_hash(&record.user_id, user.password_hash, &attempt.password).await;
        }
        Ok(Some(self.session(record, refresh_token)))
    }

    /// Replaces a hash with outdated parameters. The session exists already, so a failure is only logged.
    async fn renew_hash(&self, id: &str, outdated: String, password: &str) {
        let renewal = async {
            let hash = self.hasher.hash(password).await?;
            Ok::<_, Error>(self.database.renew_password_hash(id.to_owned(), outdated, hash).await?)
        };
        if let Err(error) = renewal.await {
            log::warn!(user = id, cause:% = error; "password hash could not be renewed");
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
        let config = SessionConfig { session_ttl: ttl, refresh_grace: ttl, secrets: vec![secret.clone()] };
        let token_config = TokenConfig {
            secret,
            previous_secrets: Vec::new(),
            issuer: "i".into(),
            audience: "a".into(),
            user_ttl: ttl,
            guest_ttl: None,
            room_names: crate::room::NameComparison::Exact,
        };
        let tokens = Arc::new(Tokens::new(token_config, Clock::system()));
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
        let scopes = FailureScopes::new("ann@example.com", context.client());
        let now = Clock::system().unix_milliseconds();
        scopes.check(&database, now).await.unwrap();
        for _ in 0..10 {
            let failed = accounts.log_in("ann@example.com", "guess", &context).await;
            assert!(matches!(failed, Err(Error::WrongCredentials)));
        }
        let throttled = accounts.log_in("ann@example.com", "guess", &context).await;
        assert!(matches!(throttled, Err(Error::Throttled(_))));
    }
}
