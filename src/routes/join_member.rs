//! `GET /auth/joinmember`: issues a guest token for one room.

use actix_web::web::Data;

use crate::auth::token::Tokens;
use crate::extract::room::RoomParam;
use crate::response::{ApiError, Success};

pub(super) async fn create(RoomParam(room): RoomParam, tokens: Data<Tokens>) -> Result<Success<String>, ApiError> {
    tokens.issue_guest_token(&room).map(Success).ok_or(ApiError::Forbidden)
}
