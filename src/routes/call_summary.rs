//! `GET /callSummary/R`: the text of the summary of an ended call.

use actix_web::web;

use super::room_param::RoomParam;
use crate::caller::Caller;
use crate::responders::{ApiError, Success};
use crate::summaries::Summaries;

pub(super) async fn show(
    caller: Caller,
    RoomParam(room): RoomParam,
    summaries: web::Data<Summaries>,
) -> Result<Success<String>, ApiError> {
    Ok(Success(summaries.read(&caller, &room).await?))
}
