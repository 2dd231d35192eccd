//! The OpenAPI 3.1 document: each row of the route table says its own piece, and here they become one page.
//!
//! Made as plain JSON, because the document comes from data: the table and the answers of [`crate::responders`]. Must not
//! know the HTTP framework.

mod components;
mod operation;

use bytes::Bytes;
use serde_json::{Map, Value, json};

pub use components::line;
pub use operation::Operation;

use crate::answer::etag_of;
use crate::routes::{TABLE, Who};

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for row in TABLE {
        let operation = (row.document)();
        for (number, path) in row.paths.iter().enumerate() {
            let Some(operation) = operation.on(path, number, row.summary, row.who) else { continue };
            let entry = paths.entry(*path).or_insert_with(|| json!({}));
            if let Value::Object(methods) = entry {
                methods.insert(row.method.as_str().to_ascii_lowercase(), operation);
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "proconf-app-server",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The application server between ProCONF clients and Admin Control.",
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The server that this document came from."}],
        "tags": TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": components::all(),
    })
}

/// The document as it is served, printed and checked in: indented, so that a change can be read as a difference.
#[must_use]
pub fn text() -> String {
    // What was made of JSON can be written as JSON.
    let text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    format!("{text}\n")
}

/// The text, made once and served many times.
#[derive(Debug, Clone)]
pub struct Document {
    bytes: Bytes,
    etag: String,
}

impl Document {
    /// Makes it.
    #[must_use]
    pub fn new() -> Self {
        let bytes = Bytes::from(text());
        Self { etag: etag_of(&bytes), bytes }
    }

    /// The whole text.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The strong entity tag, in its quotes.
    #[must_use]
    pub fn etag(&self) -> String {
        self.etag.clone()
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}

const TAGS: [(&str, &str); 4] = [
    ("Sessions", "Signing in, carrying on, signing out."),
    ("Guests", "Coming into one room without an account."),
    ("Calls", "What a call is about, while it goes on and after it."),
    ("Server", "The server about itself."),
];

const ABOUT: &str = "\
Every answer is JSON in one envelope, whatever went wrong: success is `{\"error\": null, \"data\": …}`, failure is \
`{\"data\": null, \"error\": {\"code\": <the HTTP status>, \"message\": \"…\"}}`.

A known URL with a wrong method is 404, never 405. The checks come in this order: URL and method (404), token (401), input \
(400), permission (403), the work. What is passed on from Admin Control is passed on byte for byte.

A token travels as `Authorization: Bearer <token>`. `POST /auth/login` gives one to a user, `GET /auth/joinmember` to a guest.

Not in here, because it is for browsers and no part of the API: the console at `/`, its files under `/console/`, and the files of \
the page at `/docs`. They are there for `GET` alone, need no token, and are 404 in the envelope where there is none.";

impl Who {
    /// Whose token a route asks for.
    fn security(self) -> Value {
        match self {
            Self::Anyone => json!([]),
            Self::Caller | Self::User => json!([{"token": []}]),
            Self::CallerOrTicket => json!([{"token": []}, {"ticket": []}]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn operations() -> Vec<(String, Value)> {
        let document = document();
        let paths = document["paths"].as_object().unwrap().clone();
        let of_path = |(path, methods): (String, Value)| {
            let methods = methods.as_object().unwrap().clone();
            methods.into_iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
        };
        paths.into_iter().flat_map(of_path).collect()
    }

    #[test]
    fn every_route_is_in_the_document_and_asks_for_the_token_that_its_row_asks_for() {
        let documented: BTreeSet<String> = operations().into_iter().map(|(name, _)| name).collect();
        for row in TABLE {
            for path in row.paths.iter().filter(|path| (row.document)().on(path, 0, row.summary, row.who).is_some()) {
                let name = format!("{} {path}", row.method.as_str().to_ascii_lowercase());
                assert!(documented.contains(&name), "{name}");
            }
        }
        for (name, operation) in operations() {
            let asks = operation["security"] != json!([]);
            assert_eq!(
                operation["responses"].get("401").is_some() && !name.ends_with("login") && !name.ends_with("refresh"),
                asks,
                "{name}"
            );
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_answers_500_and_503() {
        let mut names = BTreeSet::new();
        for (name, operation) in operations() {
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{name}");
            assert!(operation["responses"]["500"].is_object() && operation["responses"]["503"].is_object(), "{name}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        let references: BTreeSet<&str> =
            text.split(r##""$ref":"#"##).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 8, "{references:?}");
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
