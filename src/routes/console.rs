//! `GET /` and its files: the console, a page for browsers, embedded in the binary. It calls the API as any other client does,
//! and nothing here knows what it asks for.

use std::borrow::Cow;

use actix_web::web;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use rust_embed::RustEmbed;

use crate::cache::etag_of;
use crate::response::{ApiError, Caching, File};

/// Everything the page is made of. What is not in here does not exist, whatever a path says.
#[derive(RustEmbed)]
#[folder = "static/console"]
struct Files;

const PAGE: &str = "index.html";

/// The page runs its own scripts and styles, asks its own server, and is shown in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What the page's addresses of its files begin with, in its source.
const FOLDER: &str = "\"/console/";

/// The page. A query, as in `/?room=R`, is for its scripts alone.
pub(super) async fn page() -> Result<File, ApiError> {
    let page = Files::get(PAGE).and_then(|page| String::from_utf8(page.data.into_owned()).ok()).ok_or(ApiError::NotFound)?;
    let page = page.replace(FOLDER, &format!("{FOLDER}{}/", edition()));
    let etag = etag_of(page.as_bytes());
    Ok(File {
        media_type: "text/html; charset=utf-8",
        bytes: page.into(),
        etag,
        policy: Some(POLICY),
        caching: Caching::Asked,
    })
}

/// One of the page's files, at an address that has only ever meant these bytes.
pub(super) async fn asset(path: web::Path<(String, String)>) -> Result<File, ApiError> {
    let (of, name) = path.into_inner();
    let media_type = media_type(&name).filter(|_| of == edition()).ok_or(ApiError::NotFound)?;
    let file = Files::get(&name).ok_or(ApiError::NotFound)?;
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(file.metadata.sha256_hash()));
    let bytes = match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    Ok(File { media_type, bytes, etag, policy: None, caching: Caching::ForEver })
}

/// Names all the files as they are. One name for all, because the scripts ask for one another.
fn edition() -> String {
    let hashes: Vec<u8> =
        Files::iter().filter_map(|name| Files::get(&name)).flat_map(|file| file.metadata.sha256_hash()).collect();
    etag_of(&hashes).trim_matches('"').to_owned()
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
