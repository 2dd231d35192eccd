//! Gives each request an id and a trace, finds its client address, and writes one log line and the metrics at its end.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::guard::{Guard, fn_guard};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, X_FORWARDED_FOR};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest, web};

use super::map_head;
use crate::auth::principal::Principal;
use crate::extract::client_address::TrustedProxies;
use crate::request_context::RequestContext;
use crate::request_context::trace_context::Trace;
use crate::response::ApiError;
use crate::telemetry::metrics::HttpMetrics;

/// The header that carries the request id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Probes. Successful ones are logged at `debug` only.
const HEALTH: &str = "/health/";

/// Wraps the whole server. Never logs the query: it may hold a token.
///
/// # Errors
///
/// Those of the inner services.
pub async fn request_log<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let mut active = ActiveRequest::begin(&request);
    let outcome = next.call(request).await;
    active.status = Some(match &outcome {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    });
    let id = HeaderValue::from_str(active.log.asker.request_id()).unwrap_or(HeaderValue::from_static("-"));
    map_head(outcome, move |head| drop(head.headers_mut().insert(REQUEST_ID, id.clone())))
}

/// Collects what the log line of a request says, while the request is processed.
pub struct RequestLog {
    asker: RequestContext,
    /// The index in the table of the route that answers.
    route: Cell<Option<usize>>,
    caller: RefCell<Option<Principal>>,
    rejection: Cell<Option<&'static str>>,
}

impl RequestLog {
    /// Records the caller of a valid token.
    pub fn set_caller(&self, caller: &Principal) {
        self.caller.replace(Some(caller.clone()));
    }

    /// Records why a token is rejected, in a word or two.
    pub fn set_rejection(&self, reason: &'static str) {
        self.rejection.set(Some(reason));
    }

    /// Returns the log of `request`. Every request has one.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.extensions().get::<Rc<Self>>().map(Rc::clone)
    }
}

/// Records the index of a route. As the last guard it runs when all others have agreed.
#[must_use]
pub fn record_route(index: usize) -> impl Guard {
    fn_guard(move |context| {
        if let Some(log) = context.req_data().get::<Rc<RequestLog>>() {
            log.route.set(Some(index));
        }
        true
    })
}

/// A request in flight. Logs and counts on drop; without a response, the client has left, and its status is 499.
struct ActiveRequest {
    started: Instant,
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
        let trace = Trace::continued(text(&TRACEPARENT), tracestate(headers).as_deref());
        let asker = RequestContext::new(client_address(request), request_id(headers), trace);
        let log =
            Rc::new(RequestLog { asker, route: Cell::default(), caller: RefCell::default(), rejection: Cell::default() });
        request.extensions_mut().insert(Rc::clone(&log));
        let metrics = request.app_data::<web::Data<HttpMetrics>>().cloned();
        if let Some(metrics) = &metrics {
            metrics.begin();
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { started: Instant::now(), method, uri, log, metrics, status: None }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let (status, text) = self.status.as_ref().map_or((499, "499"), |status| (status.as_u16(), status.as_str()));
        if let Some(metrics) = &self.metrics {
            metrics.end(self.log.route.get(), text, duration);
        }
        let caller = self.log.caller.borrow();
        let (user, guest) = match caller.as_ref() {
            Some(Principal::User { id, .. }) => (Some(id.as_ref()), None),
            Some(Principal::Guest { id, .. }) => (None, Some(id.as_ref())),
            None => (None, None),
        };
        let asker = &self.log.asker;
        let (client, request_id) = (asker.client(), asker.request_id());
        let is_info = self.metrics.is_some() && !(self.uri.path().starts_with(HEALTH) && status < 400);
        log::log!(
            if is_info { log::Level::Info } else { log::Level::Debug },
            method = self.method.as_str(),
            path = self.uri.path(),
            status,
            ms = milliseconds(duration),
            client:%,
            user,
            guest,
            request_id,
            trace_id = asker.trace().id().as_str();
            "request"
        );
        if let Some(reason) = self.log.rejection.get() {
            log::info!(event = "token-refused", reason, client:%, user, guest, request_id; "token rejected");
        }
        if status == 403 {
            log::info!(
                event = "scope-refused", client:%, user, guest, request_id;
                "access denied"
            );
        }
    }
}

/// In milliseconds, with microseconds as decimals.
fn milliseconds(duration: Duration) -> f64 {
    f64::from(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

/// Joins the lines of `tracestate`, as lists are.
fn tracestate(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut lines = headers.get_all(TRACESTATE).filter_map(|line| line.to_str().ok());
    let first = lines.next()?;
    Some(lines.fold(Cow::Borrowed(first), |joined, line| Cow::Owned(format!("{joined},{line}"))))
}

fn client_address(request: &ServiceRequest) -> IpAddr {
    let peer = request.peer_addr().map(|peer| peer.ip());
    // A client may put any bytes to the left; what a proxy wrote to the right of them counts.
    let lines = request.headers().get_all(X_FORWARDED_FOR).map(|line| String::from_utf8_lossy(line.as_bytes()));
    // Collected, because the headers can't be walked backwards.
    let lines: Vec<_> = lines.collect();
    let lines = lines.iter().map(AsRef::as_ref);
    match request.app_data::<web::Data<TrustedProxies>>() {
        Some(proxies) => proxies.client(peer, lines),
        None => TrustedProxies::default().client(peer, lines),
    }
}

impl FromRequest for RequestContext {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Every request has passed the middleware above.
        ready(RequestLog::of(request).map(|log| log.asker.clone()).ok_or(ApiError::Internal))
    }
}

/// Returns the client's own id, if it is plain.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let plain =
        |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    headers.get(REQUEST_ID)?.to_str().ok().filter(plain).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_that_is_not_plain_is_replaced() {
        let kept = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            request_id(&headers).is_some_and(|kept| kept.as_bytes() == id)
        };
        assert!(kept(b"a") && kept(b"A-z_0.9") && kept(&[b'a'; 64]));
        assert!(!kept(b"") && !kept(&[b'a'; 65]) && !kept(b"a b") && !kept(b"a\tb") && !kept(b"a;b") && !kept(b"\xff"));
    }
}
