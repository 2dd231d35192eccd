//! Files of the server's own, outside the envelope: pages, their assets, and the OpenAPI document.
//!
//! `build.rs` compresses them and puts the version of an asset into its path. They contain no secret, so that compression
//! reveals none (BREACH); responses of the API are never compressed.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY, Encoding,
    Header as _, HeaderValue, VARY,
};
use actix_web::{HttpRequest, HttpResponse, Responder};
use bytes::Bytes;

use super::{ApiError, cached};

/// All files.
const FILES: &[StaticFile] = include!(concat!(env!("OUT_DIR"), "/static_files.rs"));
/// For files whose address does not name their version.
const REVALIDATE: &str = "no-cache";

/// A file that is embedded in the binary.
struct StaticFile {
    path: &'static str,
    media_type: &'static str,
    /// The entity tag and the bytes.
    plain: (&'static str, &'static [u8]),
    /// The same, compressed.
    gzip: (&'static str, &'static [u8]),
}

/// 200 with a file; 304 if the client has it.
pub(crate) struct FileResponse {
    file: &'static StaticFile,
    cache_control: &'static str,
    /// The `Content-Security-Policy` of a page.
    policy: Option<&'static str>,
}

impl FileResponse {
    /// Serves a file that clients revalidate.
    ///
    /// # Errors
    ///
    /// [`ApiError::UnknownRoute`] if there is no such file. So do the other constructors.
    pub(crate) fn new(path: &str) -> Result<Self, ApiError> {
        let file = FILES.iter().find(|file| file.path == path).ok_or(ApiError::UnknownRoute)?;
        Ok(Self { file, cache_control: REVALIDATE, policy: None })
    }

    /// Serves the page of a bundle.
    pub(crate) fn page(bundle: &str, policy: &'static str) -> Result<Self, ApiError> {
        Ok(Self { policy: Some(policy), ..Self::new(&format!("{bundle}/index.html"))? })
    }

    /// Serves an asset of a bundle. Its address names its version, so that clients keep it for good.
    pub(crate) fn asset(bundle: &str, version: &str, name: &str) -> Result<Self, ApiError> {
        let cache_control = "public, max-age=31536000, immutable";
        Ok(Self { cache_control, ..Self::new(&format!("{bundle}/{version}/{name}"))? })
    }
}

impl Responder for FileResponse {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        response.insert_header((CACHE_CONTROL, self.cache_control)).insert_header((VARY, "Accept-Encoding"));
        if let Some(policy) = self.policy {
            response.insert_header((CONTENT_SECURITY_POLICY, policy));
            // Windows that open this page, or that it opens, get no reference to it.
            response.insert_header((CROSS_ORIGIN_OPENER_POLICY, "same-origin"));
        }
        let is_compressed = accepts_gzip(request);
        let (etag, bytes) = if is_compressed { self.file.gzip } else { self.file.plain };
        let media_type = HeaderValue::from_static(self.file.media_type);
        let mut response = cached::finish(
            &mut response,
            request,
            Bytes::from_static(etag.as_bytes()),
            media_type,
            Bytes::from_static(bytes),
        );
        if is_compressed && response.status() == StatusCode::OK {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Returns whether the client prefers gzip to no compression: RFC 9110 section 12.5.3.
fn accepts_gzip(request: &HttpRequest) -> bool {
    let supported = [Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok().and_then(|accepted| accepted.negotiate(supported.iter()));
    accepted == Some(Encoding::gzip())
}
