//! `GET /openapi.json`: this API as a document, for tools.

use actix_web::web;
use serde_json::json;

use crate::openapi::{Document, Operation};
use crate::responders::{Caching, File};

pub(super) async fn show(document: web::Data<Document>) -> File {
    let (bytes, etag) = (document.bytes(), document.etag());
    File { media_type: "application/json", bytes, etag, policy: None, caching: Caching::Asked }
}

pub(super) fn document() -> Operation {
    Operation::new("openapi", "Server")
        .says("In OpenAPI 3.1, made from the server's own table of routes.")
        .file("application/json", &json!({"type": "object", "required": ["openapi", "info", "paths"]}))
}
