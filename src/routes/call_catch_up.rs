//! `GET /callCatchUp/R`: the catch-up of a call for late joiners.

use actix_web::web::{Data, ReqData};

use crate::auth::room_access::RoomAction;
use crate::catch_up::{CatchUp, CatchUpResponse};
use crate::extract::room::RoomParam;
use crate::middleware::authorize::Authorizer;
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn show(
    context: ReqData<RequestContext>,
    (room, authorizer): (RoomParam, Authorizer),
    catch_up: Data<CatchUp>,
) -> Result<CatchUpResponse, ApiError> {
    let room = authorizer.permit(room.0, RoomAction::CatchUp).await?;
    Ok(catch_up.read(&room, &context).await?)
}
