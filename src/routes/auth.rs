//! `POST /auth/login`, `/auth/refresh` and `/auth/logout`: a session's start, its going on, and its end.

use actix_web::web;
use serde::Serialize;

use crate::accounts::{Accounts, Session};
use crate::extract::json_body::Body;
use crate::request_context::RequestContext;
use crate::response::{ApiError, Success};

/// The contract's answer to a login and to a refresh.
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

pub(super) async fn log_in(
    body: Body,
    asker: RequestContext,
    accounts: web::Data<Accounts>,
) -> Result<Success<Login>, ApiError> {
    let session = accounts.log_in(body.text("email")?, body.text("password")?, &asker).await?;
    Ok(Success(Login::from(session)))
}

pub(super) async fn refresh(
    body: Body,
    asker: RequestContext,
    accounts: web::Data<Accounts>,
) -> Result<Success<Login>, ApiError> {
    let session = accounts.refresh(body.text("refreshToken")?, &asker).await?;
    Ok(Success(Login::from(session)))
}

pub(super) async fn log_out(
    body: Body,
    asker: RequestContext,
    accounts: web::Data<Accounts>,
) -> Result<Success<()>, ApiError> {
    accounts.log_out(body.text("refreshToken")?, &asker).await?;
    Ok(Success(()))
}

impl From<Session> for Login {
    fn from(login: Session) -> Self {
        Self {
            token: login.token,
            token_type: "Bearer",
            expires_in: login.expires_in.as_secs(),
            refresh_token: login.refresh_token,
            user: User { id: login.id, email: login.email, name: login.name },
        }
    }
}
