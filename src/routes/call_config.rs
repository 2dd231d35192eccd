//! `GET /callConfig`: the features that are turned on.

use actix_web::web;

use crate::answer::Served;
use crate::pass_through::PassThrough;
use crate::responders::ApiError;

pub(super) async fn show(pass_through: web::Data<PassThrough>) -> Result<Served, ApiError> {
    Ok(pass_through.configuration().await?)
}
