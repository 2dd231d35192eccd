//! `POST /auth/streamticket`: lets a browser, whose `EventSource` can send no header, open one stream of one room.

use actix_web::web;

use crate::auth::principal::{Principal, TokenScope};
use crate::auth::token::Tokens;
use crate::extract::json_body::Body;
use crate::response::{ApiError, Success};

pub(super) async fn create(
    caller: Principal,
    admitted: TokenScope,
    body: Body,
    tokens: web::Data<Tokens>,
) -> Result<Success<String>, ApiError> {
    let room = body.room("room")?;
    if !caller.may_enter(&room) {
        return Err(ApiError::Forbidden);
    }
    Ok(Success(tokens.issue_stream_ticket(&caller, &room, admitted.expires_at)))
}
