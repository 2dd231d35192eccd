//! `POST /auth/streamticket`: lets a browser, whose `EventSource` can send no header, open one stream of one room.

use actix_web::web;

use super::body::Body;
use crate::caller::{Admitted, Caller};
use crate::jwt::Tokens;
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
