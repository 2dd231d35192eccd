//! Writes one log line and the metrics of each request at its end.
//!
//! At its begin, the request gets an id and a trace, and its client's address is determined.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::guard::{Guard, fn_guard};
use actix_web::http::header::{HeaderMap, HeaderName, X_FORWARDED_FOR};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};

use super::HEALTH_PATH;
use super::response_head::REQUEST_ID;
use crate::auth::principal::{Credentials, Principal};
use crate::extract::client_address::TrustedProxies;
use crate::request_context::RequestContext;
use crate::request_context::trace_context::TraceContext;
use crate::secret::Secret;
use crate::telemetry::logging::{ACCESS, AUDIT};
use crate::telemetry::metrics::HttpMetrics;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Logs and counts each request. Never logs the query, which may have a token.
pub(crate) async fn request_log<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut active = ActiveRequest::begin(&request);
    let outcome = next.call(request).await;
    active.status = Some(match &outcome {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    });
    outcome
}

/// The context and credentials of a request, and what else its log line says.
pub(crate) struct RequestLog {
    context: RequestContext,
    /// The index of the route in the table.
    route: Cell<Option<usize>>,
    /// Set once by [`authenticate`](super::authenticate), before it rejects those of a revoked session.
    pub(super) credentials: OnceCell<Arc<Credentials>>,
    /// Why the token or the access is rejected.
    pub(super) rejection: Cell<Option<&'static str>>,
}

impl RequestLog {
    /// Returns the log of `request`. Every request has one.
    pub(crate) fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.extensions().get::<Rc<Self>>().map(Rc::clone)
    }

    /// Returns the context of the request.
    pub(super) fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Returns the credentials of the request; `None` before they are verified.
    pub(super) fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.get()
    }
}

/// Records the index of a route. As the last guard, it runs once the route matches.
pub(crate) fn record_route(index: usize) -> impl Guard {
    fn_guard(move |context| {
        if let Some(log) = context.req_data().get::<Rc<RequestLog>>() {
            log.route.set(Some(index));
        }
        true
    })
}

/// A request in flight. Logs and counts on drop; without a response, the client has left, and its status is 499.
struct ActiveRequest {
    // Copied, because a clone of the request held across the call would panic the router.
    method: Method,
    uri: Uri,
    log: Rc<RequestLog>,
    /// `None` on the management listener, which counts nothing.
    metrics: Option<web::Data<HttpMetrics>>,
    status: Option<StatusCode>,
}

impl ActiveRequest {
    fn begin(request: &ServiceRequest) -> Self {
        let headers = request.headers();
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let tracestate: Vec<&str> = headers.get_all(TRACESTATE).filter_map(|line| line.to_str().ok()).collect();
        let trace = TraceContext::from_headers(text(&TRACEPARENT), tracestate.join(","));
        let context = RequestContext::new(client_address(request), request_id(headers), trace);
        request.extensions_mut().insert(context.clone());
        let (route, credentials, rejection) = Default::default();
        let log = Rc::new(RequestLog { context, route, credentials, rejection });
        request.extensions_mut().insert(Rc::clone(&log));
        let metrics = request.app_data::<web::Data<HttpMetrics>>().cloned();
        if let Some(metrics) = &metrics {
            metrics.begin();
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { method, uri, log, metrics, status: None }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let duration = self.log.context.started().elapsed();
        let (status, text) = self.status.as_ref().map_or((499, "499"), |status| (status.as_u16(), status.as_str()));
        if let Some(metrics) = &self.metrics {
            metrics.end(self.log.route.get(), text, duration);
        }
        let principal = self.log.credentials().map(|credentials| &credentials.principal);
        let (user, guest) = principal.map(Principal::ids).unwrap_or_default();
        let (issuer, api_key) = (principal.and_then(Principal::issuer), principal.and_then(Principal::api_key));
        let context = &self.log.context;
        let (client, request_id) = (context.client(), context.request_id());
        let path = redact_token(self.uri.path());
        let is_info = self.metrics.is_some() && !(self.uri.path().starts_with(HEALTH_PATH) && status < 400);
        log::log!(
            target: ACCESS,
            if is_info { log::Level::Info } else { log::Level::Debug },
            method = self.method.as_str(),
            path = &*path,
            status,
            ms = milliseconds(duration),
            client:%,
            user,
            issuer,
            guest,
            api_key,
            request_id,
            trace_id = context.trace().id();
            "request"
        );
        let reason = self.log.rejection.get();
        if status == 401 && reason.is_some() {
            log::info!(target: AUDIT, event = "token-rejected", reason, client:%, user, issuer, guest, api_key, request_id; "token rejected");
        }
        if status == 403 {
            log::info!(target: AUDIT, event = "access-denied", reason, client:%, user, issuer, guest, api_key, request_id; "access denied");
        }
    }
}

/// Cuts a path where a token begins: a client may send one in place of an id or a room.
fn redact_token(path: &str) -> Cow<'_, str> {
    // A shorter path has no token. Each token begins with `{"` in base64url.
    let start = if path.len() > 100 { path.find("eyJ") } else { None };
    start.and_then(|start| path.get(..start)).map_or(path.into(), |before| format!("{before}{}", Secret::REDACTED).into())
}

/// Converts to milliseconds, with microseconds as decimals.
fn milliseconds(duration: Duration) -> f64 {
    f64::from(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

fn client_address(request: &ServiceRequest) -> IpAddr {
    let peer = request.peer_addr().map(|peer| peer.ip());
    // A client may send any bytes to the left of what a proxy appends.
    let lines = request.headers().get_all(X_FORWARDED_FOR).map(|line| String::from_utf8_lossy(line.as_bytes()));
    // Collected, because headers have no reverse iterator.
    let lines: Vec<_> = lines.collect();
    let lines = lines.iter().map(AsRef::as_ref);
    match request.app_data::<web::Data<TrustedProxies>>() {
        Some(proxies) => proxies.client(peer, lines),
        None => TrustedProxies::default().client(peer, lines),
    }
}

/// Returns the client's request id, if it is valid.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let plain =
        |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    headers.get(REQUEST_ID)?.to_str().ok().filter(plain).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    #[test]
    fn invalid_request_id_is_replaced() {
        let is_valid = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            request_id(&headers).is_some_and(|valid| valid.as_bytes() == id)
        };
        assert!(is_valid(b"a") && is_valid(b"A-z_0.9") && is_valid(&[b'a'; 64]));
        for id in [b"".as_slice(), &[b'a'; 65], b"a b", b"a\tb", b"a;b", b"\xff"] {
            assert!(!is_valid(id), "{id:?}");
        }
    }
}
