//! `GET /` and its files: the console, a client of the API in a browser.

use actix_web::web;
use rust_embed::RustEmbed;
use serde::Serialize;

use crate::response::static_file::StaticFile;
use crate::response::{ApiError, Success};

/// The files of the console, embedded in the binary.
#[derive(RustEmbed)]
#[folder = "static/console"]
struct Console;

/// The page runs its own scripts and styles, and calls its own server.
///
/// It can't be framed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What the console shows by the configuration.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsoleSettings {
    pub sample_rooms: Vec<String>,
}

pub(super) async fn settings(settings: web::Data<ConsoleSettings>) -> Success<web::Data<ConsoleSettings>> {
    Success(settings)
}

/// Only the page's scripts read the query, as in `/?room=R`.
pub(super) async fn page() -> Result<StaticFile, ApiError> {
    StaticFile::page::<Console>("\"/console/", POLICY)
}

pub(super) async fn asset(path: web::Path<(String, String)>) -> Result<StaticFile, ApiError> {
    StaticFile::asset::<Console>(&path.0, &path.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::static_file::{PAGE, media_type};

    #[test]
    fn every_embedded_file_has_a_media_type() {
        let names: Vec<_> = Console::iter().collect();
        assert!(names.len() > 3, "{names:?}");
        for name in names.iter().filter(|name| *name != PAGE) {
            assert!(media_type(name).is_some() && !name.contains('/'), "{name}");
        }
        assert!(names.iter().any(|name| name == PAGE));
        assert_eq!(media_type(PAGE), None, "the page has one address");
    }
}
