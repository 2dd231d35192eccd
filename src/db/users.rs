//! The `users` table.

use std::fmt;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Database, Error};

/// A new account.
pub struct NewUser {
    /// Its id.
    pub id: String,
    /// Its e-mail, normalised.
    pub email: String,
    /// The name that others see.
    pub name: String,
    /// The password's PHC string.
    pub password_hash: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub created_at: i64,
}

/// Without the secrets in it.
impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An account.
pub struct User {
    /// Its id.
    pub id: String,
    /// Its e-mail, normalised.
    pub email: String,
    /// The name that others see.
    pub name: String,
    /// The password's PHC string.
    pub password_hash: String,
    /// Whether it may not sign in.
    pub disabled: bool,
}

/// Without the secrets in it.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Database {
    /// Adds an account.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] if the e-mail has one, [`Error::Failed`].
    pub async fn insert_user(&self, user: NewUser) -> Result<(), Error> {
        let sql = "INSERT INTO users (id, email, name, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)";
        self.run(|pools| async move {
            sqlx::query(sql)
                .bind(user.id)
                .bind(user.email)
                .bind(user.name)
                .bind(user.password_hash)
                .bind(user.created_at)
                .execute(&pools.writers)
                .await
        })
        .await?;
        Ok(())
    }

    /// The account with this e-mail, normalised.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn user_by_email(&self, email: String) -> Result<Option<User>, Error> {
        let sql = "SELECT id, email, name, password_hash, disabled_at FROM users WHERE email = $1";
        self.run(|pools| async move {
            let row = sqlx::query(sql).bind(email).fetch_optional(&pools.readers).await?;
            row.as_ref().map(user_of).transpose()
        })
        .await
    }

    /// All accounts, by e-mail.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        let sql = "SELECT id, email, name, password_hash, disabled_at FROM users ORDER BY email";
        self.run(|pools| async move { sqlx::query(sql).fetch_all(&pools.readers).await?.iter().map(user_of).collect() })
            .await
    }

    /// Disables the account and ends all its sessions, both or neither. `false` if there is no such account.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn disable_user(&self, email: String, now: i64) -> Result<bool, Error> {
        let disable = "UPDATE users SET disabled_at = COALESCE(disabled_at, $1) WHERE email = $2";
        let begin = self.begin;
        self.run(move |pools| async move {
            let mut transaction = pools.writers.begin_with(begin).await?;
            let disabled = sqlx::query(disable).bind(now).bind(&email).execute(&mut *transaction).await?;
            sqlx::query(REVOKE_ALL).bind(now).bind(email).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(disabled.rows_affected() > 0)
        })
        .await
    }

    /// Lets the account sign in again; its earlier sessions stay ended. `false` if there is no such account.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn enable_user(&self, email: String) -> Result<bool, Error> {
        let sql = "UPDATE users SET disabled_at = NULL WHERE email = $1";
        let enabled = self.run(|pools| async move { sqlx::query(sql).bind(email).execute(&pools.writers).await }).await?;
        Ok(enabled.rows_affected() > 0)
    }

    /// Gives the account another password and ends all its sessions, both or neither. `false` if there is no such account.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn set_password(&self, email: String, password_hash: String, now: i64) -> Result<bool, Error> {
        let set = "UPDATE users SET password_hash = $1 WHERE email = $2";
        let begin = self.begin;
        self.run(move |pools| async move {
            let mut transaction = pools.writers.begin_with(begin).await?;
            let done = sqlx::query(set).bind(password_hash).bind(&email).execute(&mut *transaction).await?;
            sqlx::query(REVOKE_ALL).bind(now).bind(email).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    /// Puts another hash of the same password in the place of `outdated`, unless the account got another password meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn renew_password_hash(&self, id: String, outdated: String, hash: String) -> Result<(), Error> {
        let sql = "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3";
        self.run(|pools| async move { sqlx::query(sql).bind(hash).bind(id).bind(outdated).execute(&pools.writers).await })
            .await?;
        Ok(())
    }
}

const REVOKE_ALL: &str = "UPDATE sessions SET revoked_at = $1 \
     WHERE revoked_at IS NULL AND user_id IN (SELECT id FROM users WHERE email = $2)";

fn user_of(row: &AnyRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        password_hash: row.try_get("password_hash")?,
        disabled: row.try_get::<Option<i64>, _>("disabled_at")?.is_some(),
    })
}
