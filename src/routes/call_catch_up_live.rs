//! `GET /callCatchUp/R/live`: the catch-up, and each new version, as server-sent events.

use actix_web::HttpRequest;
use actix_web::web::{Data, ReqData};
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
    (principal, scope, RoomParam(room)): (ReqData<Principal>, ReqData<TokenScope>, RoomParam),
    (catch_up, limit): (Data<CatchUp>, Data<StreamLimit>),
    (accounts, draining): (Data<Accounts>, Data<CancellationToken>),
) -> Result<EventStream, ApiError> {
    if !scope.covers(&room) || !principal.may_enter(&room) {
        return Err(ApiError::Forbidden);
    }
    let permit = limit.acquire(&principal).ok_or(ApiError::TooManyStreams)?;
    redeem_ticket(&request, &accounts, &scope).await?;
    let subscription = catch_up.subscribe(&principal, &room)?;
    let lease = accounts.lease_stream(&principal, scope.expires_at);
    Ok(EventStream::new(subscription, lease, permit, draining.get_ref().clone(), last_event_id(&request)))
}
