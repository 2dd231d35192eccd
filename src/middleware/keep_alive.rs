//! Closes connections that must not be reused, and splits large bodies into chunks.

use std::rc::Rc;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ResponseHead, ServiceRequest};
use actix_web::http::header::UPGRADE;
use actix_web::http::{ConnectionType, Version};
use actix_web::web;
use tokio_util::sync::CancellationToken;

use crate::request_context::connection_state::ConnectionState;
use crate::response::chunked_body::chunked;

/// The reasons for which a connection is closed: an unread body, an upgrade request, or draining.
pub(super) struct KeepAlive {
    version: Version,
    must_close: bool,
    connection: Option<Rc<ConnectionState>>,
    /// `None` in unit tests only.
    draining: Option<web::Data<CancellationToken>>,
}

impl KeepAlive {
    /// Reads what the request says of its connection.
    pub(super) fn of(request: &ServiceRequest) -> Self {
        // actix-web would confirm the upgrade.
        let is_upgrade =
            request.head().connection_type() == ConnectionType::Upgrade || request.headers().contains_key(UPGRADE);
        Self {
            version: request.version(),
            must_close: is_upgrade,
            connection: request.conn_data().cloned(),
            draining: request.app_data().cloned(),
        }
    }

    /// Closes the connection after the response.
    pub(super) fn close(&mut self) {
        self.must_close = true;
    }

    /// Splits a large body into chunks.
    pub(super) fn map_body<B: MessageBody + 'static>(&self, head: &mut ResponseHead, body: B) -> BoxBody {
        if self.version < Version::HTTP_11 && body.size() == BodySize::Stream {
            // HTTP/1.0 has no chunks: the end of the connection is the end of the response.
            head.no_chunking(true);
            head.set_connection_type(ConnectionType::Close);
        }
        chunked(body)
    }

    /// Returns whether the response is the last one of its connection. Called once its head is made.
    pub(super) fn must_close(&self) -> bool {
        self.must_close
            // The rest of a body must not be read as the next request.
            || self.connection.as_ref().is_some_and(|connection| connection.has_unread_body())
            || self.draining.as_ref().is_some_and(|draining| draining.is_cancelled())
    }
}
