//! The limits of a request: the number in flight, and a deadline.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::response::ApiError;

/// The deadline of the request, as request data.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(pub Instant);

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
