//! `GET /callStatus?roomName=R`: whether a call is transcribed and recorded.

use actix_web::web::{Data, ReqData};

use crate::admin_control::Endpoint;
use crate::auth::principal::Principal;
use crate::cache::{CachedResponse, Responses};
use crate::extract::room::RoomParam;
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn show(
    context: ReqData<RequestContext>,
    principal: ReqData<Principal>,
    RoomParam(room): RoomParam,
    responses: Data<Responses>,
) -> Result<CachedResponse, ApiError> {
    if !principal.may_enter(&room) {
        return Err(ApiError::Forbidden);
    }
    Ok(responses.get(Endpoint::SessionsStatus, Some(&room), &context).await?)
}
