//! `GET /callConfig`: the features that are turned on.

use actix_web::web;

use crate::admin_control::Endpoint;
use crate::asker::Asker;
use crate::cache::{CachedResponse, Responses};
use crate::responders::ApiError;

pub(super) async fn show(asker: Asker, responses: web::Data<Responses>) -> Result<CachedResponse, ApiError> {
    Ok(responses.get(Endpoint::Configuration, None, &asker).await?)
}
