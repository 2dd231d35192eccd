//! `GET /callStatus?roomName=R`: whether a call is transcribed and recorded.

use actix_web::web;
use serde_json::value::RawValue;

use super::room_param::RoomParam;
use crate::admin_control::AdminControl;
use crate::caller::Caller;
use crate::responders::{ApiError, Success};

pub(super) async fn show(
    caller: Caller,
    RoomParam(room): RoomParam,
    admin_control: web::Data<AdminControl>,
) -> Result<Success<Box<RawValue>>, ApiError> {
    if !caller.may_enter(&room) {
        return Err(ApiError::Forbidden);
    }
    Ok(Success(admin_control.sessions_status(&room).await?))
}
