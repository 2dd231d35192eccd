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
    let mut last: Vec<Value> = Vec::new();
    for tag in document["tags"].as_array().into_iter().flatten() {
        let mut items: Vec<Value> = requests(document, &tag["name"]);
        // A runner sends the requests in their order, and the others need the session.
        last.extend(items.extract_if(.., |item| item["name"] == "logout"));
        if !items.is_empty() {
            folders.push(json!({"name": tag["name"], "description": tag["description"], "item": items}));
        }
    }
    folders.append(&mut last);
    json!({
        "info": {
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "variable": [
            {"key": "baseUrl", "value": "http://127.0.0.1:8080"},
            {"key": "email", "value": "demo@example.com"},
            {"key": "password", "value": "demo of a late joiner"},
            {"key": "roomName", "value": "testRoom"},
            {"key": "endedRoomName", "value": "endedRoom"},
            {"key": "token", "value": ""},
            {"key": "guestToken", "value": ""},
            {"key": "refreshToken", "value": ""},
            {"key": "invitationId", "value": ""},
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
        // A runner would wait for the end of the stream.
        .filter(|(.., operation)| operation.pointer("/responses/200/content/text~1event-stream").is_none())
        .map(|(path, method, operation)| request(document, path, method, operation))
        .collect()
}

fn request(document: &Value, path: &str, method: &str, operation: &Value) -> Value {
    let room = if path.starts_with("/callSummary") { "{{endedRoomName}}" } else { "{{roomName}}" };
    let path = path.replace("{roomName}", room).replace("{id}", "{{invitationId}}");
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let named = parameters.filter_map(|parameter| document.pointer(parameter["$ref"].as_str()?.trim_start_matches('#')));
    let query: Vec<Value> = named
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| {
            // Optional parameters are disabled.
            let required = parameter["required"] == true;
            let value = if required { room } else { "" };
            json!({"key": parameter["name"], "value": value, "description": parameter["description"], "disabled": !required})
        })
        .collect();
    let takes_room = query.iter().any(|parameter| parameter["disabled"] == false);
    let raw_query = if takes_room { format!("?roomName={room}") } else { String::new() };
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
        for (member, variable) in
            [("email", "email"), ("password", "password"), ("refreshToken", "refreshToken"), ("room", "roomName")]
        {
            if let Some(value) = example.get_mut(member) {
                *value = json!(format!("{{{{{variable}}}}}"));
            }
        }
        request["header"] = json!([{"key": "Content-Type", "value": "application/json"}]);
        request["body"] = json!({"mode": "raw", "raw": format!("{example:#}"), "options": {"raw": {"language": "json"}}});
    }
    let script =
        [assertions(document, operation), stored_tokens(operation["operationId"].as_str().unwrap_or_default())].concat();
    json!({
        "name": operation["operationId"],
        "event": [{"listen": "test", "script": {"type": "text/javascript", "exec": script}}],
        "request": request,
        "response": [],
    })
}

/// Returns the script that asserts a success, with its envelope if it is JSON of the API.
fn assertions(document: &Value, operation: &Value) -> Vec<String> {
    let mut script = vec!["pm.test(\"status is 200\", () => pm.response.to.have.status(200));".to_owned()];
    let resolve = |schema: &Value| {
        let reference = schema["$ref"].as_str().map(|reference| reference.trim_start_matches('#'));
        reference.and_then(|reference| document.pointer(reference)).cloned().unwrap_or_else(|| schema.clone())
    };
    let schema = operation.pointer("/responses/200/content/application~1json/schema").map(resolve).unwrap_or_default();
    if let Some(data) = schema.pointer("/properties/data").map(resolve) {
        let is_of_type =
            data["type"].as_str().map(|kind| format!("pm.expect(pm.response.json().data).to.be.a(\"{kind}\");"));
        script.push("pm.test(\"envelope has data and no error\", () => {".to_owned());
        script.push("  pm.expect(pm.response.json().error).to.be.null;".to_owned());
        script.extend(is_of_type.map(|line| format!("  {line}")));
        script.push("});".to_owned());
    }
    script
}

/// Returns the script that stores the tokens of a response in variables.
fn stored_tokens(id: &str) -> Vec<String> {
    // Scripts share one scope in some versions of newman, so that they declare no names.
    let variables: &[(&str, &str)] = match id {
        "login" | "refresh" => &[("token", ".token"), ("refreshToken", ".refreshToken")],
        "joinMember" => &[("guestToken", "")],
        "createInvitation" => &[("invitationId", ".id")],
        _ => &[],
    };
    let store =
        |(name, member): &(&str, &str)| format!("pm.collectionVariables.set(\"{name}\", pm.response.json().data{member});");
    variables.iter().map(store).collect()
}
