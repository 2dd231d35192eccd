//! The `sessions` and `refresh_tokens` tables.

use super::{Database, Error};

/// A session at its start, with its first refresh token.
#[derive(Debug)]
pub struct NewSession {
    /// The session's id, the `sid` of its user tokens.
    pub id: String,
    /// The account.
    pub user_id: String,
    /// The first refresh token's SHA-256.
    pub refresh_token_hash: String,
    /// Seconds since 1970-01-01 UTC.
    pub created_at: i64,
    /// Seconds since 1970-01-01 UTC.
    pub expires_at: i64,
}

impl Database {
    /// Adds a session and its first refresh token, both or neither.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn insert_session(&self, session: NewSession) -> Result<(), Error> {
        let insert_session = "INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
        let insert_token = "INSERT INTO refresh_tokens (hash, session_id, created_at) VALUES ($1, $2, $3)";
        self.run(|pool| async move {
            let mut transaction = pool.begin().await?;
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
            transaction.commit().await
        })
        .await
    }
}
