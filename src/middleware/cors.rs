//! CORS: lets pages of the configured origins read responses, and send requests after a preflight.

use std::net::IpAddr;

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use actix_web::web;

use super::loopback_host::is_local;

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

/// The CORS headers of a response.
pub(super) struct Cors {
    /// The origin of the request, if it is allowed.
    origin: Option<HeaderValue>,
    has_preflight_form: bool,
}

impl Cors {
    /// Returns the headers of the response to `request`; `None` without [`Origins`].
    pub(super) fn of(request: &ServiceRequest) -> Option<Self> {
        let origins = request.app_data::<web::Data<Origins>>()?;
        let headers = request.headers();
        let origin = headers.get(ORIGIN).filter(|origin| origins.allow(origin)).cloned();
        let has_preflight_form = request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Some(Self { origin, has_preflight_form })
    }

    /// Returns whether the request is a preflight of an allowed origin.
    pub(super) fn is_allowed_preflight(&self) -> bool {
        self.origin.is_some() && self.has_preflight_form
    }

    /// Inserts the headers.
    pub(super) fn insert(&self, headers: &mut HeaderMap) {
        // Responses differ by the origin, also for origins that are not allowed.
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = &self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        for (name, value) in RESPONSE.iter().chain(if self.has_preflight_form { PREFLIGHT } else { &[] }) {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
    }
}
