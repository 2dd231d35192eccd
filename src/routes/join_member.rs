//! `GET /auth/joinmember`: lets a guest into one room.

use actix_web::web;
use serde_json::json;

use super::room_param::RoomParam;
use crate::jwt::Tokens;
use crate::openapi::Operation;
use crate::responders::{ApiError, Success};

pub(super) async fn create(RoomParam(room): RoomParam, tokens: web::Data<Tokens>) -> Result<Success<String>, ApiError> {
    tokens.for_new_guest(&room).map(Success).ok_or(ApiError::Forbidden)
}

pub(super) fn document() -> Operation {
    Operation::new("joinMember", "Guests")
        .says("403 where guests are turned off.")
        .of_room()
        .answers(
            &json!({"type": "string", "description": "A token for this room alone."}),
            &json!("eyJhbGciOi….eyJyb29tTmFtZSI6….kX9vQ2mZ7rT4"),
        )
        .fails([ApiError::Forbidden])
}
