//! The `stream_tickets` table: which tickets were used, so that each works once, whichever replica it comes to.

use super::{Database, Error};

impl Database {
    /// Marks the ticket with this id as used. `false` if it was used before.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn redeem_stream_ticket(&self, id: String, expires_at: i64) -> Result<bool, Error> {
        let sql = "INSERT INTO stream_tickets (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        self.run(move |pools| async move {
            Ok(sqlx::query(sql).bind(id).bind(expires_at).execute(&pools.writers).await?.rows_affected() > 0)
        })
        .await
    }

    /// Deletes tickets that expired before `before` (milliseconds since 1970-01-01 UTC), and returns how many.
    ///
    /// At most `limit` at a time: other writers need not wait long for one step.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn prune_stream_tickets(&self, before: i64, limit: u32) -> Result<u64, Error> {
        let sql = "DELETE FROM stream_tickets WHERE id IN \
                   (SELECT id FROM stream_tickets WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
        self.run(move |pools| async move {
            Ok(sqlx::query(sql).bind(before).bind(i64::from(limit)).execute(&pools.writers).await?.rows_affected())
        })
        .await
    }
}
