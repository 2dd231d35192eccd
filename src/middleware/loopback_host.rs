//! Rejects requests whose `Host` is not loopback, for `dev`, against DNS rebinding.

use std::net::Ipv4Addr;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HOST;
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;

use crate::loopback::is_local;
use crate::response::ApiError;

/// Wraps a whole listener, inside the error envelope.
///
/// # Errors
///
/// [`ApiError::BadRequest`], and those of the inner services.
pub async fn loopback_host<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let named = request.uri().authority().map(Authority::as_str);
    let mut hosts = request.headers().get_all(HOST).map(|host| host.to_str().unwrap_or_default()).chain(named).peekable();
    if hosts.peek().is_some() && hosts.all(|host| is_local(host, Ipv4Addr::LOCALHOST.into())) {
        next.call(request).await
    } else {
        Err(ApiError::BadRequest("Host must be localhost or a loopback address.".into()).into())
    }
}
