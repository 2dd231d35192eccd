//! `GET /callSummary/R`: the text of the summary of an ended call.

use actix_web::web;

use super::room_param::RoomParam;
use crate::asker::Asker;
use crate::cache::CachedResponse;
use crate::caller::Caller;
use crate::responders::ApiError;
use crate::summaries::Summaries;

pub(super) async fn show(
    asker: Asker,
    caller: Caller,
    RoomParam(room): RoomParam,
    summaries: web::Data<Summaries>,
) -> Result<CachedResponse, ApiError> {
    Ok(summaries.read(&caller, &room, &asker).await?)
}
