//! Security headers of every response, success or failure.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FORWARDED_PROTO,
};
use actix_web::web;

use crate::extract::client_address::TrustedProxies;

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
];
/// The policy of every response without one: not to be shown, run or framed.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Sent if a trusted proxy says that its client uses TLS.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Inserts the security headers.
pub(super) fn insert(headers: &mut HeaderMap, is_over_tls: bool) {
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    if is_over_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    }
}

/// Returns whether a trusted proxy received the request over TLS. The rightmost value is the proxy's own.
pub(super) fn is_over_tls(request: &ServiceRequest) -> bool {
    let Some(last) = request.headers().get_all(X_FORWARDED_PROTO).last() else { return false };
    let last = last.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
    let (proxies, peer) = (request.app_data::<web::Data<TrustedProxies>>(), request.peer_addr());
    let is_trusted = proxies.zip(peer).is_some_and(|(proxies, peer)| proxies.trusts(peer.ip().to_canonical()));
    is_trusted && last.trim_ascii().eq_ignore_ascii_case(b"https")
}
