//! `GET /callStatus?roomName=R`: whether a call is transcribed and recorded.

use actix_web::web::{Data, ReqData};

use crate::admin_control::Endpoint;
use crate::auth::room_access::PermittedRoom;
use crate::cache::{CachedResponse, Responses};
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn show(
    context: ReqData<RequestContext>,
    room: PermittedRoom,
    responses: Data<Responses>,
) -> Result<CachedResponse, ApiError> {
    Ok(responses.get(Endpoint::SessionsStatus, Some(&room), &context).await?)
}
