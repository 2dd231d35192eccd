//! Closes the connection after a response where it must not be used again, and splits large bodies into slices.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Version};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::admission::has_no_room;
use super::map_head;
use super::slices::sliced;
use crate::draining::Draining;

/// Wraps the whole server, inside the security headers.
///
/// # Errors
///
/// Those of the inner services.
pub async fn keep_alive<B: MessageBody + 'static>(
    draining: web::Data<Draining>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (version, no_room) = (request.version(), has_no_room(&request));
    let response = next.call(request).await.map(|response| {
        response.map_body(|head, body| {
            if version < Version::HTTP_11 && body.size() == BodySize::Stream {
                // HTTP/1.0 has no chunks: the end of the connection is the end of the response.
                head.no_chunking(true);
                head.set_connection_type(ConnectionType::Close);
            }
            sliced(body)
        })
    });
    map_head(response, move |head| {
        if no_room || draining.has_begun() {
            head.set_connection_type(ConnectionType::Close);
        }
    })
}
