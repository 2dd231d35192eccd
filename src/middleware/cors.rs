//! CORS: lets pages of the configured origins read responses, and responds to their preflight requests.

use std::net::IpAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::loopback_host::is_local;
use super::map_head;
use crate::response::no_content;

/// The origins whose pages may read responses.
pub(crate) struct Origins {
    /// `APP_SERVER__CORS_ORIGINS`, compared byte for byte.
    pub configured: Vec<String>,
    /// With `dev`: pages of loopback and of this address, on any port.
    pub dev_host: Option<IpAddr>,
}

impl Origins {
    fn allow(&self, origin: &HeaderValue) -> bool {
        let host = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        self.configured.iter().any(|configured| configured.as_bytes() == origin.as_bytes())
            || self.dev_host.zip(host).is_some_and(|(dev_host, host)| is_local(host, dev_host))
    }
}

/// The headers that tracing libraries add (W3C Trace Context and Baggage).
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, If-None-Match, Last-Event-ID, X-Request-Id, X-Requested-With, \
                               traceparent, tracestate, baggage";
const RESPONSE: &[(HeaderName, &str)] = &[(
    ACCESS_CONTROL_EXPOSE_HEADERS,
    "ETag, Age, Retry-After, WWW-Authenticate, X-Request-Id, X-Catch-Up-Reason, X-Not-Found",
)];
const PREFLIGHT: &[(HeaderName, &str)] = &[
    (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
    (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
    (ACCESS_CONTROL_MAX_AGE, "7200"),
];

/// Adds CORS headers, and responds to preflight requests of configured origins. Does nothing without [`Origins`].
pub(crate) async fn cors<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(origins) = request.app_data::<web::Data<Origins>>() else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let headers = request.headers();
    let origin = headers.get(ORIGIN).filter(|origin| origins.allow(origin)).cloned();
    let is_preflight = request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if origin.is_some() && is_preflight {
        let response = Ok(request.into_response(no_content()));
        return map_head(response, move |head| {
            insert_headers(head.headers_mut(), origin.as_ref(), &[RESPONSE, PREFLIGHT].concat());
        });
    }
    let response = next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    map_head(response, move |head| insert_headers(head.headers_mut(), origin.as_ref(), RESPONSE))
}

fn insert_headers(headers: &mut HeaderMap, origin: Option<&HeaderValue>, values: &[(HeaderName, &'static str)]) {
    // Responses differ by the origin, also for origins that are not allowed.
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        for (name, value) in values {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
    }
}
