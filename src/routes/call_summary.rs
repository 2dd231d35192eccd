//! `GET /callSummary/R`: the text of the summary of an ended call.

use actix_web::web::{Data, ReqData};

use crate::auth::principal::Principal;
use crate::cache::CachedResponse;
use crate::extract::room::RoomParam;
use crate::request_context::RequestContext;
use crate::response::ApiError;
use crate::summaries::Summaries;

pub(super) async fn show(
    context: ReqData<RequestContext>,
    principal: ReqData<Principal>,
    RoomParam(room): RoomParam,
    summaries: Data<Summaries>,
) -> Result<CachedResponse, ApiError> {
    Ok(summaries.read(&principal, &room, &context).await?)
}
