//! `GET /callStatus?roomName=R`: whether a call is transcribed and recorded.

use actix_web::web::{Data, ReqData};

use crate::admin_control::Endpoint;
use crate::auth::room_access::RoomAction;
use crate::cache::{CachedResponse, Responses};
use crate::extract::room::RoomParam;
use crate::middleware::authorize::Authorizer;
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn show(
    context: ReqData<RequestContext>,
    (room, authorizer): (RoomParam, Authorizer),
    responses: Data<Responses>,
) -> Result<CachedResponse, ApiError> {
    let room = authorizer.permit(room.0, RoomAction::Status).await?;
    Ok(responses.get(Endpoint::SessionsStatus, Some(&room), &context).await?)
}
