//! `GET /callConfig`: the features that are turned on.

use actix_web::web;
use serde_json::value::RawValue;

use crate::admin_control::AdminControl;
use crate::responders::{ApiError, Success};

pub(super) async fn show(admin_control: web::Data<AdminControl>) -> Result<Success<Box<RawValue>>, ApiError> {
    Ok(Success(admin_control.configuration().await?))
}
