//! `POST /auth/login`, `/auth/refresh` and `/auth/logout`: start, renew and end a session.

use actix_web::web::{Data, ReqData};
use serde_json::{Value, json};

use crate::accounts::{Accounts, Session};
use crate::extract::json_body::JsonBody;
use crate::request_context::RequestContext;
use crate::response::{ApiError, Success};

pub(super) async fn log_in(
    body: JsonBody,
    context: ReqData<RequestContext>,
    accounts: Data<Accounts>,
) -> Result<Success<Value>, ApiError> {
    Ok(session(&accounts.log_in(body.text("email")?, body.text("password")?, &context).await?))
}

pub(super) async fn refresh(
    body: JsonBody,
    context: ReqData<RequestContext>,
    accounts: Data<Accounts>,
) -> Result<Success<Value>, ApiError> {
    Ok(session(&accounts.refresh(body.text("refreshToken")?, &context).await?))
}

pub(super) async fn log_out(
    body: JsonBody,
    context: ReqData<RequestContext>,
    accounts: Data<Accounts>,
) -> Result<Success<()>, ApiError> {
    Ok(Success(accounts.log_out(body.text("refreshToken")?, &context).await?))
}

fn session(session: &Session) -> Success<Value> {
    let record = &session.record;
    Success(json!({
        "token": session.token,
        "tokenType": "Bearer",
        "expiresIn": session.expires_in.as_secs(),
        "refreshToken": session.refresh_token,
        "user": {"id": record.user_id, "email": record.email, "name": record.name},
    }))
}
