//! Gives each request an id and a trace, finds out which address it came from, and logs and counts it when its answer is ready.
//! Must not know what the routes do.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::guard::{Guard, GuardContext};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, X_FORWARDED_FOR};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError, web};

use crate::asker::Asker;
use crate::caller::Caller;
use crate::client_address::{ClientAddress, TrustedProxies};
use crate::metrics::Http;
use crate::responders::ApiError;
use crate::trace::Trace;

/// The header that carries the request id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What is said of a request whose client left before its answer was ready. Nobody ever gets it.
const LEFT: u16 = 499;
/// Asked every few seconds by whoever watches the server: no news, as long as it goes well.
const HEALTH: &str = "/health/";

/// Wraps the whole server. The query is never logged: somebody will put a token there.
///
/// # Errors
///
/// Those of the inner services, with the request id put on the answer that they become.
pub async fn access_log<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let entry = Entry::begin(&request);
    let outcome = next.call(request).await;
    let status = match &outcome {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    let id = HeaderValue::from_str(entry.notes.asker.request_id()).unwrap_or(HeaderValue::from_static("-"));
    entry.end(status.as_u16());
    match outcome {
        Ok(mut response) => {
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response)
        }
        Err(error) => Err(Identified { error, id }.into()),
    }
}

/// What is found out about a request on its way, for its line in the log.
pub struct Notes {
    asker: Asker,
    /// The place of the row that answers it.
    row: Cell<Option<usize>>,
    caller: RefCell<Option<Caller>>,
    refused: Cell<Option<&'static str>>,
}

impl Notes {
    /// Its token was good.
    pub fn caller(&self, caller: &Caller) {
        self.caller.replace(Some(caller.clone()));
    }

    /// Its token was not, in a word or two.
    pub fn refused(&self, why: &'static str) {
        self.refused.set(Some(why));
    }

    /// Those of a request, which every request has.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.extensions().get::<Rc<Self>>().map(Rc::clone)
    }
}

/// Notes that the row at this place answers. As the last guard of a route it is asked when all the others have agreed.
pub struct Answers(pub usize);

impl Guard for Answers {
    fn check(&self, context: &GuardContext<'_>) -> bool {
        if let Some(notes) = context.req_data().get::<Rc<Notes>>() {
            notes.row.set(Some(self.0));
        }
        true
    }
}

/// A request that is being worked on, and what its line will say. Dropped without an answer, its client has left.
struct Entry {
    started: Instant,
    // Copied, because a clone of the request held across the call would panic the router.
    method: Method,
    uri: Uri,
    notes: Rc<Notes>,
    http: Option<web::Data<Http>>,
    answered: bool,
}

/// The lines of that header, joined as lists are.
fn tracestate(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut lines = headers.get_all(TRACESTATE).filter_map(|line| line.to_str().ok());
    let first = lines.next()?;
    Some(lines.fold(Cow::Borrowed(first), |joined, line| Cow::Owned(format!("{joined},{line}"))))
}

impl Entry {
    fn begin(request: &ServiceRequest) -> Self {
        let headers = request.headers();
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let trace = Trace::continued(text(&TRACEPARENT), tracestate(headers).as_deref());
        let asker = Asker::new(client_address(request).0, request_id(headers), trace);
        let notes = Notes { asker, row: Cell::default(), caller: RefCell::default(), refused: Cell::default() };
        let notes = Rc::new(notes);
        request.extensions_mut().insert(Rc::clone(&notes));
        // The management listener counts nothing.
        let http = request.app_data::<web::Data<Http>>().cloned();
        if let Some(http) = &http {
            http.began();
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { started: Instant::now(), method, uri, notes, http, answered: false }
    }

    fn end(mut self, status: u16) {
        self.answered = true;
        self.log(status);
    }

    fn log(&self, status: u16) {
        let took = self.started.elapsed();
        if let Some(http) = &self.http {
            http.ended(self.notes.row.get(), status, took);
        }
        let caller = self.notes.caller.borrow();
        let (user, guest) = match caller.as_ref() {
            Some(Caller::User { id, .. }) => (Some(id.as_ref()), None),
            Some(Caller::Guest { id, .. }) => (None, Some(id.as_ref())),
            None => (None, None),
        };
        let asker = &self.notes.asker;
        let (client, trace_id) = (asker.client().to_string(), asker.trace().id());
        let (client, trace_id) = (client.as_str(), trace_id.as_str());
        let is_news = self.http.is_some() && !(self.uri.path().starts_with(HEALTH) && status < 400);
        log::log!(
            if is_news { log::Level::Info } else { log::Level::Debug },
            method = self.method.as_str(),
            path = self.uri.path(),
            status = status,
            ms = milliseconds(took),
            client = client,
            user = user,
            guest = guest,
            request_id = asker.request_id(),
            trace_id = trace_id;
            "request"
        );
        if let Some(reason) = self.notes.refused.get() {
            log::info!(
                event = "token-refused", reason, client, user, guest, request_id = asker.request_id();
                "a token was refused"
            );
        }
        if status == 403 {
            log::info!(
                event = "scope-refused", client, user, guest, request_id = asker.request_id();
                "a caller asked for what is not theirs"
            );
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.answered {
            self.log(LEFT);
        }
    }
}

/// To the microsecond, which is more than enough digits.
fn milliseconds(took: Duration) -> f64 {
    f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

/// An error whose answer will carry the request id too.
#[derive(Debug)]
struct Identified {
    error: Error,
    id: HeaderValue,
}

impl fmt::Display for Identified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for Identified {
    fn status_code(&self) -> StatusCode {
        self.error.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.error.error_response();
        response.headers_mut().insert(REQUEST_ID, self.id.clone());
        response
    }
}

fn client_address(request: &ServiceRequest) -> ClientAddress {
    let proxies = request.app_data::<web::Data<TrustedProxies>>();
    let peer = request.peer_addr().map(|peer| peer.ip());
    // Whatever bytes a client put to the left, what a proxy wrote to the right of it counts.
    let lines = request.headers().get_all(X_FORWARDED_FOR).map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    // Collected, because the headers can't be walked backwards.
    let lines: Vec<String> = lines.collect();
    let lines = lines.iter().map(String::as_str);
    match proxies {
        Some(proxies) => proxies.client(peer, lines),
        None => TrustedProxies::default().client(peer, lines),
    }
}

impl FromRequest for Asker {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Every request has passed the middleware above.
        ready(request.extensions().get::<Rc<Notes>>().map(|notes| notes.asker.clone()).ok_or(ApiError::Internal))
    }
}

/// The client's own id, if it is plain.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let plain =
        |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    headers.get(REQUEST_ID)?.to_str().ok().filter(plain).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_request_id_is_kept_and_any_other_replaced() {
        let kept = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            request_id(&headers).is_some_and(|kept| kept.as_bytes() == id)
        };
        assert!(kept(b"a") && kept(b"A-z_0.9") && kept(&[b'a'; 64]));
        assert!(!kept(b"") && !kept(&[b'a'; 65]) && !kept(b"a b") && !kept(b"a\tb") && !kept(b"a;b") && !kept(b"\xff"));
    }
}
