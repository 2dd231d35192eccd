//! `GET /callConfig`: the features that are turned on.

use actix_web::web;

use crate::admin_control::Endpoint;
use crate::cache::{CachedResponse, Responses};
use crate::request_context::RequestContext;
use crate::response::ApiError;

pub(super) async fn show(asker: RequestContext, responses: web::Data<Responses>) -> Result<CachedResponse, ApiError> {
    Ok(responses.get(Endpoint::Configuration, None, &asker).await?)
}
