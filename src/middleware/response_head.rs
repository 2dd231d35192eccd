//! Completes the head of every response: request id, security headers, CORS and `Connection`.
//!
//! Responds itself to a bad `Host`, and then to preflight requests.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ResponseHead, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};

use super::cors::Cors;
use super::keep_alive::KeepAlive;
use super::{host, security_headers};
use crate::request_context::RequestContext;
use crate::response::no_content;

/// The header that carries the request id, in both directions.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Calls the inner services if `Host` is valid, and completes the head of their response.
pub(crate) async fn response_head<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request.extensions().get().and_then(|context: &RequestContext| context.request_id().parse().ok());
    let id: HeaderValue = id.unwrap_or(HeaderValue::from_static("-"));
    let is_over_tls = security_headers::is_over_tls(&request);
    let cors = Cors::of(&request);
    let mut keep_alive = KeepAlive::of(&request);
    let outcome = match host::check(&request) {
        Err(error) => {
            keep_alive.close();
            Err(error.into())
        }
        Ok(()) if cors.as_ref().is_some_and(Cors::is_allowed_preflight) => Ok(request.into_response(no_content())),
        Ok(()) => next.call(request).await.map(|response| response.map_body(|head, body| keep_alive.map_body(head, body))),
    };
    let must_close = keep_alive.must_close();
    map_head(outcome, move |head| {
        let headers = head.headers_mut();
        headers.insert(REQUEST_ID, id.clone());
        security_headers::insert(headers, is_over_tls);
        if let Some(cors) = &cors {
            cors.insert(headers);
        }
        if must_close {
            head.set_connection_type(ConnectionType::Close);
        }
    })
}

/// Changes the head of a response, or of the response that an error becomes.
fn map_head<B>(
    outcome: Result<ServiceResponse<B>, Error>,
    change: impl Fn(&mut ResponseHead) + 'static,
) -> Result<ServiceResponse<B>, Error> {
    match outcome {
        Ok(mut response) => {
            change(response.response_mut().head_mut());
            Ok(response)
        }
        Err(mut error) => {
            error.add_response_mapper(move |mut response| {
                change(response.head_mut());
                response
            });
            Err(error)
        }
    }
}
