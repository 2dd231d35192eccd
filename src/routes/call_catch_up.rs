//! `GET /callCatchUp/R`: what was said so far, for somebody who joined late.

use actix_web::web;
use serde_json::value::RawValue;

use super::room_param::RoomParam;
use crate::caller::Caller;
use crate::catch_up::CatchUp;
use crate::responders::{ApiError, Success};

pub(super) async fn show(
    caller: Caller,
    RoomParam(room): RoomParam,
    catch_up: web::Data<CatchUp>,
) -> Result<Success<Box<RawValue>>, ApiError> {
    Ok(Success(catch_up.read(&caller, &room).await?))
}
