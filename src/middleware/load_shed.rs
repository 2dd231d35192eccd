//! Load shedding: 503 above the limit of requests in flight, before any work is done.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};

use super::HEALTH_PATH;
use crate::extract::in_flight::InFlightLimit;

/// Calls the inner services with a permit, or responds with 503. Health checks, and listeners without a limit, need none.
pub(crate) async fn load_shed<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    if let Some(limit) = request.app_data::<web::Data<InFlightLimit>>()
        && !request.path().starts_with(HEALTH_PATH)
    {
        let permit = limit.acquire()?;
        // Released with the request, once its response is ready; or earlier, while its body is read.
        request.extensions_mut().insert(permit);
    }
    next.call(request).await
}
