//! `GET /callStatus?roomName=R`: whether a call is transcribed and recorded.

use actix_web::web;

use super::room_param::RoomParam;
use crate::answer::Served;
use crate::asker::Asker;
use crate::caller::Caller;
use crate::pass_through::PassThrough;
use crate::responders::ApiError;

pub(super) async fn show(
    asker: Asker,
    caller: Caller,
    RoomParam(room): RoomParam,
    pass_through: web::Data<PassThrough>,
) -> Result<Served, ApiError> {
    if !caller.may_enter(&room) {
        return Err(ApiError::Forbidden);
    }
    Ok(pass_through.status(&room, &asker).await?)
}
