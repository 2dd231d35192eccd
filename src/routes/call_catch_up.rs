//! `GET /callCatchUp/R`: the catch-up of a call for late joiners.

use actix_web::web::{Data, ReqData};

use crate::auth::room_access::PermittedRoom;
use crate::catch_up::{CatchUp, CatchUpResponse};
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn show(
    context: ReqData<RequestContext>,
    room: PermittedRoom,
    catch_up: Data<CatchUp>,
) -> Result<CatchUpResponse, ApiError> {
    Ok(catch_up.read(&room, &context).await?)
}
