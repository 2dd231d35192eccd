//! The sandbox's webhook for access to rooms, and its allow list.

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::control::deserialize_present;
use super::record::RecordedRequest;
use super::reply::Reply;
use crate::clock::Clock;

/// The path of the webhook.
pub(super) const PATH: &str = "/room-access";
/// Verifies the webhook's requests. Publicly known, as the sandbox has no secret.
pub const WEBHOOK_SECRET: &str = "whsec_c2FuZGJveCB3ZWJob29rLCBub3Qgc2VjcmV0IQ==";
/// Maximum age of a request, in seconds.
const MAX_AGE: u64 = 300;
/// The longest time that a response may say, in seconds.
const MAX_TTL: u64 = 300;

/// The users and rooms that the webhook allows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AllowList {
    allow: Vec<Rule>,
    #[serde(default = "default_ttl", deserialize_with = "deserialize_ttl")]
    ttl: u64,
}

/// A user and a room; an absent one stands for all. The room is never `null`, which stands for the meetings in a request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default, deserialize_with = "deserialize_present", skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, deserialize_with = "deserialize_present", skip_serializing_if = "Option::is_none")]
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

fn deserialize_ttl<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let ttl = u64::deserialize(deserializer)?;
    if ttl <= MAX_TTL { Ok(ttl) } else { Err(D::Error::custom(format!("ttl is at most {MAX_TTL}"))) }
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
