//! `GET /callSummary/R`: the text of the summary of an ended call.

use actix_web::web;
use serde_json::json;

use super::room_param::RoomParam;
use crate::answer::Served;
use crate::asker::Asker;
use crate::caller::Caller;
use crate::openapi::Operation;
use crate::responders::ApiError;
use crate::summaries::Summaries;

pub(super) async fn show(
    asker: Asker,
    caller: Caller,
    RoomParam(room): RoomParam,
    summaries: web::Data<Summaries>,
) -> Result<Served, ApiError> {
    Ok(summaries.read(&caller, &room, &asker).await?)
}

pub(super) fn document() -> Operation {
    Operation::new("callSummary", "Calls")
        .says("The text of the summary's file. 404 until there is one.")
        .of_room()
        .kept()
        .answers(&json!({"type": "string"}), &json!("What was decided."))
        .fails([ApiError::Forbidden, ApiError::NotFound])
}
