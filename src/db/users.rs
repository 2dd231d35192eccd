//! The `users` table.

use sqlx::Row as _;

use super::{Database, Error};

/// A new account.
#[derive(Debug)]
pub struct NewUser {
    /// Its id.
    pub id: String,
    /// Its e-mail, in lower case.
    pub email: String,
    /// The name that others see.
    pub name: String,
    /// The password's PHC string.
    pub password_hash: String,
    /// Seconds since 1970-01-01 UTC.
    pub created_at: i64,
}

/// An account, as a login needs it.
#[derive(Debug)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Its e-mail, in lower case.
    pub email: String,
    /// The name that others see.
    pub name: String,
    /// The password's PHC string.
    pub password_hash: String,
    /// Whether it may not sign in.
    pub disabled: bool,
}

impl Database {
    /// Adds an account.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] if the e-mail has one, [`Error::Failed`].
    pub async fn insert_user(&self, user: NewUser) -> Result<(), Error> {
        let sql = "INSERT INTO users (id, email, name, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)";
        self.run(|pool| async move {
            sqlx::query(sql)
                .bind(user.id)
                .bind(user.email)
                .bind(user.name)
                .bind(user.password_hash)
                .bind(user.created_at)
                .execute(&pool)
                .await
        })
        .await?;
        Ok(())
    }

    /// The account with this e-mail, in lower case.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn user_by_email(&self, email: String) -> Result<Option<User>, Error> {
        let sql = "SELECT id, email, name, password_hash, disabled_at FROM users WHERE email = $1";
        self.run(|pool| async move {
            let Some(row) = sqlx::query(sql).bind(email).fetch_optional(&pool).await? else {
                return Ok(None);
            };
            Ok(Some(User {
                id: row.try_get("id")?,
                email: row.try_get("email")?,
                name: row.try_get("name")?,
                password_hash: row.try_get("password_hash")?,
                disabled: row.try_get::<Option<i64>, _>("disabled_at")?.is_some(),
            }))
        })
        .await
    }
}
