//! Files of the server's own, outside the envelope: pages, their assets, and the OpenAPI document.

use std::borrow::Cow;

use actix_web::body::BoxBody;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use rust_embed::RustEmbed;

use super::{ApiError, cached};
use crate::cache::etag_of;

/// The file of a bundle that is its page.
pub(crate) const PAGE: &str = "index.html";

/// A file of the server's own.
pub(crate) struct StaticFile {
    media_type: &'static str,
    bytes: Bytes,
    etag: String,
    cache_control: &'static str,
    /// The `Content-Security-Policy` of a page.
    policy: Option<&'static str>,
}

impl StaticFile {
    /// Creates a file whose address does not name its version, so that clients revalidate it.
    pub(crate) fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let etag = etag_of(&bytes);
        Self { media_type, bytes, etag, cache_control: "no-cache", policy: None }
    }

    /// Creates the page of a bundle whose files are in `folder`. Puts the bundle's version into their addresses.
    ///
    /// # Errors
    ///
    /// [`ApiError::UnknownRoute`] if the bundle has no page.
    pub(crate) fn page<Bundle: RustEmbed>(folder: &str, policy: &'static str) -> Result<Self, ApiError> {
        let page = Bundle::get(PAGE).ok_or(ApiError::UnknownRoute)?;
        let page = String::from_utf8_lossy(&page.data).replace(folder, &format!("{folder}{}/", version::<Bundle>()));
        Ok(Self { policy: Some(policy), ..Self::new("text/html; charset=utf-8", page) })
    }

    /// Creates an asset of a bundle. Its address names its version, so that clients keep it for good.
    ///
    /// # Errors
    ///
    /// [`ApiError::UnknownRoute`] for another version, and for a name that is no asset.
    pub(crate) fn asset<Bundle: RustEmbed>(requested_version: &str, name: &str) -> Result<Self, ApiError> {
        let media_type = media_type(name).filter(|_| requested_version == version::<Bundle>());
        let (media_type, file) = media_type.zip(Bundle::get(name)).ok_or(ApiError::UnknownRoute)?;
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(file.metadata.sha256_hash()));
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        Ok(Self { media_type, bytes, etag, cache_control: "public, max-age=31536000, immutable", policy: None })
    }
}

impl Responder for StaticFile {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        response.insert_header((CACHE_CONTROL, self.cache_control));
        if let Some(policy) = self.policy {
            response.insert_header((CONTENT_SECURITY_POLICY, policy));
            // Windows that open this page, or that it opens, get no reference to it.
            response.insert_header((CROSS_ORIGIN_OPENER_POLICY, "same-origin"));
        }
        let media_type = HeaderValue::from_static(self.media_type);
        cached::finish(&mut response, request, self.etag.into(), media_type, self.bytes)
    }
}

/// Returns the version of a whole bundle, because its scripts import each other.
fn version<Bundle: RustEmbed>() -> String {
    let files = Bundle::iter().filter_map(|name| Bundle::get(&name));
    let hashes: Vec<u8> = files.flat_map(|file| file.metadata.sha256_hash()).collect();
    etag_of(&hashes).trim_matches('"').to_owned()
}

/// Returns the media type of an asset; `None` for files that are not served.
pub(crate) fn media_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}
