//! `GET /callConfig`: the features that are turned on.

use actix_web::web::{Data, ReqData};

use crate::admin_control::Endpoint;
use crate::cache::{CachedResponse, Responses};
use crate::middleware::authorize::Authorizer;
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn show(
    authorizer: Authorizer,
    context: ReqData<RequestContext>,
    responses: Data<Responses>,
) -> Result<CachedResponse, ApiError> {
    authorizer.permit_configuration()?;
    Ok(responses.get(Endpoint::Configuration, None, &context).await?)
}
