//! `GET /callSummary/R`: the text of the summary of an ended call.

use actix_web::web;

use super::room_param::RoomParam;
use crate::answer::Served;
use crate::asker::Asker;
use crate::caller::Caller;
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
