//! An HTTP response and its assertions.

use std::fmt;

use serde_json::Value;

/// One HTTP response.
#[derive(Clone)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Shows the beginning of the body as text.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(300).collect();
        write!(f, "{} {:?} {body:?} ({} bytes)", self.status, self.headers, self.body.len())
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// Asserts a 200 with exactly this `data` in the envelope.
    #[track_caller]
    pub fn assert_success(&self, data: &str) {
        self.assert_head(200, data);
        assert_eq!(self.text(), format!(r#"{{"error":null,"data":{data}}}"#));
    }

    /// Asserts a 200 and returns the `data` of the envelope.
    #[track_caller]
    pub fn data(&self) -> Value {
        self.assert_head(200, "");
        let mut body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["error"], Value::Null, "{}", self.text());
        body["data"].take()
    }

    /// Asserts the error envelope with this status and message; `of` names the case.
    #[track_caller]
    pub fn assert_error(&self, status: u16, message: &str, case: &str) {
        self.assert_head(status, case);
        let expected = format!(r#"{{"data":null,"error":{{"code":{status},"message":"{message}"}}}}"#);
        assert_eq!(self.text(), expected, "{case}");
        assert_eq!(self.challenge().is_some(), status == 401, "{case}");
        assert_eq!(self.header("x-not-found").is_some(), status == 404, "{case}");
    }

    #[track_caller]
    pub fn assert_unauthorized(&self, case: &str) {
        self.assert_error(401, "Unauthorized", case);
    }

    /// The `WWW-Authenticate` header.
    pub fn challenge(&self) -> Option<&str> {
        let challenge = self.header("www-authenticate")?;
        assert!(["Bearer", r#"Bearer error="invalid_token""#].contains(&challenge), "{challenge}");
        Some(challenge)
    }

    #[track_caller]
    fn assert_head(&self, status: u16, case: &str) {
        assert_eq!(self.status, status, "{case}: {self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{case}");
        let id = self.header("x-request-id").expect("a request id");
        assert!((1..=64).contains(&id.len()), "{case}: {id}");
    }
}
