//! The `sessions` and `refresh_tokens` tables.

use sqlx::{FromRow, Row as _};

use super::{Database, Error, login_failures};

/// A new session with its first refresh token.
pub(crate) struct NewSession {
    /// The session's id, the `sid` of its user tokens.
    pub id: String,
    /// The account.
    pub user_id: String,
    /// The PHC string that the password was checked against.
    pub password_hash: String,
    /// The SHA-256 of the first refresh token.
    pub refresh_token_hash: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub created_at: i64,
    /// Milliseconds since 1970-01-01 UTC.
    pub expires_at: i64,
}

/// An active session and its account.
#[derive(FromRow)]
pub(crate) struct SessionRecord {
    /// The session's id.
    pub id: String,
    /// The account.
    pub user_id: String,
    /// The account's e-mail.
    pub email: String,
    /// The account's name.
    pub name: String,
}

/// The result of presenting a refresh token.
pub(crate) enum RefreshOutcome {
    /// The token is spent now, and its successor is stored.
    Rotated(SessionRecord),
    /// The token was spent before, at this time; nothing was changed.
    Reused(i64, SessionRecord),
    /// The token is unknown or expired, or its session or account has ended. Nothing was changed.
    Rejected,
}

impl Database {
    /// Adds a session, and resets the failed logins of `scope`, all or nothing.
    ///
    /// `false` if the account was disabled or its password changed since the password was checked.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn insert_session(&self, session: NewSession, scope: String) -> Result<bool, Error> {
        // Changes nothing, but locks the account's row.
        let lock_user = sqlx::query(
            "UPDATE users SET disabled_at = disabled_at WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL",
        );
        let insert_session =
            sqlx::query("INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)");
        let insert_token = sqlx::query("INSERT INTO refresh_tokens (hash, session_id, created_at) VALUES ($1, $2, $3)");
        let NewSession { id, user_id, password_hash, refresh_token_hash, created_at, expires_at } = session;
        let lock_user = lock_user.bind(&user_id).bind(password_hash);
        let insert_session = insert_session.bind(&id).bind(user_id).bind(created_at).bind(expires_at);
        let insert_token = insert_token.bind(refresh_token_hash).bind(id).bind(created_at);
        self.run(|pools| async move {
            let mut transaction = pools.begin().await?;
            if transaction.execute(lock_user).await? == 0 {
                return Ok(false);
            }
            transaction.execute(insert_session).await?;
            transaction.execute(insert_token).await?;
            transaction.execute(login_failures::reset(scope, created_at)).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Spends the refresh token with this hash and stores its successor's.
    ///
    /// The token must be unspent, issued after `not_before`, and of an active session and account.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn rotate_refresh_token(
        &self,
        hash: String,
        successor: String,
        now: i64,
        not_before: i64,
    ) -> Result<RefreshOutcome, Error> {
        let exists = sqlx::query_as("SELECT hash FROM refresh_tokens WHERE hash = $1").bind(hash.clone());
        // First in the transaction, so that of several at once one spends the token and the others wait for it.
        let mark_spent = "UPDATE refresh_tokens SET spent_at = $1 WHERE hash = $2 AND spent_at IS NULL AND created_at > $3";
        let mark_spent = sqlx::query(mark_spent).bind(now).bind(&hash).bind(not_before);
        let select = "SELECT s.id, s.user_id, u.email, u.name, t.spent_at FROM refresh_tokens t \
             JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id \
             WHERE t.hash = $1 AND t.spent_at IS NOT NULL AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.disabled_at IS NULL";
        let select = sqlx::query(select).bind(hash).bind(now);
        let insert = sqlx::query("INSERT INTO refresh_tokens (hash, session_id, created_at) VALUES ($1, $2, $3)");
        self.run(move |pools| async move {
            // Made-up tokens must not keep writers waiting.
            if pools.fetch_all::<(String,)>(exists).await?.is_empty() {
                return Ok(RefreshOutcome::Rejected);
            }
            let mut transaction = pools.begin().await?;
            let changed = transaction.execute(mark_spent).await?;
            let Some(row) = transaction.fetch_optional(select).await? else {
                return Ok(RefreshOutcome::Rejected);
            };
            let session = SessionRecord::from_row(&row)?;
            if changed == 0 {
                return Ok(RefreshOutcome::Reused(row.try_get("spent_at")?, session));
            }
            transaction.execute(insert.bind(successor).bind(session.id.clone()).bind(now)).await?;
            transaction.commit().await?;
            Ok(RefreshOutcome::Rotated(session))
        })
        .await
    }

    /// Returns the session and the account of a refresh token, spent or not.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn session_of_refresh_token(&self, hash: String) -> Result<Option<(String, String)>, Error> {
        let sql = "SELECT s.id, s.user_id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.hash = $1";
        Ok(self.fetch_all(sqlx::query_as(sql).bind(hash)).await?.pop())
    }

    /// Revokes a session. `false` if it was revoked before.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn revoke_session(&self, id: String, now: i64) -> Result<bool, Error> {
        let revoke = sqlx::query("UPDATE sessions SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL");
        Ok(self.execute(revoke.bind(now).bind(id)).await? > 0)
    }

    /// Returns the sessions revoked or deleted at `since` or later, with their times.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn sessions_revoked_since(&self, since: i64) -> Result<Vec<(String, i64)>, Error> {
        let sql = "SELECT id, revoked_at FROM sessions WHERE revoked_at >= $1 \
             UNION ALL SELECT id, deleted_at FROM deleted_sessions WHERE deleted_at >= $1";
        self.fetch_all(sqlx::query_as(sql).bind(since)).await
    }
}
