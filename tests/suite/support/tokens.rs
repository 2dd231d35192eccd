//! Valid and forged tokens, made without the server's code.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::SECRET;

pub const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// The claims of a good user token.
pub fn user_claims() -> Value {
    json!({
        "iss": "proconf-app-server", "aud": "proconf-app-server", "sub": "u1", "kind": "user", "sid": "s1",
        "iat": now(), "exp": now() + 600,
    })
}

/// The claims of a good guest token.
pub fn guest_claims(room: &str) -> Value {
    json!({
        "iss": "proconf-app-server", "aud": "proconf-app-server", "sub": "g1", "kind": "guest", "roomName": room,
        "userId": "g1", "iat": now(), "exp": now() + 600,
    })
}

/// A good user token.
pub fn user() -> String {
    signed(HEADER, &user_claims().to_string())
}

/// A good token of the user with this id.
pub fn user_with_id(id: &str) -> String {
    let mut claims = user_claims();
    claims["sub"] = id.into();
    signed(HEADER, &claims.to_string())
}

/// A good token for a guest of `room`.
pub fn guest(room: &str) -> String {
    signed(HEADER, &guest_claims(room).to_string())
}

/// Any header and any payload, signed with the right key.
pub fn signed(header: &str, payload: &str) -> String {
    signed_with(hmac::HMAC_SHA256, SECRET.as_bytes(), header.as_bytes(), payload.as_bytes())
}

/// Any header and any payload, signed with any HMAC and any key.
pub fn signed_with(algorithm: hmac::Algorithm, key: &[u8], header: &[u8], payload: &[u8]) -> String {
    let message = message(header, payload);
    let tag = hmac::sign(&hmac::Key::new(algorithm, key), message.as_bytes());
    format!("{message}.{}", b64(tag.as_ref()))
}

/// The two parts that are signed.
pub fn message(header: &[u8], payload: &[u8]) -> String {
    format!("{}.{}", b64(header), b64(payload))
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
