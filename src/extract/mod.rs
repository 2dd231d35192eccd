//! Extractors: the parsed and validated inputs of handlers.

pub(crate) mod client_address;
pub(crate) mod in_flight;
pub(crate) mod json_body;
pub(crate) mod room;

use actix_web::{HttpRequest, web};

use crate::response::ApiError;

/// Returns shared data that the composition root has registered.
pub(crate) fn app_data<T: 'static>(request: &HttpRequest) -> Result<&T, ApiError> {
    request.app_data::<web::Data<T>>().map(|data| &***data).ok_or(ApiError::Internal)
}
