//! `GET /callStatus?roomName=R`: whether a call is transcribed and recorded.

use actix_web::web;
use serde_json::json;

use super::room_param::RoomParam;
use crate::answer::Served;
use crate::asker::Asker;
use crate::caller::Caller;
use crate::openapi::Operation;
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

pub(super) fn document() -> Operation {
    let schema = json!({
        "type": "object",
        "required": ["transcript_status", "recording_status"],
        "properties": {
            "transcript_status": {"type": "boolean", "description": "Whether what is said is written down."},
            "recording_status": {"type": "boolean"},
        },
    });
    Operation::new("callStatus", "Calls")
        .of_room()
        .kept()
        .answers(&schema, &json!({"transcript_status": false, "recording_status": false}))
        .fails([ApiError::Forbidden, ApiError::NotFound])
}
