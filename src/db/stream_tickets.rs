//! The `stream_tickets` table: which tickets were used, so that each works once, whichever replica it comes to.

use super::{Database, Error};

impl Database {
    /// Marks the ticket with this id as used. `false` if it was used before.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn use_stream_ticket(&self, id: String, expires_at: i64) -> Result<bool, Error> {
        let sql = "INSERT INTO stream_tickets (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        self.run(move |pools| async move {
            Ok(sqlx::query(sql).bind(id).bind(expires_at).execute(&pools.writers).await?.rows_affected() > 0)
        })
        .await
    }

    /// Forgets the tickets that expired before `before` (milliseconds since 1970-01-01 UTC).
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn forget_stream_tickets(&self, before: i64) -> Result<(), Error> {
        let sql = "DELETE FROM stream_tickets WHERE expires_at < $1";
        self.run(move |pools| async move { sqlx::query(sql).bind(before).execute(&pools.writers).await }).await?;
        Ok(())
    }
}
