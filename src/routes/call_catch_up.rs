//! `GET /callCatchUp/R`: what was said so far, for somebody who joined late.

use actix_web::web;

use super::room_param::RoomParam;
use crate::answer::Served;
use crate::caller::Caller;
use crate::catch_up::CatchUp;
use crate::responders::ApiError;

pub(super) async fn show(
    caller: Caller,
    RoomParam(room): RoomParam,
    catch_up: web::Data<CatchUp>,
) -> Result<Served, ApiError> {
    Ok(catch_up.read(&caller, &room).await?)
}
