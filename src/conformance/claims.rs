//! Reads the claims of a token without verifying it, and forges tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::case::Failure;

/// Returns the claims of a JWT.
pub(super) fn claims(token: &str) -> Result<Value, Failure> {
    let part = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = part.and_then(|json| serde_json::from_slice(&json).ok());
    claims.ok_or_else(|| "the token is not a JWT".to_owned().into())
}

/// Returns `token` with another signature.
pub(super) fn with_wrong_signature(token: &str) -> Result<String, Failure> {
    let (signed, signature) = token.rsplit_once('.').ok_or_else(|| "the token is not a JWT".to_owned())?;
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    Ok(format!("{signed}.{first}{}", signature.get(1..).unwrap_or_default()))
}

/// Returns the claims of `token` under a header with the algorithm `alg`, unsigned.
pub(super) fn unsigned(token: &str, alg: &str) -> Result<String, Failure> {
    let claims = token.split('.').nth(1).ok_or_else(|| "the token is not a JWT".to_owned())?;
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": "JWT"}).to_string());
    Ok(format!("{header}.{claims}."))
}
