//! `GET /callSummary/R`: the text of the summary of an ended call.

use actix_web::web::{Data, ReqData};

use crate::auth::room_access::RoomAction;
use crate::cache::CachedResponse;
use crate::extract::room::RoomParam;
use crate::middleware::authorize::Authorizer;
use crate::request_context::RequestContext;
use crate::response::ApiError;
use crate::summaries::Summaries;

pub(super) async fn show(
    context: ReqData<RequestContext>,
    (room, authorizer): (RoomParam, Authorizer),
    summaries: Data<Summaries>,
) -> Result<CachedResponse, ApiError> {
    let room = authorizer.permit(room.0, RoomAction::Summary).await?;
    Ok(summaries.read(&room, &context).await?)
}
