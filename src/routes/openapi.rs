//! `GET /openapi.json`: the API as an OpenAPI document.

use crate::cache::etag_of;
use crate::openapi::DOCUMENT;
use crate::responders::{Caching, File};

pub(super) async fn show() -> File {
    let (bytes, etag) = (DOCUMENT.as_bytes().into(), etag_of(DOCUMENT.as_bytes()));
    File { media_type: "application/json", bytes, etag, policy: None, caching: Caching::Asked }
}
