//! `GET /` and its files: the console, a client of the API in a browser.

use actix_web::web;
use serde::Serialize;

use crate::response::static_file::FileResponse;
use crate::response::{ApiError, Success};

/// The files of the console: `static/console`.
const BUNDLE: &str = "console";

/// The page runs its own scripts and styles, and calls its own server.
///
/// It can't be framed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What the console shows by the configuration.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsoleSettings {
    pub password_login: bool,
    /// Whether a guest may enter a room without an invitation.
    pub guest_links: bool,
    pub sample_rooms: Vec<String>,
}

pub(super) async fn settings(settings: web::Data<ConsoleSettings>) -> Success<web::Data<ConsoleSettings>> {
    Success(settings)
}

/// Only the page's scripts read the query, as in `/?room=R`.
pub(super) async fn page() -> Result<FileResponse, ApiError> {
    FileResponse::page(BUNDLE, POLICY)
}

pub(super) async fn asset(path: web::Path<(String, String)>) -> Result<FileResponse, ApiError> {
    FileResponse::asset(BUNDLE, &path.0, &path.1)
}
