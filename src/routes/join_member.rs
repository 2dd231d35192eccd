//! `GET /auth/joinmember`: lets a guest into one room.

use actix_web::web;

use crate::auth::token::Tokens;
use crate::extract::room::RoomParam;
use crate::response::{ApiError, Success};

pub(super) async fn create(RoomParam(room): RoomParam, tokens: web::Data<Tokens>) -> Result<Success<String>, ApiError> {
    tokens.issue_guest_token(&room).map(Success).ok_or(ApiError::Forbidden)
}
