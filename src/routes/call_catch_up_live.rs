//! `GET /callCatchUp/R/live`: the catch-up now, and each new one as it appears, for whoever keeps a panel open.

use actix_web::{HttpRequest, web};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::auth::principal::{Principal, TokenScope};
use crate::catch_up::CatchUp;
use crate::catch_up::stream_limit::StreamLimit;
use crate::extract::room::RoomParam;
use crate::middleware::authenticate::redeem_ticket;
use crate::response::ApiError;
use crate::response::event_stream::{EventStream, last_event_id};

pub(super) async fn follow(
    request: HttpRequest,
    (caller, admitted, RoomParam(room)): (Principal, TokenScope, RoomParam),
    (catch_up, limit): (web::Data<CatchUp>, web::Data<StreamLimit>),
    (accounts, draining): (web::Data<Accounts>, web::Data<CancellationToken>),
) -> Result<EventStream, ApiError> {
    if !admitted.covers(&room) || !caller.may_enter(&room) {
        return Err(ApiError::Forbidden);
    }
    let permit = limit.acquire(&caller).ok_or(ApiError::TooManyStreams)?;
    redeem_ticket(&request, &accounts, &admitted).await?;
    let subscription = catch_up.subscribe(&caller, &room)?;
    let lease = accounts.lease_stream(&caller, admitted.expires_at);
    Ok(EventStream::new(subscription, lease, permit, draining.get_ref().clone(), last_event_id(&request)))
}
