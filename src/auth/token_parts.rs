//! The parts of a token, parsed strictly, whichever issuer it has.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::token::InvalidToken;
use crate::strict_json::{Object, has_unique_names};

/// The longest accepted token, in bytes; issued ones have about 400.
const MAX_BYTES: usize = 8 * 1024;

/// The parts of a token, decoded but not verified.
pub(super) struct TokenParts<'a> {
    pub(super) header: Object,
    pub(super) claims: Object,
    /// What is signed.
    pub(super) message: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> TokenParts<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, InvalidToken> {
        if token.len() > MAX_BYTES {
            return Err(InvalidToken::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(InvalidToken::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(InvalidToken::Malformed)?;
        // The engine is strict: no padding, one spelling of the last character.
        URL_SAFE_NO_PAD.decode(signature).map_err(|_| InvalidToken::Malformed)?;
        Ok(Self { header: decode(header)?, claims: decode(claims)?, message, signature })
    }
}

/// Decodes one part of a token: strict base64url around one strict JSON object.
fn decode(part: &str) -> Result<Object, InvalidToken> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidToken::Malformed)?;
    let object = serde_json::from_slice(&json).map_err(|_| InvalidToken::Malformed)?;
    let raw = serde_json::from_slice(&json).map_err(|_| InvalidToken::Malformed)?;
    if has_unique_names(raw) { Ok(object) } else { Err(InvalidToken::Malformed) }
}

/// Returns whether an `aud` claim names `audience`.
///
/// It is one string, or an array of strings (RFC 7519 section 4.1.3).
pub(super) fn is_for(claim: Option<&Value>, audience: &str) -> bool {
    match claim {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(|one| one == audience),
        _ => false,
    }
}

pub(super) fn non_empty(claims: &Object, name: &str) -> Result<Arc<str>, InvalidToken> {
    claims.text(name).filter(|text| !text.is_empty()).map(Arc::from).ok_or(InvalidToken::Claim)
}
