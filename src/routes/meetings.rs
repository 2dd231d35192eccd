//! `GET /meetings`: the meetings that ended.

use actix_web::web::{Data, ReqData};

use crate::admin_control::Endpoint;
use crate::cache::{CachedResponse, Responses};
use crate::middleware::authorize::Authorizer;
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn list(
    context: ReqData<RequestContext>,
    authorizer: Authorizer,
    responses: Data<Responses>,
) -> Result<CachedResponse, ApiError> {
    authorizer.permit_meetings().await?;
    Ok(responses.get(Endpoint::Meetings, None, &context).await?)
}
