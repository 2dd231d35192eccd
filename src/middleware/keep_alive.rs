//! Closes connections that must not be reused, and splits large bodies into chunks.

use std::rc::Rc;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::UPGRADE;
use actix_web::http::{ConnectionType, Version};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use tokio_util::sync::CancellationToken;

use super::map_head;
use crate::request_context::connection_state::ConnectionState;
use crate::response::chunked_body::chunked;

/// Closes the connection after an unread body, an upgrade request, or while draining.
pub(crate) async fn keep_alive<B: MessageBody + 'static>(
    draining: web::Data<CancellationToken>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let version = request.version();
    // actix-web would confirm the upgrade.
    let upgrade = request.head().connection_type() == ConnectionType::Upgrade || request.headers().contains_key(UPGRADE);
    let connection = request.conn_data::<Rc<ConnectionState>>().cloned();
    let response = next.call(request).await.map(|response| {
        response.map_body(|head, body| {
            if version < Version::HTTP_11 && body.size() == BodySize::Stream {
                // HTTP/1.0 has no chunks: the end of the connection is the end of the response.
                head.no_chunking(true);
                head.set_connection_type(ConnectionType::Close);
            }
            chunked(body)
        })
    });
    map_head(response, move |head| {
        // The rest of a body must not be read as the next request.
        let unread = connection.as_ref().is_some_and(|connection| connection.has_unread_body());
        if unread || upgrade || draining.is_cancelled() {
            head.set_connection_type(ConnectionType::Close);
        }
    })
}
