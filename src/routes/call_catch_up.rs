//! `GET /callCatchUp/R`: the catch-up of a call for late joiners.

use actix_web::web::{Data, ReqData};

use crate::auth::principal::Principal;
use crate::catch_up::{CatchUp, CatchUpResponse};
use crate::extract::room::RoomParam;
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn show(
    context: ReqData<RequestContext>,
    principal: ReqData<Principal>,
    RoomParam(room): RoomParam,
    catch_up: Data<CatchUp>,
) -> Result<CatchUpResponse, ApiError> {
    Ok(catch_up.read(&principal, &room, &context).await?)
}
