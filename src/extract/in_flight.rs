//! The limits of a request: the number in flight, and a deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpMessage as _, HttpRequest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::app_data;
use crate::request_context::RequestContext;
use crate::response::ApiError;

/// The time limit of a request, its body included (`APP_SERVER__REQUEST_TIMEOUT`).
pub(crate) struct RequestTimeout(pub Duration);

/// Returns the deadline of a request.
pub(crate) fn deadline(request: &HttpRequest) -> Result<Instant, ApiError> {
    let started = request.extensions().get().map(RequestContext::started).ok_or(ApiError::Internal)?;
    Ok(started + app_data::<RequestTimeout>(request)?.0)
}

/// Limits the requests in flight, over all workers (`APP_SERVER__MAX_IN_FLIGHT`).
pub(crate) struct InFlightLimit(Arc<Semaphore>);

impl InFlightLimit {
    /// Creates a limit of `limit` requests.
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))))
    }

    /// Acquires a permit, or fails with [`ApiError::Overloaded`].
    pub(crate) fn acquire(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| ApiError::Overloaded)
    }
}
