//! The envelope: what every answer of the API looks like, success or failure, on one page.
//!
//! The only place that writes an error body or chooses an error status. A failure inside the server is logged where it
//! becomes an [`ApiError`]; the client is told the contract's sentence and nothing of the cause.

pub mod chunked_body;
pub mod connection_state;
mod error_mapping;
pub mod event_stream;
mod static_file;

use std::borrow::Cow;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    AGE, CACHE_CONTROL, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, Responder, ResponseError};
use serde::Serialize;

use crate::cache::CachedResponse;
use crate::catch_up::{CatchUpResponse, Reason};
pub use static_file::{Caching, File};

/// 200 with `{"error": null, "data": …}`.
#[derive(Debug)]
pub struct Success<T>(pub T);

/// A failure, as the client may know it: 4xx and 5xx with `{"data": null, "error": {"code": …, "message": …}}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The route needs a room and none, or a blank one, was given.
    #[error("Room name required in query param.")]
    RoomRequired,
    /// Any other malformed input: a sentence that names the field and quotes nothing of what was sent.
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    /// No valid token, or wrong e-mail or password.
    #[error("Unauthorized")]
    Unauthorized,
    /// A valid token that does not cover this room or route.
    #[error("Forbidden")]
    Forbidden,
    /// Unknown URL, wrong method, or a room that Admin Control does not know.
    #[error("Not found")]
    NotFound,
    /// A room that has no catch-up, and why.
    #[error("Not found")]
    NoCatchUp(Reason),
    /// The body did not arrive within the request's time.
    #[error("Request timeout")]
    TooSlow,
    /// The body is over the limit.
    #[error("Payload too large")]
    PayloadTooLarge,
    /// Throttled; to be tried again after this time.
    #[error("Too many requests")]
    Throttled(Duration),
    /// The caller has as many event streams open as it may.
    #[error("Too many requests")]
    TooManyStreams,
    /// Any failure on the server's side, every failure of Admin Control included.
    #[error("Internal server error")]
    Internal,
    /// More work than this server takes on at once.
    #[error("Service unavailable")]
    Overloaded,
}

/// 503 to an operator, with more than a client is told. The body is the contract's, so what is known stands in headers.
#[derive(Debug)]
pub struct NotReady {
    /// What fails.
    pub what: &'static str,
    /// The endpoints of Admin Control that can't be reached either.
    pub unreachable: Vec<&'static str>,
}

/// Says why a server is not ready.
pub const NOT_READY: HeaderName = HeaderName::from_static("x-not-ready");
/// Names endpoints of Admin Control.
const UNREACHABLE: HeaderName = HeaderName::from_static("x-admin-control-unreachable");

/// Tells a client developer why there is no catch-up.
pub const CATCH_UP_REASON: HeaderName = HeaderName::from_static("x-catch-up-reason");

/// Marks a failure whose body is an envelope, so that the error boundary knows which it still has to write.
pub struct Enveloped;

/// When to try again to open a stream, in seconds: one may have ended by then.
const RETRY_STREAM: &str = "10";
/// The content codings whose names a proxy appends to the entity tag of what it compresses.
const TAG_SUFFIXES: [&str; 3] = ["-gzip", "-br", "-zstd"];

/// Every envelope's.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Answers are about one caller's rooms and tokens: nobody in between keeps them.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// The client may keep it, and asks each time whether it is still true.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

#[derive(Serialize)]
struct SuccessBody<T> {
    error: (),
    data: T,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    data: (),
    error: ErrorMember<'a>,
}

#[derive(Serialize)]
struct ErrorMember<'a> {
    code: u16,
    message: &'a str,
}

impl<T: Serialize> Responder for Success<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        envelope(&mut HttpResponse::Ok(), &SuccessBody { error: (), data: self.0 })
    }
}

/// 200 with the cached envelope, or 304 if the client has it already.
impl Responder for CachedResponse {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let known = is_known(request, &self.envelope.etag_bytes());
        let mut response = begun(known);
        response.insert_header((CACHE_CONTROL, PRIVATE)).insert_header((AGE, self.age().as_secs()));
        if let Ok(etag) = HeaderValue::from_maybe_shared(self.envelope.etag_bytes()) {
            response.insert_header((ETAG, etag));
        }
        if known {
            return response.finish();
        }
        response.content_type(JSON).body(self.envelope.bytes())
    }
}

/// 304 for what the client has already, else 200.
fn begun(known: bool) -> HttpResponseBuilder {
    HttpResponse::build(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK })
}

/// Whether the client has the answer with this tag: weak comparison, RFC 9110 section 13.1.2.
fn is_known(request: &HttpRequest, etag: &[u8]) -> bool {
    // Our own tags hold no comma, and `*` stands alone.
    let matches = |tag: &str| is_tag_of(tag.trim(), etag);
    let mut known = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    known.any(|value| value.trim() == "*" || value.split(',').any(matches))
}

/// Whether `tag` is `etag`, with what a proxy that compresses made of it: nginx and `HAProxy` make it weak, Apache
/// (`mod_deflate`, `mod_brotli`) and Caddy append the coding (`"x"` becomes `"x-gzip"`).
fn is_tag_of(tag: &str, etag: &[u8]) -> bool {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let without = |suffix: &&str| tag.strip_suffix('"')?.strip_suffix(*suffix);
    let plain = || TAG_SUFFIXES.iter().find_map(without).map(str::as_bytes);
    tag.as_bytes() == etag || (plain().is_some() && plain() == etag.strip_suffix(b"\""))
}

/// As any other answer of a window, with the reason in a header where it says nothing.
impl Responder for CatchUpResponse {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let mut response = self.response.respond_to(request);
        if let Some(reason) = self.reason {
            response.headers_mut().insert(CATCH_UP_REASON, HeaderValue::from_static(reason.name()));
        }
        response
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::RoomRequired | Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NoCatchUp(_) => StatusCode::NOT_FOUND,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Throttled(_) | Self::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            Self::Unauthorized => response.insert_header((WWW_AUTHENTICATE, "Bearer")),
            Self::NoCatchUp(reason) => response.insert_header((CATCH_UP_REASON, reason.name())),
            Self::Overloaded => response.insert_header((RETRY_AFTER, "1")),
            // Rounded up: who comes back on the second must not be early.
            Self::Throttled(wait) => response.insert_header((RETRY_AFTER, wait.as_secs() + 1)),
            // The connection would only be used for the next attempt, and counts against the limit on connections.
            Self::TooManyStreams => response.insert_header((RETRY_AFTER, RETRY_STREAM)).force_close(),
            // The rest of the body may still be on its way, and must not be read as the next request.
            Self::TooSlow | Self::PayloadTooLarge => response.force_close(),
            _ => &mut response,
        };
        let mut response = enveloped(&mut response, self.body());
        response.extensions_mut().insert(Enveloped);
        response
    }
}

impl Responder for NotReady {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let mut response = ApiError::Overloaded.error_response();
        response.headers_mut().insert(NOT_READY, HeaderValue::from_static(self.what));
        if let Ok(names) = HeaderValue::from_str(&self.unreachable.join(", "))
            && !names.is_empty()
        {
            response.headers_mut().insert(UNREACHABLE, names);
        }
        response
    }
}

/// 204: the answer is all in the headers.
#[must_use]
pub fn no_content() -> HttpResponse {
    HttpResponse::NoContent().insert_header((CACHE_CONTROL, NO_STORE)).finish()
}

fn envelope(response: &mut HttpResponseBuilder, body: &impl Serialize) -> HttpResponse {
    match serde_json::to_string(body) {
        Ok(body) => enveloped(response, body),
        // Only a map with keys that are not strings can fail to serialise, and no route answers with one.
        Err(_) => ApiError::Internal.error_response(),
    }
}

fn enveloped(response: &mut HttpResponseBuilder, body: String) -> HttpResponse {
    response.content_type(JSON).insert_header((CACHE_CONTROL, NO_STORE)).body(body)
}

impl ApiError {
    /// What a status chosen by the framework means in the contract's terms; `None` if it is no failure.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            0..=399 => None,
            401 => Some(Self::Unauthorized),
            403 => Some(Self::Forbidden),
            404 | 405 => Some(Self::NotFound),
            408 => Some(Self::TooSlow),
            429 => Some(Self::Throttled(Duration::from_secs(1))),
            413 => Some(Self::PayloadTooLarge),
            503 => Some(Self::Overloaded),
            400..=499 => Some(Self::BadRequest("The request is malformed.".into())),
            _ => Some(Self::Internal),
        }
    }

    /// The status, which is the envelope's `code` too.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.status_code().as_u16()
    }

    /// Its envelope.
    fn body(&self) -> String {
        let error = ErrorMember { code: self.code(), message: &self.to_string() };
        // A number and a text can always be written.
        serde_json::to_string(&ErrorBody { data: (), error }).unwrap_or_default()
    }

    /// A 400 whose sentence names the field.
    pub fn bad_request(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest(sentence.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::MessageBody as _;

    fn body(response: HttpResponse) -> String {
        let bytes = response.into_body().try_into_bytes().unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn the_envelope_is_the_contracts_to_the_byte() {
        let request = actix_web::test::TestRequest::default().to_http_request();
        assert_eq!(body(Success("text").respond_to(&request)), r#"{"error":null,"data":"text"}"#);
        let error = ApiError::RoomRequired.error_response();
        assert_eq!(body(error), r#"{"data":null,"error":{"code":400,"message":"Room name required in query param."}}"#);
    }

    #[test]
    fn no_status_of_the_framework_but_the_contracts_leaves() {
        for status in (400..600).filter_map(|code| StatusCode::from_u16(code).ok()) {
            let error = ApiError::of_status(status).unwrap();
            assert_ne!(error.status_code(), StatusCode::METHOD_NOT_ALLOWED);
        }
        assert_eq!(ApiError::of_status(StatusCode::NOT_MODIFIED), None);
    }
}
