//! The `sessions` and `refresh_tokens` tables.

use std::fmt;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Database, Error, login_failures};

/// A session at its start, with its first refresh token.
pub struct NewSession {
    /// The session's id, the `sid` of its user tokens.
    pub id: String,
    /// The account.
    pub user_id: String,
    /// The PHC string that the password was checked against.
    pub password_hash: String,
    /// The first refresh token's SHA-256.
    pub refresh_token_hash: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub created_at: i64,
    /// Milliseconds since 1970-01-01 UTC.
    pub expires_at: i64,
}

/// Without the secrets in it.
impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A session that goes on, and whose it is.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    /// The session's id.
    pub id: String,
    /// The account.
    pub user_id: String,
    /// The account's e-mail.
    pub email: String,
    /// The account's name.
    pub name: String,
}

/// What became of a refresh token that was handed in.
#[derive(Debug)]
pub enum Refresh {
    /// It was good; it is spent now, and its successor is stored.
    Rotated(SessionRecord),
    /// It had been spent before, at this time; nothing was changed.
    Reused(i64, SessionRecord),
    /// It is unknown, too old, or its session or account has ended; nothing was changed.
    Refused,
}

impl Database {
    /// Adds a session with its first refresh token, and resets the counter of failed logins `scope`, all or nothing. `false` if
    /// the account was disabled or got another password since the password was checked; nothing was done then.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn insert_session(&self, session: NewSession, scope: String) -> Result<bool, Error> {
        // Changes nothing, but waits for whoever is changing the account, and makes them wait for us.
        let lock_user =
            "UPDATE users SET disabled_at = disabled_at WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL";
        let insert_session = "INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
        let insert_token = "INSERT INTO refresh_tokens (hash, session_id, created_at) VALUES ($1, $2, $3)";
        let begin = self.begin;
        self.run(|pools| async move {
            let mut transaction = pools.writers.begin_with(begin).await?;
            let lock = sqlx::query(lock_user).bind(&session.user_id).bind(session.password_hash);
            if lock.execute(&mut *transaction).await?.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query(insert_session)
                .bind(&session.id)
                .bind(session.user_id)
                .bind(session.created_at)
                .bind(session.expires_at)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(insert_token)
                .bind(session.refresh_token_hash)
                .bind(&session.id)
                .bind(session.created_at)
                .execute(&mut *transaction)
                .await?;
            login_failures::reset(&mut transaction, scope, session.created_at).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Spends the refresh token with this hash for its successor, if it is good: unspent, made after `not_before`, and of a
    /// session and an account that go on.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn spend_refresh_token(
        &self,
        hash: String,
        successor: String,
        now: i64,
        not_before: i64,
    ) -> Result<Refresh, Error> {
        // First in the transaction, so that of several at once one spends it and the others wait for that one to finish.
        let mark_spent = "UPDATE refresh_tokens SET spent_at = $1 WHERE hash = $2 AND spent_at IS NULL AND created_at > $3";
        let select = "SELECT s.id, s.user_id, u.email, u.name, t.spent_at FROM refresh_tokens t \
             JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id \
             WHERE t.hash = $1 AND t.spent_at IS NOT NULL AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.disabled_at IS NULL";
        let insert = "INSERT INTO refresh_tokens (hash, session_id, created_at) VALUES ($1, $2, $3)";
        let known = "SELECT hash FROM refresh_tokens WHERE hash = $1";
        let begin = self.begin;
        self.run(move |pools| async move {
            // Whatever anybody makes up costs a look, and keeps no writer waiting.
            if sqlx::query(known).bind(&hash).fetch_optional(&pools.readers).await?.is_none() {
                return Ok(Refresh::Refused);
            }
            let mut transaction = pools.writers.begin_with(begin).await?;
            let spent = sqlx::query(mark_spent).bind(now).bind(&hash).bind(not_before).execute(&mut *transaction).await?;
            let Some(row) = sqlx::query(select).bind(&hash).bind(now).fetch_optional(&mut *transaction).await? else {
                return Ok(Refresh::Refused);
            };
            let session = session_of(&row)?;
            if spent.rows_affected() == 0 {
                return Ok(Refresh::Reused(row.try_get("spent_at")?, session));
            }
            sqlx::query(insert).bind(successor).bind(&session.id).bind(now).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(Refresh::Rotated(session))
        })
        .await
    }

    /// The session of the refresh token with this hash, spent or not, and the account that it is of.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn session_of_refresh_token(&self, hash: String) -> Result<Option<(String, String)>, Error> {
        let sql = "SELECT s.id, s.user_id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.hash = $1";
        self.run(|pools| async move { sqlx::query_as(sql).bind(hash).fetch_optional(&pools.readers).await }).await
    }

    /// Ends a session, if it has not ended before; whether that was so.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn revoke_session(&self, id: String, now: i64) -> Result<bool, Error> {
        let sql = "UPDATE sessions SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
        let ended =
            self.run(move |pools| async move { sqlx::query(sql).bind(now).bind(id).execute(&pools.writers).await }).await?;
        Ok(ended.rows_affected() > 0)
    }

    /// The sessions that were revoked at `since` or later, with the time of it.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn sessions_revoked_since(&self, since: i64) -> Result<Vec<(String, i64)>, Error> {
        let sql = "SELECT id, revoked_at FROM sessions WHERE revoked_at >= $1";
        self.run(move |pools| async move { sqlx::query_as(sql).bind(since).fetch_all(&pools.readers).await }).await
    }

    /// Forgets the sessions that expired before `before`, with their refresh tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn forget_sessions_expired_before(&self, before: i64) -> Result<(), Error> {
        let tokens = "DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE expires_at < $1)";
        let sessions = "DELETE FROM sessions WHERE expires_at < $1";
        let begin = self.begin;
        self.run(move |pools| async move {
            let mut transaction = pools.writers.begin_with(begin).await?;
            sqlx::query(tokens).bind(before).execute(&mut *transaction).await?;
            sqlx::query(sessions).bind(before).execute(&mut *transaction).await?;
            transaction.commit().await
        })
        .await
    }
}

fn session_of(row: &AnyRow) -> Result<SessionRecord, sqlx::Error> {
    Ok(SessionRecord {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
    })
}
