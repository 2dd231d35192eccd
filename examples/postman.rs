//! Writes the OpenAPI document as a Postman collection, which Bruno and Insomnia also import.
//!
//! The copy in `docs/clients` is regenerated with
//!
//!     cargo run --example postman > docs/clients/proconf.postman_collection.json

#![expect(clippy::indexing_slicing, reason = "a missing index of a JSON value is null")]

use proconf_app_server::routes::openapi;
use serde_json::{Value, json};

fn main() {
    use std::io::Write as _;
    // A write fails only if the reader has closed the pipe.
    let _ = std::io::stdout().write_all(text().as_bytes());
}

/// Returns the collection as it is checked in.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", collection(&serde_json::from_str(openapi::DOCUMENT).unwrap_or_default()))
}

/// Builds the collection of an OpenAPI document.
fn collection(document: &Value) -> Value {
    let mut folders: Vec<Value> = Vec::new();
    for tag in document["tags"].as_array().into_iter().flatten() {
        let items: Vec<Value> = requests(document, &tag["name"]);
        if !items.is_empty() {
            folders.push(json!({"name": tag["name"], "description": tag["description"], "item": items}));
        }
    }
    json!({
        "info": {
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "variable": [
            {"key": "baseUrl", "value": "http://127.0.0.1:8080"},
            {"key": "roomName", "value": "testRoom"},
            {"key": "token", "value": ""},
            {"key": "refreshToken", "value": ""},
        ],
        "item": folders,
    })
}

/// Returns the requests of one tag.
fn requests(document: &Value, tag: &Value) -> Vec<Value> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, methods)| {
        methods.as_object().into_iter().flatten().map(move |(method, operation)| (path, method, operation))
    });
    operations
        .filter(|(.., operation)| operation["tags"][0] == *tag)
        .map(|(path, method, operation)| request(document, path, method, operation))
        .collect()
}

fn request(document: &Value, path: &str, method: &str, operation: &Value) -> Value {
    let path = path.replace("{roomName}", "{{roomName}}");
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let named = parameters.filter_map(|parameter| document.pointer(parameter["$ref"].as_str()?.trim_start_matches('#')));
    let query: Vec<Value> = named
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| {
            // Optional parameters are disabled.
            let required = parameter["required"] == true;
            let value = if required { "{{roomName}}" } else { "" };
            json!({"key": parameter["name"], "value": value, "description": parameter["description"], "disabled": !required})
        })
        .collect();
    let takes_room = query.iter().any(|parameter| parameter["disabled"] == false);
    let raw_query = if takes_room { "?roomName={{roomName}}" } else { "" };
    let mut request = json!({
        "method": method.to_uppercase(),
        "description": format!("{} {}", operation["summary"].as_str().unwrap_or_default(), operation["description"].as_str().unwrap_or_default()).trim(),
        "header": [],
        "url": {"raw": format!("{{{{baseUrl}}}}{path}{raw_query}"), "host": ["{{baseUrl}}"], "path": segments, "query": query},
    });
    if operation["security"] == json!([]) {
        request["auth"] = json!({"type": "noauth"});
    }
    if let Some(content) = operation.pointer("/requestBody/content/application~1json") {
        let mut example = content["example"].clone();
        if example.get("refreshToken").is_some() {
            example["refreshToken"] = json!("{{refreshToken}}");
        }
        if example.get("room").is_some() {
            example["room"] = json!("{{roomName}}");
        }
        request["header"] = json!([{"key": "Content-Type", "value": "application/json"}]);
        request["body"] = json!({"mode": "raw", "raw": format!("{example:#}"), "options": {"raw": {"language": "json"}}});
    }
    let mut item = json!({"name": operation["operationId"], "request": request, "response": []});
    if let Some(script) = token_script(operation["operationId"].as_str().unwrap_or_default()) {
        item["event"] = json!([{"listen": "test", "script": {"type": "text/javascript", "exec": script}}]);
    }
    item
}

/// Returns the script that stores the tokens of a response in variables.
fn token_script(id: &str) -> Option<Vec<&'static str>> {
    match id {
        "login" | "refresh" => Some(vec![
            "const { data } = pm.response.json();",
            "if (data) {",
            "  pm.collectionVariables.set(\"token\", data.token);",
            "  pm.collectionVariables.set(\"refreshToken\", data.refreshToken);",
            "}",
        ]),
        "joinMember" => {
            Some(vec!["const { data } = pm.response.json();", "if (data) pm.collectionVariables.set(\"token\", data);"])
        }
        _ => None,
    }
}
