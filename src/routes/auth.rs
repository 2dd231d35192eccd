//! `POST /auth/login`, `/auth/refresh` and `/auth/logout`: a session's start, its going on, and its end.

use actix_web::web;
use serde::Serialize;
use serde_json::{Value, json};

use super::body::Body;
use crate::accounts::{Accounts, LoggedIn};
use crate::asker::Asker;
use crate::openapi::Operation;
use crate::responders::{ApiError, Success};

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

pub(super) async fn log_in(body: Body, asker: Asker, accounts: web::Data<Accounts>) -> Result<Success<Login>, ApiError> {
    let logged_in = accounts.log_in(body.text("email")?, body.text("password")?, &asker).await?;
    Ok(Success(Login::from(logged_in)))
}

pub(super) async fn refresh(body: Body, asker: Asker, accounts: web::Data<Accounts>) -> Result<Success<Login>, ApiError> {
    let logged_in = accounts.refresh(body.text("refreshToken")?, &asker).await?;
    Ok(Success(Login::from(logged_in)))
}

pub(super) async fn log_out(body: Body, asker: Asker, accounts: web::Data<Accounts>) -> Result<Success<()>, ApiError> {
    accounts.log_out(body.text("refreshToken")?, &asker).await?;
    Ok(Success(()))
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

pub(super) fn log_in_document() -> Operation {
    let schema = object(&json!({
        "email": {"type": "string", "format": "email", "minLength": 1, "maxLength": 254},
        "password": {"type": "string", "format": "password", "minLength": 1, "maxLength": 1024},
    }));
    session("login")
        .says("Keep the refresh token out of reach of other people's scripts: it is the session.")
        .takes(&schema, &json!({"email": "demo@example.com", "password": "demo of a late joiner"}))
        .fails([ApiError::Unauthorized, ApiError::Throttled(std::time::Duration::from_secs(1))])
}

pub(super) fn refresh_document() -> Operation {
    session("refresh")
        .says(
            "The refresh token is spent then. For ten seconds it answers with the very same new one, so that a lost answer logs \
             nobody out; used later, it ends the session.",
        )
        .takes(&refresh_token(), &json!({"refreshToken": "5f1c…"}))
        .fails([ApiError::Unauthorized])
}

pub(super) fn log_out_document() -> Operation {
    Operation::new("logout", "Sessions")
        .says("Its tokens are refused within a second, on other replicas within two. An unknown token is `null` too.")
        .takes(&refresh_token(), &json!({"refreshToken": "5f1c…"}))
        .answers(&json!({"type": "null"}), &Value::Null)
}

/// What login and refresh have in common: their answer.
fn session(id: &'static str) -> Operation {
    let text = json!({"type": "string"});
    let schema = object(&json!({
        "token": text,
        "tokenType": {"const": "Bearer"},
        "expiresIn": {"type": "integer", "minimum": 1, "description": "Seconds."},
        "refreshToken": text,
        "user": object(&json!({"id": text, "email": text, "name": text})),
    }));
    let example = json!({
        "token": "eyJhbGciOi….eyJraW5kIjoidXNlciI….kX9vQ2mZ7rT4",
        "tokenType": "Bearer",
        "expiresIn": 3600,
        "refreshToken": "5f1c…",
        "user": {"id": "3fJ0c2tq8Zb1", "email": "demo@example.com", "name": "Demo"},
    });
    Operation::new(id, "Sessions").answers(&schema, &example)
}

fn refresh_token() -> Value {
    object(&json!({"refreshToken": {"type": "string", "minLength": 1}}))
}

/// An object with exactly these members, all required.
fn object(properties: &Value) -> Value {
    let required: Vec<&String> = properties.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
    json!({"type": "object", "required": required, "properties": properties})
}
