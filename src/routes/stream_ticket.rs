//! `POST /auth/streamticket`: lets a browser, whose `EventSource` can send no header, open one stream of one room.

use actix_web::web;
use serde_json::json;

use super::body::Body;
use crate::caller::{Admitted, Caller};
use crate::jwt::Tokens;
use crate::openapi::{self, Operation};
use crate::responders::{ApiError, Success};

pub(super) async fn create(
    caller: Caller,
    admitted: Admitted,
    body: Body,
    tokens: web::Data<Tokens>,
) -> Result<Success<String>, ApiError> {
    let room = body.room("room")?;
    if !caller.may_enter(&room) {
        return Err(ApiError::Forbidden);
    }
    Ok(Success(tokens.ticket(&caller, &room, admitted.until)))
}

pub(super) fn document() -> Operation {
    Operation::new("createStreamTicket", "Calls")
        .says("It opens `GET /callCatchUp/{roomName}/live?ticket=…` once, within 30 seconds, on any replica.")
        .takes(
            &json!({"type": "object", "required": ["room"], "properties": {"room": openapi::line("room-name", "The room.")}}),
            &json!({"room": "r1"}),
        )
        .answers(
            &json!({"type": "string", "description": "The ticket."}),
            &json!("eyJhbGciOi….eyJyb29tTmFtZSI6….kX9vQ2mZ7rT4"),
        )
        .fails([ApiError::Forbidden])
}
