//! The sandbox's webhook for access to rooms, and its allow list.

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::record::RecordedRequest;
use super::reply::Reply;
use crate::clock::Clock;

/// The path of the webhook.
pub(super) const PATH: &str = "/room-access";
/// Verifies the webhook's requests. Publicly known, as the sandbox has no secret.
pub const WEBHOOK_SECRET: &str = "whsec_c2FuZGJveCB3ZWJob29rLCBub3Qgc2VjcmV0IQ==";
/// Maximum age of a request, in seconds.
const MAX_AGE: u64 = 300;

/// The users and rooms that the webhook allows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AllowList {
    allow: Vec<Rule>,
    #[serde(default = "default_ttl")]
    ttl: u64,
}

/// A user and a room; an absent one stands for all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    subject: Option<String>,
    room: Option<String>,
}

impl Default for AllowList {
    fn default() -> Self {
        Self { allow: vec![Rule::default()], ttl: default_ttl() }
    }
}

fn default_ttl() -> u64 {
    30
}

impl AllowList {
    pub(super) fn reply_to(&self, request: &RecordedRequest) -> Reply {
        if !is_signed(request) {
            return Reply::body(401, r#"{"error":"The signature is missing, wrong or old."}"#);
        }
        let request: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let matches = |expected: &Option<String>, member| match expected {
            Some(expected) => request.get(member).and_then(Value::as_str) == Some(expected),
            None => true,
        };
        let allow = self.allow.iter().any(|rule| matches(&rule.subject, "subject") && matches(&rule.room, "room"));
        Reply::body(200, &json!({"allow": allow, "ttl": self.ttl}).to_string())
    }
}

/// Returns the room of a request; empty for the meetings of all rooms.
pub(super) fn room_of(request: &RecordedRequest) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    body.get("room").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Verifies the signature and the time of Standard Webhooks.
fn is_signed(request: &RecordedRequest) -> bool {
    let header = |name| request.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let age = |seconds: i64| seconds.abs_diff(Clock::system().unix_seconds());
    let is_recent = timestamp.parse().is_ok_and(|seconds| age(seconds) <= MAX_AGE);
    let secret = STANDARD.decode(WEBHOOK_SECRET.trim_start_matches("whsec_")).unwrap_or_default();
    let (key, message) = (Key::new(HMAC_SHA256, &secret), [id.as_bytes(), timestamp.as_bytes(), &request.body].join(&b'.'));
    let mut signatures = header("webhook-signature").split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
    let verifies = |signature| STANDARD.decode(signature).is_ok_and(|tag| hmac::verify(&key, &message, &tag).is_ok());
    is_recent && signatures.any(verifies)
}
