//! `POST /auth/login`: signs a user in.

use actix_web::web;
use serde::Serialize;

use super::body::Body;
use crate::accounts::{Accounts, LoggedIn};
use crate::responders::{ApiError, Success};

/// The contract's answer to a login.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Login {
    token: String,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: String,
    user: User,
}

#[derive(Serialize)]
struct User {
    id: String,
    email: String,
    name: String,
}

pub(super) async fn log_in(body: Body, accounts: web::Data<Accounts>) -> Result<Success<Login>, ApiError> {
    let logged_in = accounts.log_in(body.text("email")?, body.text("password")?).await?;
    Ok(Success(Login::from(logged_in)))
}

impl From<LoggedIn> for Login {
    fn from(login: LoggedIn) -> Self {
        Self {
            token: login.token,
            token_type: "Bearer",
            expires_in: login.expires_in.as_secs(),
            refresh_token: login.refresh_token,
            user: User { id: login.id, email: login.email, name: login.name },
        }
    }
}
