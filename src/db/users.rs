//! The `users` table.

use super::{Database, Error, Statement, login_failures};

/// Deletes the invitations that an account made.
const DELETE_INVITATIONS: &str = "DELETE FROM invitations WHERE maker IN (SELECT ' ' || id FROM users WHERE email = $1)";

/// A new account.
pub(crate) struct NewUser {
    /// The account's id.
    pub id: String,
    /// The e-mail, normalised.
    pub email: String,
    /// The display name.
    pub name: String,
    /// The password's PHC string.
    pub password_hash: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub created_at: i64,
}

/// An account.
#[derive(sqlx::FromRow)]
pub(crate) struct User {
    /// The account's id.
    pub id: String,
    /// The e-mail, normalised.
    pub email: String,
    /// The display name.
    pub name: String,
    /// The password's PHC string.
    pub password_hash: String,
    /// When the account was disabled, in milliseconds since 1970-01-01 UTC.
    pub disabled_at: Option<i64>,
}

impl Database {
    /// Adds an account.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] if the e-mail has one, [`Error::Failed`].
    pub(crate) async fn insert_user(&self, user: NewUser) -> Result<(), Error> {
        let sql = "INSERT INTO users (id, email, name, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)";
        let insert = sqlx::query(sql).bind(user.id).bind(user.email).bind(user.name);
        self.execute(insert.bind(user.password_hash).bind(user.created_at)).await?;
        Ok(())
    }

    /// Returns the account with this normalised e-mail.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn user_by_email(&self, email: String) -> Result<Option<User>, Error> {
        let sql = "SELECT id, email, name, password_hash, disabled_at FROM users WHERE email = $1";
        Ok(self.fetch_all(sqlx::query_as(sql).bind(email)).await?.pop())
    }

    /// Returns the name of the account with this id.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn name_of_user(&self, id: String) -> Result<Option<String>, Error> {
        let rows: Vec<(String,)> = self.fetch_all(sqlx::query_as("SELECT name FROM users WHERE id = $1").bind(id)).await?;
        Ok(rows.into_iter().next().map(|(name,)| name))
    }

    /// Returns all accounts, by e-mail.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn users(&self) -> Result<Vec<User>, Error> {
        let sql = "SELECT id, email, name, password_hash, disabled_at FROM users ORDER BY email";
        self.fetch_all(sqlx::query_as(sql)).await
    }

    /// Disables the account and revokes its sessions and invitations. `false` if there is no such account.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn disable_user(&self, email: String, now: i64) -> Result<bool, Error> {
        let disable = sqlx::query("UPDATE users SET disabled_at = COALESCE(disabled_at, $1) WHERE email = $2");
        self.update_and_revoke_sessions(disable.bind(now).bind(email.clone()), email, now).await
    }

    /// Enables the account; its sessions stay revoked. `false` if there is no such account.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn enable_user(&self, email: String) -> Result<bool, Error> {
        let enable = sqlx::query("UPDATE users SET disabled_at = NULL WHERE email = $1");
        Ok(self.execute(enable.bind(email)).await? > 0)
    }

    /// Deletes a disabled account with its sessions, invitations and the failed logins counted in `scope`, all or nothing.
    ///
    /// Returns the numbers of deleted sessions and counters. The tokens of its sessions are rejected from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn delete_user(&self, email: String, scope: String, now: i64) -> Result<(u64, u64), Error> {
        let of_user = |sql: &'static str| sqlx::query(sql).bind(email.clone());
        let record_deletion = "INSERT INTO deleted_sessions (id, deleted_at) \
             SELECT s.id, $2 FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.email = $1";
        let record_deletion = of_user(record_deletion).bind(now);
        let tokens = "DELETE FROM refresh_tokens WHERE session_id IN \
             (SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.email = $1)";
        let invitations = of_user(DELETE_INVITATIONS);
        let sessions = of_user("DELETE FROM sessions WHERE user_id IN (SELECT id FROM users WHERE email = $1)");
        let user = of_user("DELETE FROM users WHERE email = $1");
        let counters = login_failures::delete(scope);
        // The first deletion of tokens waits for rotations in progress; the second one sees their tokens.
        let statements = [record_deletion, of_user(tokens), of_user(tokens), invitations, sessions, user, counters];
        let [.., sessions, _, counters] = self.execute_all(statements).await?;
        Ok((sessions, counters))
    }

    /// Changes the account's password and revokes its sessions and invitations. `false` if there is no such account.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn set_password(&self, email: String, password_hash: String, now: i64) -> Result<bool, Error> {
        let set = sqlx::query("UPDATE users SET password_hash = $1 WHERE email = $2");
        self.update_and_revoke_sessions(set.bind(password_hash).bind(email.clone()), email, now).await
    }

    /// Updates an account, and revokes its sessions and invitations, all or nothing.
    async fn update_and_revoke_sessions(&self, update: Statement, email: String, now: i64) -> Result<bool, Error> {
        let sql = "UPDATE sessions SET revoked_at = $1 \
             WHERE revoked_at IS NULL AND user_id IN (SELECT id FROM users WHERE email = $2)";
        let invitations = sqlx::query(DELETE_INVITATIONS).bind(email.clone());
        let revoke = sqlx::query(sql).bind(now).bind(email);
        let [updated, ..] = self.execute_all([update, revoke, invitations]).await?;
        Ok(updated > 0)
    }

    /// Replaces the hash `outdated` by another one of the same password.
    ///
    /// It changes nothing if the password changed meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub(crate) async fn renew_password_hash(&self, id: String, outdated: String, hash: String) -> Result<(), Error> {
        let renew = sqlx::query("UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3");
        self.execute(renew.bind(hash).bind(id).bind(outdated)).await?;
        Ok(())
    }
}
