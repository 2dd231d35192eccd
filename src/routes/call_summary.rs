//! `GET /callSummary/R`: the text of the summary of an ended call.

use actix_web::web::{Data, ReqData};

use crate::auth::room_access::PermittedRoom;
use crate::cache::CachedResponse;
use crate::request_context::RequestContext;
use crate::response::ApiError;
use crate::summaries::Summaries;

pub(super) async fn show(
    context: ReqData<RequestContext>,
    room: PermittedRoom,
    summaries: Data<Summaries>,
) -> Result<CachedResponse, ApiError> {
    Ok(summaries.read(&room, &context).await?)
}
