//! `GET /callCatchUp/R/live`: the catch-up, and each new version, as server-sent events.

use actix_web::HttpRequest;
use actix_web::web::Data;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::auth::room_access::RoomAction;
use crate::catch_up::CatchUp;
use crate::catch_up::stream_limit::StreamLimit;
use crate::extract::room::RoomParam;
use crate::middleware::authorize::Authorizer;
use crate::response::ApiError;
use crate::response::event_stream::{EventStream, last_event_id};

pub(super) async fn follow(
    request: HttpRequest,
    (room, authorizer): (RoomParam, Authorizer),
    (catch_up, limit): (Data<CatchUp>, Data<StreamLimit>),
    (accounts, draining): (Data<Accounts>, Data<CancellationToken>),
) -> Result<EventStream, ApiError> {
    let room = authorizer.permit(room.0, RoomAction::CatchUp).await?;
    let permit = limit.acquire(&authorizer.credentials().principal).ok_or(ApiError::TooManyStreams)?;
    // Last, because it redeems the ticket.
    let lease = accounts.lease_stream(authorizer.into_requester(), &room).await?;
    Ok(EventStream::new(catch_up.subscribe(&room), lease, permit, draining.get_ref().clone(), last_event_id(&request)))
}
