//! `GET /meetings`: the meetings that ended.

use actix_web::web;
use serde_json::value::RawValue;

use crate::admin_control::AdminControl;
use crate::responders::{ApiError, Success};

pub(super) async fn list(admin_control: web::Data<AdminControl>) -> Result<Success<Box<RawValue>>, ApiError> {
    Ok(Success(admin_control.meetings().await?))
}
