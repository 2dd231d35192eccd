//! `GET /auth/joinmember`: lets a guest into one room.

use actix_web::web;

use super::room_param::RoomParam;
use crate::jwt::Tokens;
use crate::responders::{ApiError, Success};

pub(super) async fn create(RoomParam(room): RoomParam, tokens: web::Data<Tokens>) -> Result<Success<String>, ApiError> {
    tokens.for_new_guest(&room).map(Success).ok_or(ApiError::Forbidden)
}
