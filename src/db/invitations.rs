//! The `invitations` table: which invitations are in force, and their remaining uses.

use super::{Database, Error};

impl Database {
    /// Adds an invitation for `uses` guests, or for any number of them.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn insert_invitation(
        &self,
        id: String,
        maker: String,
        uses: Option<i64>,
        expires_at: i64,
    ) -> Result<(), Error> {
        let insert = "INSERT INTO invitations (id, maker, uses_left, expires_at) VALUES ($1, $2, $3, $4)";
        self.execute(sqlx::query(insert).bind(id).bind(maker).bind(uses).bind(expires_at)).await?;
        Ok(())
    }

    /// Uses an invitation once. `false` if it was revoked or is used up.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn use_invitation(&self, id: String) -> Result<bool, Error> {
        let select = "SELECT uses_left FROM invitations WHERE id = $1";
        match self.fetch_all::<(Option<i64>,)>(sqlx::query_as(select).bind(id.clone())).await?.first() {
            None => Ok(false),
            // Guests of an unlimited invitation do not wait for each other.
            Some((None,)) => Ok(true),
            // One statement, so that no two guests take the last use.
            Some(_) => {
                let count = "UPDATE invitations SET uses_left = uses_left - 1 WHERE id = $1 AND uses_left > 0";
                Ok(self.execute(sqlx::query(count).bind(id)).await? > 0)
            }
        }
    }

    /// Returns whether there is an invitation with this id.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn has_invitation(&self, id: String) -> Result<bool, Error> {
        let select = sqlx::query_as("SELECT id FROM invitations WHERE id = $1").bind(id);
        Ok(!self.fetch_all::<(String,)>(select).await?.is_empty())
    }

    /// Deletes an invitation of `maker`; of any one for an API key, which is empty. `false` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn delete_invitation(&self, id: String, maker: String) -> Result<bool, Error> {
        let delete = "DELETE FROM invitations WHERE id = $1 AND ($2 = '' OR maker = $2)";
        Ok(self.execute(sqlx::query(delete).bind(id).bind(maker)).await? > 0)
    }
}
