//! `GET /docs` and its files: Swagger UI, to read and try this API.

use actix_web::web::{self, Redirect};

use crate::response::ApiError;
use crate::response::static_file::FileResponse;

/// The page, its script, and the vendored release of Swagger UI: `static/swagger-ui`.
const BUNDLE: &str = "docs";

/// The page runs its own scripts and styles, and calls its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn page() -> Result<FileResponse, ApiError> {
    FileResponse::page(BUNDLE, POLICY)
}

/// `/docs/`: browsers would resolve the page's relative addresses below it.
pub(super) async fn redirect() -> Redirect {
    Redirect::to("/docs").permanent()
}

pub(super) async fn asset(path: web::Path<(String, String)>) -> Result<FileResponse, ApiError> {
    FileResponse::asset(BUNDLE, &path.0, &path.1)
}
