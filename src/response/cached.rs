//! Responses with an entity tag: 200, or 304 if the client has that version.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{AGE, CACHE_CONTROL, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, Responder};
use bytes::Bytes;

use super::envelope::JSON;
use crate::cache::CachedResponse;
use crate::catch_up::CatchUpResponse;

/// The reason why there is no catch-up, for client developers.
pub(super) const CATCH_UP_REASON: HeaderName = HeaderName::from_static("x-catch-up-reason");
/// The client may store the response, and revalidates it each time.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// The content codings that a compressing proxy appends to an entity tag.
const TAG_SUFFIXES: [&str; 3] = ["-gzip", "-br", "-zstd"];

impl Responder for CachedResponse {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        response.insert_header((CACHE_CONTROL, PRIVATE)).insert_header((AGE, HeaderValue::from(self.age().as_secs())));
        finish(&mut response, request, self.envelope.etag_bytes(), JSON, self.envelope.bytes())
    }
}

/// As any cached response, with the reason in a header where the catch-up is empty.
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

/// Completes a response with `body`; 304 if the client has the version `etag`.
pub(super) fn finish(
    response: &mut HttpResponseBuilder,
    request: &HttpRequest,
    etag: Bytes,
    media_type: HeaderValue,
    body: Bytes,
) -> HttpResponse {
    let is_current = matches_if_none_match(request, &etag);
    if let Ok(etag) = HeaderValue::from_maybe_shared(etag) {
        response.insert_header((ETAG, etag));
    }
    if is_current {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    response.content_type(media_type).body(body)
}

/// Returns whether `If-None-Match` has this tag: weak comparison, RFC 9110 section 13.1.2.
fn matches_if_none_match(request: &HttpRequest, etag: &[u8]) -> bool {
    // The server's own tags contain no comma, and `*` stands alone.
    let mut values = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    values.any(|value| value.trim() == "*" || value.split(',').any(|tag| is_same_version(tag.trim(), etag)))
}

/// Returns whether `tag` is `etag`, or `etag` as a compressing proxy changed it.
///
/// nginx and `HAProxy` make it weak. Apache and Caddy append the coding: `"x"` becomes `"x-gzip"`.
fn is_same_version(tag: &str, etag: &[u8]) -> bool {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let without = |suffix: &&str| tag.strip_suffix('"')?.strip_suffix(*suffix);
    let plain = || TAG_SUFFIXES.iter().find_map(without).map(str::as_bytes);
    tag.as_bytes() == etag || (plain().is_some() && plain() == etag.strip_suffix(b"\""))
}
