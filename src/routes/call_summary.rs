//! `GET /callSummary/R`: the text of the summary of an ended call.

use actix_web::web;

use crate::auth::principal::Principal;
use crate::cache::CachedResponse;
use crate::extract::room::RoomParam;
use crate::request_context::RequestContext;
use crate::response::ApiError;
use crate::summaries::Summaries;

pub(super) async fn show(
    asker: RequestContext,
    caller: Principal,
    RoomParam(room): RoomParam,
    summaries: web::Data<Summaries>,
) -> Result<CachedResponse, ApiError> {
    Ok(summaries.read(&caller, &room, &asker).await?)
}
