//! Load shedding: 503 above a number of requests in flight, before any work is done.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::responders::ApiError;

/// Health is always answered.
const HEALTH: &str = "/health/";

/// Limits the requests in flight, over all workers (`APP_SERVER__MAX_IN_FLIGHT`).
#[derive(Debug)]
pub struct InFlightLimit(Arc<Semaphore>);

impl InFlightLimit {
    /// Creates a limit of so many requests.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))))
    }

    /// Takes a permit.
    ///
    /// # Errors
    ///
    /// [`ApiError::Overloaded`] if there is none.
    pub fn acquire(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| ApiError::Overloaded)
    }
}

/// Calls the inner services with a permit, or answers 503.
///
/// # Errors
///
/// [`ApiError::Overloaded`], and those of the inner services.
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
