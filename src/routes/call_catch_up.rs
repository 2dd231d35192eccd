//! `GET /callCatchUp/R`: what was said so far, for somebody who joined late.

use actix_web::web;
use serde_json::json;

use super::room_param::RoomParam;
use crate::asker::Asker;
use crate::caller::Caller;
use crate::catch_up::{CatchUp, CaughtUp};
use crate::openapi::Operation;
use crate::responders::ApiError;

pub(super) async fn show(
    asker: Asker,
    caller: Caller,
    RoomParam(room): RoomParam,
    catch_up: web::Data<CatchUp>,
) -> Result<CaughtUp, ApiError> {
    Ok(catch_up.read(&caller, &room, &asker).await?)
}

pub(super) fn document() -> Operation {
    Operation::new("callCatchUp", "Calls")
        .says(
            "Poll it with the `ETag`: a 304 costs nothing. However many ask for a room at once, Admin Control gets one call. An \
             empty text means that nothing was written down so far. `data` is what Admin Control sent, normally a string.",
        )
        .of_room()
        .kept()
        .answers(&json!({"description": "The catch-up, normally a string."}), &json!("Meeting Summary content"))
        .reasoned()
        .fails([ApiError::Forbidden])
}
