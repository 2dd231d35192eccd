//! What every answer carries, success or failure: headers for browsers, the end of the connection while the server is on its
//! way out, and a body that a slow reader can't make the server hold. Must not know what the routes do.

use std::fmt;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ResponseHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
    X_FORWARDED_PROTO,
};
use actix_web::http::{ConnectionType, Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, ResponseError, web};

use super::admission::has_no_room;
use super::slices::sliced;
use crate::client_address::TrustedProxies;
use crate::draining::Draining;
use crate::responders::no_content;

/// The origins whose pages may read answers (`APP_SERVER__CORS_ORIGINS`), byte for byte.
#[derive(Debug, Clone, Default)]
pub struct Origins(pub Vec<String>);

/// An answer of the API is nothing that a browser should show, run or frame. A page brings a policy of its own.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Wraps the whole server, inside the access log. Answers the question that a browser asks before it sends a request to
/// another origin.
///
/// # Errors
///
/// Those of the inner services, with the headers put on the answer that they become.
pub async fn answer_headers<B: MessageBody + 'static>(
    draining: web::Data<Draining>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let finish = Finish::of(&request, draining);
    if finish.preflight {
        let mut response = request.into_response(no_content());
        finish.on(response.response_mut().head_mut());
        return Ok(response);
    }
    match next.call(request).await {
        Ok(response) => Ok(response.map_body(|head, body| {
            finish.on(head);
            if finish.version < Version::HTTP_11 && body.size() == BodySize::Stream {
                // It knows no chunks: the end of the connection is the end of the answer.
                head.no_chunking(true);
                head.set_connection_type(ConnectionType::Close);
            }
            sliced(body)
        })),
        Err(error) => Err(Finished { error, finish }.into()),
    }
}

/// What a request says about the headers of its answer.
#[derive(Debug)]
struct Finish {
    /// `None` if its connection is one too many, and ends anyhow.
    draining: Option<web::Data<Draining>>,
    /// Any origin is allowed, so that answers differ by it.
    origins: bool,
    /// The request's own, if it is allowed.
    origin: Option<HeaderValue>,
    preflight: bool,
    /// A proxy that is trusted says that its client came over TLS.
    secure: bool,
    version: Version,
}

impl Finish {
    fn of(request: &ServiceRequest, draining: web::Data<Draining>) -> Self {
        let headers = request.headers();
        let origins = request.app_data::<web::Data<Origins>>().map(|origins| origins.0.as_slice()).unwrap_or_default();
        let origin = headers.get(ORIGIN).filter(|origin| origins.iter().any(|known| known.as_bytes() == origin.as_bytes()));
        Self {
            draining: (!has_no_room(request)).then_some(draining),
            origins: !origins.is_empty(),
            preflight: origin.is_some()
                && request.method() == Method::OPTIONS
                && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD),
            origin: origin.cloned(),
            version: request.version(),
            secure: headers.contains_key(X_FORWARDED_PROTO) && came_over_tls(request),
        }
    }

    fn on(&self, head: &mut ResponseHead) {
        if self.draining.as_ref().is_none_or(|draining| draining.has_begun()) {
            head.set_connection_type(ConnectionType::Close);
        }
        let headers = head.headers_mut();
        self.security(headers);
        self.cross_origin(headers);
    }

    fn security(&self, headers: &mut HeaderMap) {
        let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(REFERRER_POLICY, "no-referrer");
        set(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin");
        if self.secure {
            set(STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains");
        }
        if !headers.contains_key(CONTENT_SECURITY_POLICY) {
            headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        }
    }

    fn cross_origin(&self, headers: &mut HeaderMap) {
        if self.origins {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = &self.origin else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        set(ACCESS_CONTROL_EXPOSE_HEADERS, "ETag, Age, Retry-After, X-Request-Id, X-Catch-Up-Reason");
        if self.preflight {
            set(ACCESS_CONTROL_ALLOW_METHODS, "GET, POST");
            set(ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-None-Match, Last-Event-ID, X-Request-Id");
            set(ACCESS_CONTROL_MAX_AGE, "7200");
        }
    }
}

/// What stands furthest to the right is what the proxy in front itself said.
fn came_over_tls(request: &ServiceRequest) -> bool {
    let trusted = match (request.app_data::<web::Data<TrustedProxies>>(), request.peer_addr()) {
        (Some(proxies), Some(peer)) => proxies.trusts(peer.ip().to_canonical()),
        _ => false,
    };
    let last = request.headers().get_all(X_FORWARDED_PROTO).last().map(HeaderValue::as_bytes).unwrap_or_default();
    let last = last.rsplit(|byte| *byte == b',').next().unwrap_or_default();
    trusted && last.trim_ascii().eq_ignore_ascii_case(b"https")
}

/// An error whose answer will carry the headers too.
#[derive(Debug)]
struct Finished {
    error: Error,
    finish: Finish,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for Finished {
    fn status_code(&self) -> StatusCode {
        self.error.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.error.error_response();
        self.finish.on(response.head_mut());
        response
    }
}
