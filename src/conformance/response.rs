//! A response, and assertions about it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use ureq::http::{HeaderMap, HeaderName};

use super::case::{Failure, Outcome, check, not_tried};

/// A response and the request that it belongs to.
pub(super) struct Response {
    /// Method and target.
    pub(super) request: String,
    pub(super) status: u16,
    /// Names in lower case; the values of a repeated header are joined (RFC 9110).
    headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Response {
    pub(super) fn new(request: String, status: u16, headers: &HeaderMap, body: Vec<u8>) -> Self {
        let join = |name: &HeaderName| {
            let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            (name.as_str().to_owned(), values.collect::<Vec<_>>().join(", "))
        };
        Self { request, status, headers: headers.keys().map(join).collect(), body }
    }

    /// Returns the value of a header; the values of a repeated one are joined.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// Returns the value of a required header.
    pub(super) fn required_header(&self, name: &str) -> Result<&str, Failure> {
        self.header(name).ok_or_else(|| format!("{}: status {} without {name}", self.request, self.status).into())
    }

    /// Asserts that a header has this value.
    pub(super) fn assert_header(&self, name: &str, expected: &str) -> Outcome {
        let value = self.required_header(name)?;
        check(value == expected, || format!("{}: {name}: {value} and not {expected}", self.request))
    }

    /// Returns the response; a 403 means that the case can't be tried, because of what is `missing`.
    pub(super) fn permitted(self, missing: &str) -> Result<Self, Failure> {
        if self.assert_error(403, "Forbidden").is_ok() { Err(not_tried(missing)) } else { Ok(self) }
    }

    pub(super) fn assert_status(&self, status: u16) -> Outcome {
        check(self.status == status, || {
            format!("{}: status {} and not {status}: {}", self.request, self.status, self.text())
        })
    }

    /// Asserts this status and no body.
    pub(super) fn assert_empty(&self, status: u16) -> Outcome {
        self.assert_status(status)?;
        check(self.body.is_empty(), || format!("{}: {} bytes of body, and not none", self.request, self.body.len()))
    }

    /// Asserts a 200 and returns the `data` of its envelope.
    pub(super) fn success(&self) -> Result<Value, Failure> {
        let mut envelope = self.envelope(200)?;
        let members = envelope.as_object().map_or(0, serde_json::Map::len);
        let is_success = members == 2 && envelope.get("error") == Some(&Value::Null) && envelope.get("data").is_some();
        check(is_success, || format!("{}: not {{\"error\":null,\"data\":…}}: {envelope}", self.request))?;
        Ok(envelope.get_mut("data").map(Value::take).unwrap_or_default())
    }

    /// Asserts exactly this error envelope.
    pub(super) fn assert_error(&self, status: u16, message: &str) -> Outcome {
        let envelope = self.envelope(status)?;
        let expected = json!({"data": null, "error": {"code": status, "message": message}});
        check(envelope == expected, || format!("{}: {envelope} and not {expected}", self.request))
    }

    /// Asserts a 400 in the error envelope and returns its message.
    pub(super) fn assert_bad_request(&self) -> Result<String, Failure> {
        let envelope = self.envelope(400)?;
        let error = envelope.get("error");
        let message = error.and_then(|error| error.get("message")).and_then(Value::as_str).unwrap_or_default();
        let code = error.and_then(|error| error.get("code"));
        let is_error = envelope.get("data") == Some(&Value::Null) && code == Some(&json!(400)) && !message.is_empty();
        check(is_error, || format!("{}: not an error envelope: {envelope}", self.request))?;
        Ok(message.to_owned())
    }

    /// Returns the envelope, if status and type are as expected.
    fn envelope(&self, status: u16) -> Result<Value, Failure> {
        self.assert_status(status)?;
        let media_type = self.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
        check(media_type.trim() == "application/json", || {
            format!("{}: Content-Type {media_type:?} and not application/json: {}", self.request, self.text())
        })?;
        serde_json::from_slice(&self.body).map_err(|_| format!("{}: not JSON: {}", self.request, self.text()).into())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Returns the string in `value`.
pub(super) fn string(value: &Value) -> Result<&str, Failure> {
    value.as_str().ok_or_else(|| format!("{value} is not a string").into())
}

/// Returns the member `name` of an object.
pub(super) fn member<'a>(value: &'a Value, name: &str) -> Result<&'a Value, Failure> {
    value.get(name).ok_or_else(|| format!("no {name} in {value}").into())
}

/// Percent-encodes a room name for a path segment or a query.
pub(super) fn encode(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    #[test]
    fn values_of_a_repeated_header_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append("vary", HeaderValue::from_static("Accept-Encoding"));
        headers.append("vary", HeaderValue::from_static("Origin"));
        headers.append("etag", HeaderValue::from_static("\"1\""));
        let response = Response::new("GET /callConfig".to_owned(), 200, &headers, Vec::new());
        assert_eq!(response.header("VARY"), Some("Accept-Encoding, Origin"));
        assert_eq!(response.header("etag"), Some("\"1\""));
        assert_eq!(response.header("Age"), None);
    }
}
