//! `GET /meetings`: the meetings that ended.

use actix_web::web;

use crate::admin_control::Endpoint;
use crate::asker::Asker;
use crate::cache::{CachedResponse, Responses};
use crate::responders::ApiError;

pub(super) async fn list(asker: Asker, responses: web::Data<Responses>) -> Result<CachedResponse, ApiError> {
    Ok(responses.get(Endpoint::Meetings, None, &asker).await?)
}
