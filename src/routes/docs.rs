//! `GET /docs`: a page to read this API and to try it, made of Swagger UI and two small files of our own. It loads nothing from
//! anywhere else.

use actix_web::HttpRequest;
use bytes::Bytes;
use serde_json::json;

use crate::answer::etag_of;
use crate::openapi::Operation;
use crate::responders::{ApiError, Caching, File};

/// Scripts and styles come from here alone, and none of them is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn page() -> File {
    ours("text/html; charset=utf-8", include_str!("docs/page.html"), Some(POLICY))
}

/// The files that the page asks for.
pub(super) async fn file(request: HttpRequest) -> Result<File, ApiError> {
    match request.path() {
        "/docs/page.js" => Ok(ours("text/javascript; charset=utf-8", include_str!("docs/page.js"), None)),
        "/docs/swagger-ui-bundle.js" => Ok(File {
            media_type: "text/javascript; charset=utf-8",
            bytes: Bytes::from_static(include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js"))),
            etag: env!("SWAGGER_UI_SCRIPT_TAG").to_owned(),
            policy: None,
            caching: Caching::Asked,
        }),
        "/docs/swagger-ui.css" => Ok(File {
            media_type: "text/css; charset=utf-8",
            bytes: Bytes::from_static(include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css"))),
            etag: env!("SWAGGER_UI_STYLE_TAG").to_owned(),
            policy: None,
            caching: Caching::Asked,
        }),
        _ => Err(ApiError::NotFound),
    }
}

fn ours(media_type: &'static str, text: &'static str, policy: Option<&'static str>) -> File {
    let (bytes, etag) = (Bytes::from_static(text.as_bytes()), etag_of(text.as_bytes()));
    File { media_type, bytes, etag, policy, caching: Caching::Asked }
}

pub(super) fn document() -> Operation {
    Operation::new("docs", "Server")
        .says("Who signs in on the page has the token in place at once.")
        .file("text/html", &json!({"type": "string"}))
}
