//! Load shedding: 503 above a number of requests in flight, before any work is done.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};

use crate::extract::in_flight::InFlightLimit;

/// Health is always answered.
const HEALTH: &str = "/health/";

/// Calls the inner services with a permit, or answers 503.
///
/// # Errors
///
/// [`ApiError::Overloaded`](crate::response::ApiError::Overloaded), and those of the inner services.
pub async fn load_shed<B: MessageBody>(
    limit: web::Data<InFlightLimit>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !request.path().starts_with(HEALTH) {
        // Given back with the request, once its response is ready; or earlier, while its body is read.
        request.extensions_mut().insert(limit.acquire()?);
    }
    next.call(request).await
}
