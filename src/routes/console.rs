//! `GET /` and its files: the console, a page for browsers, embedded in the binary. It calls the API as any other client does,
//! and nothing here knows what it asks for.

use std::borrow::Cow;

use actix_web::web;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::responders::{ApiError, File};

/// Everything the page is made of. What is not in here does not exist, whatever a path says.
#[derive(RustEmbed)]
#[folder = "static/console"]
struct Files;

const PAGE: &str = "index.html";

/// The page runs its own scripts and styles, asks its own server, and is shown in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The page. A query, as in `/?room=R`, is for its scripts alone.
pub(super) async fn page() -> Result<File, ApiError> {
    let page = Files::get(PAGE).ok_or(ApiError::NotFound)?;
    Ok(File { policy: Some(POLICY), ..file("text/html; charset=utf-8", page) })
}

/// One of the page's files.
pub(super) async fn asset(name: web::Path<String>) -> Result<File, ApiError> {
    let media_type = media_type(&name).ok_or(ApiError::NotFound)?;
    Ok(file(media_type, Files::get(&name).ok_or(ApiError::NotFound)?))
}

fn file(media_type: &'static str, file: EmbeddedFile) -> File {
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(file.metadata.sha256_hash()));
    let bytes = match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    File { media_type, bytes, etag, policy: None }
}

/// What the page is made of. The page itself has one address, and it is not here.
fn media_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_file_has_an_address_and_the_type_that_its_name_says() {
        let names: Vec<_> = Files::iter().collect();
        assert!(names.len() > 3, "{names:?}");
        for name in names.iter().filter(|name| *name != PAGE) {
            assert!(media_type(name).is_some() && !name.contains('/'), "{name}");
        }
        assert!(names.iter().any(|name| name == PAGE));
        assert_eq!(media_type(PAGE), None);
    }
}
