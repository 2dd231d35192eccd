//! `GET /docs`: a page to read this API and to try it, made of Swagger UI and two small files of our own. It loads nothing from
//! anywhere else.

use actix_web::web;
use bytes::Bytes;

use crate::cache::etag_of;
use crate::response::{ApiError, Caching, File};

/// Scripts and styles come from here alone, and none of them is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("docs/page.html");
const SCRIPT: &str = include_str!("docs/page.js");

/// The release of Swagger UI that is vendored.
const VERSION: &str = include_str!("../../static/swagger-ui/version");

/// What the page's addresses of its files begin with, in its source.
const FOLDER: &str = "\"docs/";

pub(super) async fn page() -> File {
    let page = PAGE.replace(FOLDER, &format!("{FOLDER}{}/", edition()));
    let etag = etag_of(page.as_bytes());
    File { media_type: "text/html; charset=utf-8", bytes: page.into(), etag, policy: Some(POLICY), caching: Caching::Asked }
}

/// The files that the page asks for, at addresses that have only ever meant these bytes.
pub(super) async fn file(path: web::Path<(String, String)>) -> Result<File, ApiError> {
    let (of, name) = path.into_inner();
    let (media_type, bytes): (_, &'static [u8]) = match name.as_str() {
        _ if of != edition() => return Err(ApiError::NotFound),
        "page.js" => ("text/javascript; charset=utf-8", SCRIPT.as_bytes()),
        "swagger-ui-bundle.js" => {
            ("text/javascript; charset=utf-8", include_bytes!("../../static/swagger-ui/swagger-ui-bundle.js"))
        }
        "swagger-ui.css" => ("text/css; charset=utf-8", include_bytes!("../../static/swagger-ui/swagger-ui.css")),
        _ => return Err(ApiError::NotFound),
    };
    let (bytes, etag) = (Bytes::from_static(bytes), format!("\"{of}\""));
    Ok(File { media_type, bytes, etag, policy: None, caching: Caching::ForEver })
}

/// Names the three files: changes with the page's script and with the release of Swagger UI.
fn edition() -> String {
    etag_of([SCRIPT, VERSION].concat().as_bytes()).trim_matches('"').to_owned()
}
