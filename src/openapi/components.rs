//! What the operations share: the failures of the envelope, the headers, the parameters, the security scheme.

use std::mem::discriminant;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::catch_up::Reason;
use crate::responders::ApiError;
use crate::room;

/// The format of a room's name.
const ROOM: &str = "room-name";

/// The `components` of the document.
pub(super) fn all() -> Value {
    let mut responses: Map<String, Value> = failures()
        .iter()
        .map(|(name, error, description)| ((*name).to_owned(), failure_response(error, description)))
        .collect();
    let tagged = [("NotModified", "Kept", Some("Age")), ("FileNotModified", "Revalidate", None)];
    responses.extend(tagged.map(|(name, caching, age)| (name.to_owned(), not_modified(caching, age))));
    json!({
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "A user's token from `POST /auth/login`, or a guest's from `GET /auth/joinmember`.",
            },
            "ticket": {
                "type": "apiKey",
                "in": "query",
                "name": "ticket",
                "description": "From `POST /auth/streamticket`, for a stream: of that room, once, within 30 seconds. In place of a \
                                token; both at once are 401.",
            },
        },
        "parameters": parameters(),
        "headers": headers(),
        "responses": responses,
    })
}

/// A string that is a room's name (`room-name`), or a text of one line that people read (`line`): not blank, and of at most
/// 255 bytes. That it is counted in bytes, and what a name must not become, no schema can say; the format stands for it.
#[must_use]
pub fn line(format: &str, about: &str) -> Value {
    let no = if format == ROOM { r"/\\" } else { "" };
    json!({
        "type": "string",
        "format": format,
        "description": about,
        "minLength": 1,
        "maxLength": room::MAX_BYTES,
        "pattern": format!(r"^[^\u0000-\u001f\u007f-\u009f{no}]+$"),
    })
}

/// A reference to one of the failures.
pub(super) fn failure(error: &ApiError) -> Value {
    let name = failures()
        .into_iter()
        .find(|(_, other, _)| discriminant(other) == discriminant(error))
        .map_or("", |(name, ..)| name);
    response(name)
}

pub(super) fn response(name: &str) -> Value {
    reference("responses", name)
}

pub(super) fn header(name: &str) -> Value {
    reference("headers", name)
}

pub(super) fn parameter(name: &str) -> Value {
    reference("parameters", name)
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

/// Every failure that a route may document.
fn failures() -> [(&'static str, ApiError, &'static str); 10] {
    [
        ("BadRequest", ApiError::RoomRequired, "Malformed input. The sentence names what is wrong."),
        (
            "Unauthorized",
            ApiError::Unauthorized,
            "The token is missing, invalid, expired or revoked; or e-mail and password, or the refresh token, are wrong.",
        ),
        ("Forbidden", ApiError::Forbidden, "A valid token that does not cover this room, role or route."),
        ("NotFound", ApiError::NotFound, "Admin Control does not know the room. Also: an unknown URL, or a wrong method."),
        (
            "NoCatchUp",
            ApiError::NoCatchUp(Reason::NoneYet),
            "There is no catch-up. `X-Catch-Up-Reason` says what is known of why. Also: an unknown URL, or a wrong method.",
        ),
        ("RequestTimeout", ApiError::TooSlow, "The body did not arrive within the request's time."),
        ("PayloadTooLarge", ApiError::PayloadTooLarge, "The body is over 64 KiB."),
        (
            "TooManyRequests",
            ApiError::Throttled(Duration::from_secs(1)),
            "Too many failed logins; try again after `Retry-After`.",
        ),
        (
            "InternalServerError",
            ApiError::Internal,
            "A failure on the server's side, every failure of Admin Control included.",
        ),
        ("ServiceUnavailable", ApiError::Overloaded, "Overloaded; try again after `Retry-After`."),
    ]
}

fn failure_response(error: &ApiError, description: &str) -> Value {
    let code = error.code();
    let sentences: &[(&str, &str)] = match error {
        ApiError::RoomRequired => &[
            ("room", "Room name required in query param."),
            ("roomName", "Room name is not valid."),
            ("field", "email is required."),
            ("body", "The body must be one JSON object with each member once."),
            ("type", "Content-Type must be application/json."),
        ],
        _ => &[],
    };
    let message =
        if sentences.is_empty() { json!({"const": error.to_string()}) } else { json!({"type": "string", "minLength": 1}) };
    let example = |message: &str| json!({"data": null, "error": {"code": code, "message": message}});
    let mut content = json!({"schema": {
        "type": "object",
        "required": ["data", "error"],
        "additionalProperties": false,
        "properties": {
            "data": {"type": "null"},
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "additionalProperties": false,
                "properties": {"code": {"const": code}, "message": message},
            },
        },
    }});
    if let Value::Object(members) = &mut content {
        let examples = sentences.iter().map(|(name, message)| ((*name).to_owned(), json!({"value": example(message)})));
        let (name, value) = match sentences {
            [] => ("example", example(&error.to_string())),
            _ => ("examples", Value::Object(examples.collect())),
        };
        members.insert(name.to_owned(), value);
    }
    let mut headers = json!({"X-Request-Id": header("RequestId"), "Cache-Control": header("NotKept")});
    if let Value::Object(headers) = &mut headers {
        match error {
            ApiError::Unauthorized => drop(headers.insert("WWW-Authenticate".to_owned(), header("Challenge"))),
            ApiError::NoCatchUp(_) => drop(headers.insert("X-Catch-Up-Reason".to_owned(), header("CatchUpReason"))),
            ApiError::Throttled(_) | ApiError::Overloaded => {
                headers.insert("Retry-After".to_owned(), header("RetryAfter"));
            }
            _ => {}
        }
    }
    json!({"description": description, "headers": headers, "content": {"application/json": content}})
}

fn not_modified(caching: &str, age: Option<&str>) -> Value {
    let mut headers = json!({"X-Request-Id": header("RequestId"), "ETag": header("ETag"), "Cache-Control": header(caching)});
    if let (Value::Object(headers), Some(age)) = (&mut headers, age) {
        headers.insert(age.to_owned(), header(age));
    }
    json!({
        "description": "The client has this answer already: its tag is in `If-None-Match`. No body.",
        "headers": headers,
    })
}

fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({"description": description, "required": true, "schema": schema});
    json!({
        "RequestId": header(
            "In the log too: quote it in a report. The client's own, if it sent a plain one.",
            json!({"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$", "examples": ["3fJ0c2tq8Zb1"]}),
        ),
        "ETag": header(
            "The tag of this answer, to be sent back in `If-None-Match`.",
            json!({"type": "string", "pattern": "^\"[^\"]+\"$", "examples": ["\"q3x1Zr0k9mE\""]}),
        ),
        "Age": header(
            "Seconds since the answer arrived from Admin Control. It grows past the usual few when an old answer stands in for a failure.",
            json!({"type": "integer", "minimum": 0, "examples": [2]}),
        ),
        "CatchUpReason": {
            "description": "Why there is nothing, where there is nothing and this deployment says why.",
            "schema": {"enum": Reason::ALL.map(Reason::name).to_vec()},
        },
        "Kept": header("Ask again each time, with the tag.", json!({"const": "private, no-cache"})),
        "Revalidate": header("Ask again each time, with the tag.", json!({"const": "no-cache"})),
        "NotKept": header("Nobody keeps it.", json!({"const": "no-store"})),
        "Challenge": header("How to authenticate.", json!({"const": "Bearer"})),
        "RetryAfter": header("Seconds to wait.", json!({"type": "integer", "minimum": 1, "examples": [1]})),
    })
}

fn parameters() -> Value {
    let mut room = line(ROOM, "");
    if let Value::Object(members) = &mut room {
        members.remove("description");
        members.insert("examples".to_owned(), json!(["testRoom", "weekly sync", "комната"]));
    }
    let about = format!(
        "The room: 1 to {} bytes of UTF-8, percent-encoded once, taken literally. Not blank, without control characters, `/` and \
         `\\`, not `.` or `..`, and nothing that would become one of these if it were decoded again.",
        room::MAX_BYTES
    );
    let text = |name: &str, about: &str, examples: &[&str]| {
        json!({"name": name, "in": "header", "required": false, "description": about,
               "schema": {"type": "string", "examples": examples}})
    };
    json!({
        "RoomInPath": {
            "name": "roomName", "in": "path", "required": true, "schema": room,
            "description": format!("{about} If `roomName` is in the query too, it must be the same."),
        },
        "RoomInQuery": {
            "name": "roomName", "in": "query", "required": true, "schema": room,
            "description": format!("{about} Here a `+` is a space. To be given once."),
        },
        "IfNoneMatch": text("If-None-Match", "The `ETag` of the answer that the client has; 304 if it is still the one.", &["\"q3x1Zr0k9mE\""]),
        "LastEventId": text(
            "Last-Event-ID",
            "The `id` of the last event that the client has, which is an `ETag`: it is not sent again.",
            &["\"q3x1Zr0k9mE\""],
        ),
        "LastEventIdInQuery": {
            "name": "lastEventId", "in": "query", "required": false,
            "description": "The same for who can send no header. The header counts where both are there.",
            "schema": {"type": "string", "examples": ["\"q3x1Zr0k9mE\""]},
        },
        "RequestId": text(
            "X-Request-Id",
            "The client's own name for the request; kept if it is 1 to 64 of `A-Z a-z 0-9 . _ -`, else replaced.",
            &["my-request-1"],
        ),
    })
}
