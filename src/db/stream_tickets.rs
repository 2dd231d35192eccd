//! The `stream_tickets` table: redeemed tickets, so that each works once on all replicas.

use super::{Database, Error};

impl Database {
    /// Redeems the ticket with this id. `false` if it was redeemed before.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn redeem_stream_ticket(&self, id: String, expires_at: i64) -> Result<bool, Error> {
        let sql = "INSERT INTO stream_tickets (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        Ok(self.execute(sqlx::query(sql).bind(id).bind(expires_at)).await? > 0)
    }
}
