//! `GET /meetings`: the meetings that ended.

use actix_web::web::{Data, ReqData};

use crate::admin_control::Endpoint;
use crate::cache::{CachedResponse, Responses};
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn list(context: ReqData<RequestContext>, responses: Data<Responses>) -> Result<CachedResponse, ApiError> {
    Ok(responses.get(Endpoint::Meetings, None, &context).await?)
}
