//! No more requests at once than the server can work on, and no more connections: beyond that 503, before any work is done.
//!
//! Who is turned away at once can go elsewhere; who waits in a line that is too long has given up by the time of his answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};

use crate::connection::Standing;
use crate::responders::ApiError;

/// Always answered: whoever watches this server must be able to see that it lives.
const HEALTH: &str = "/health/";

/// The requests that are being worked on, over all workers, and how many there may be (`APP_SERVER__MAX_IN_FLIGHT`).
#[derive(Debug)]
pub struct InFlight {
    limit: usize,
    now: AtomicUsize,
}

/// Counts as one request until it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<InFlight>);

impl InFlight {
    /// None, and no more than `limit`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, now: AtomicUsize::new(0) }
    }

    /// One more, if there is room.
    #[must_use]
    pub fn admit(self: Arc<Self>) -> Option<Permit> {
        if self.now.fetch_add(1, Ordering::Relaxed) < self.limit {
            return Some(Permit(self));
        }
        self.now.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets a request in, or answers 503.
///
/// # Errors
///
/// [`ApiError::Overloaded`], and those of the inner services.
pub async fn admission<B: MessageBody>(
    in_flight: web::Data<InFlight>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !request.path().starts_with(HEALTH) {
        if has_no_room(&request) {
            return Err(ApiError::Overloaded.into());
        }
        let permit = in_flight.into_inner().admit().ok_or(ApiError::Overloaded)?;
        // Goes with the request, once its answer is ready; or earlier, while it waits for its body.
        request.extensions_mut().insert(permit);
    }
    next.call(request).await
}

/// Whether the request came over a connection that the server has no room for. It is answered, and that is all.
pub(super) fn has_no_room(request: &ServiceRequest) -> bool {
    request.conn_data::<Standing>().is_some_and(|standing| !standing.has_ended())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_again_once_a_request_is_done() {
        let in_flight = Arc::new(InFlight::new(2));
        let admit = || Arc::clone(&in_flight).admit();
        let (first, second) = (admit(), admit());
        assert!(first.is_some() && second.is_some() && admit().is_none());
        assert_eq!(in_flight.now.load(Ordering::Relaxed), 2);
        drop(first);
        assert!(admit().is_some());
        drop(second);
        assert_eq!(in_flight.now.load(Ordering::Relaxed), 0);
    }
}
