//! `GET /callCatchUp/R`: what was said so far, for somebody who joined late.

use actix_web::web;

use super::room_param::RoomParam;
use crate::asker::Asker;
use crate::caller::Caller;
use crate::catch_up::{CatchUp, CaughtUp};
use crate::responders::ApiError;

pub(super) async fn show(
    asker: Asker,
    caller: Caller,
    RoomParam(room): RoomParam,
    catch_up: web::Data<CatchUp>,
) -> Result<CaughtUp, ApiError> {
    Ok(catch_up.read(&caller, &room, &asker).await?)
}
