//! `GET /meetings`: the meetings that ended.

use actix_web::web;

use crate::answer::Served;
use crate::asker::Asker;
use crate::pass_through::PassThrough;
use crate::responders::ApiError;

pub(super) async fn list(asker: Asker, pass_through: web::Data<PassThrough>) -> Result<Served, ApiError> {
    Ok(pass_through.meetings(&asker).await?)
}
