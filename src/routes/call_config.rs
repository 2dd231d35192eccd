//! `GET /callConfig`: the features that are turned on.

use actix_web::web;

use crate::answer::Served;
use crate::asker::Asker;
use crate::pass_through::PassThrough;
use crate::responders::ApiError;

pub(super) async fn show(asker: Asker, pass_through: web::Data<PassThrough>) -> Result<Served, ApiError> {
    Ok(pass_through.configuration(&asker).await?)
}
