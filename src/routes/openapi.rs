//! `GET /openapi.json`: the API as an OpenAPI document.

use crate::response::ApiError;
use crate::response::static_file::FileResponse;

/// The OpenAPI document, written by hand: ADR 4. A test in `routes` compares it with the table of routes.
pub const DOCUMENT: &str = include_str!("../../docs/openapi.json");

pub(super) async fn show() -> Result<FileResponse, ApiError> {
    FileResponse::new("openapi.json")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::DOCUMENT;

    #[test]
    fn references_resolve_and_components_are_used() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let references: BTreeSet<&str> =
            DOCUMENT.split(r##""$ref": "#"##).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        for reference in &references {
            assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
        }
        for (kind, members) in document["components"].as_object().unwrap() {
            for name in members.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
                let reference = format!("/components/{kind}/{name}");
                assert!(references.contains(reference.as_str()), "{reference} is not used");
            }
        }
    }

    #[test]
    fn version_is_the_crates() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
