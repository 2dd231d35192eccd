//! What bounds a request: the number in flight and its deadline. Set by the middleware, looked at while a body is read.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::response::ApiError;

/// When the request must be complete; in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

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
