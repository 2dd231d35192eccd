//! `POST /auth/streamticket`: a ticket for one stream, because `EventSource` sends no header.

use actix_web::web::Data;

use crate::auth::principal::Credentials;
use crate::auth::room_access::RoomAction;
use crate::auth::token::Tokens;
use crate::extract::json_body::JsonBody;
use crate::middleware::authorize::Authorizer;
use crate::response::{ApiError, Success};

pub(super) async fn create(
    authorizer: Authorizer,
    body: JsonBody,
    tokens: Data<Tokens>,
) -> Result<Success<String>, ApiError> {
    let room = authorizer.permit(body.room("room")?, RoomAction::CatchUp).await?;
    let Credentials { principal, expires_at, .. } = authorizer.credentials();
    tokens.issue_stream_ticket(principal, &room, *expires_at).map(Success).ok_or(ApiError::Forbidden)
}
