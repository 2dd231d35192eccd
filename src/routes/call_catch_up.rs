//! `GET /callCatchUp/R`: what was said so far, for somebody who joined late.

use actix_web::web;

use crate::auth::principal::Principal;
use crate::catch_up::{CatchUp, CatchUpResponse};
use crate::extract::room::RoomParam;
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn show(
    asker: RequestContext,
    caller: Principal,
    RoomParam(room): RoomParam,
    catch_up: web::Data<CatchUp>,
) -> Result<CatchUpResponse, ApiError> {
    Ok(catch_up.read(&caller, &room, &asker).await?)
}
