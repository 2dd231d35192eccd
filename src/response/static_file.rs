//! A file of the server's own: no answer of the API, and in no envelope. What is in it, and where, is not known here.

use actix_web::body::BoxBody;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY, ETAG};
use actix_web::{HttpRequest, HttpResponse, Responder};
use bytes::Bytes;

use super::{begun, is_known};

/// A file of the server's own, which is no answer of the API and has no envelope.
#[derive(Debug, Clone)]
pub struct File {
    /// Its `Content-Type`.
    pub media_type: &'static str,
    /// What is in it.
    pub bytes: Bytes,
    /// Its strong entity tag, in its quotes.
    pub etag: String,
    /// Its `Content-Security-Policy`, where a browser shows it as a page of its own.
    pub policy: Option<&'static str>,
    /// For how long who has it need not ask again.
    pub caching: Caching,
}

/// For how long a file may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Its address may mean another file tomorrow: it is asked for each time, and answered with 304.
    Asked,
    /// Its address has what is in it in its name.
    ForEver,
}

impl Responder for File {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let known = is_known(request, self.etag.as_bytes());
        let mut response = begun(known);
        let caching = match self.caching {
            Caching::Asked => "no-cache",
            Caching::ForEver => "public, max-age=31536000, immutable",
        };
        response.insert_header((CACHE_CONTROL, caching)).insert_header((ETAG, self.etag));
        if let Some(policy) = self.policy {
            response.insert_header((CONTENT_SECURITY_POLICY, policy));
            // A page that opened this one, or was opened by it, gets no hold of it.
            response.insert_header((CROSS_ORIGIN_OPENER_POLICY, "same-origin"));
        }
        if known { response.finish() } else { response.content_type(self.media_type).body(self.bytes) }
    }
}
