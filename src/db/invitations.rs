//! The `invitations` table: the valid invitations, and their remaining uses.

use super::{Database, Error, Statement};

/// The credential with which an invitation is made.
pub enum Credential {
    /// A user token, by the id of its session.
    Session(String),
    /// An API key, by its hash.
    ApiKey(String),
}

impl Credential {
    /// Returns a statement that changes nothing, but locks the row. It affects none if the credential is revoked.
    fn lock(self) -> Statement {
        let (sql, id) = match self {
            Self::Session(id) => ("UPDATE sessions SET revoked_at = NULL WHERE id = $1 AND revoked_at IS NULL", id),
            Self::ApiKey(hash) => ("UPDATE api_keys SET revoked_at = NULL WHERE hash = $1 AND revoked_at IS NULL", hash),
        };
        sqlx::query(sql).bind(id)
    }
}

impl Database {
    /// Adds an invitation for `uses` guests, or for any number of them. `false` if `credential` is revoked.
    ///
    /// A revocation either precedes it, or waits and then deletes the new invitation with the others of its account.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn insert_invitation(
        &self,
        id: String,
        maker: String,
        uses: Option<i64>,
        expires_at: i64,
        credential: Option<Credential>,
    ) -> Result<bool, Error> {
        let insert = "INSERT INTO invitations (id, maker, uses_left, expires_at) VALUES ($1, $2, $3, $4)";
        let insert = sqlx::query(insert).bind(id).bind(maker).bind(uses).bind(expires_at);
        let lock = credential.map(Credential::lock);
        self.run(|pools| async move {
            let mut transaction = pools.begin().await?;
            if let Some(lock) = lock
                && transaction.execute(lock).await? == 0
            {
                return Ok(false);
            }
            transaction.execute(insert).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
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
