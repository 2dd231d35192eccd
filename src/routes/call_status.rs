//! `GET /callStatus?roomName=R`: whether a call is transcribed and recorded.

use actix_web::web;

use super::room_param::RoomParam;
use crate::admin_control::Endpoint;
use crate::asker::Asker;
use crate::cache::{CachedResponse, Responses};
use crate::caller::Caller;
use crate::responders::ApiError;

pub(super) async fn show(
    asker: Asker,
    caller: Caller,
    RoomParam(room): RoomParam,
    responses: web::Data<Responses>,
) -> Result<CachedResponse, ApiError> {
    if !caller.may_enter(&room) {
        return Err(ApiError::Forbidden);
    }
    Ok(responses.get(Endpoint::SessionsStatus, Some(&room), &asker).await?)
}
