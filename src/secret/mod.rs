//! Secrets that redact themselves, random identifiers and secrets, and private files.

pub(crate) mod files;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer};

/// A secret that is printed as `[redacted]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Creates a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text that is printed instead of a secret.
    pub(crate) const REDACTED: &str = "[redacted]";

    /// Returns the secret itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Derives a key for `purpose` from the secret. Keys for different purposes are independent.
    pub(crate) fn derive_key(&self, purpose: &[u8]) -> Key {
        let secret = Key::new(HMAC_SHA256, self.0.as_bytes());
        Key::new(HMAC_SHA256, hmac::sign(&secret, purpose).as_ref())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { Self::REDACTED })
    }
}

/// Decodes a secret of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64. `None` if it is anything else.
pub(crate) fn decode_webhook_secret(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.strip_prefix("whsec_")?).ok().filter(|bytes| (24..=64).contains(&bytes.len()))
}

/// Returns an identifier: 128 random bits, as 22 characters of `A-Z a-z 0-9 - _`.
pub(crate) fn random_id() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())
}

/// Returns whether `text` has the form of an identifier.
pub(crate) fn is_random_id(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 16)
}

/// Returns a secret: 256 random bits, as 43 characters of `A-Z a-z 0-9 - _`.
pub(crate) fn random_secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Returns whether `text` has the form of a [`random_secret`].
pub(crate) fn is_random_secret(text: &str) -> bool {
    // The engine is strict: no padding, one spelling of the last character.
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

/// Returns the SHA-256 of a text, in hexadecimal digits.
///
/// It is the stored form of tokens and keys: they are long and random, so a plain hash resists guessing.
pub(crate) fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn ids_of_ten_thousand_calls_differ() {
        let ids: HashSet<String> = (0..10_000).map(|_| random_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 22 && is_random_id(id)));
    }
}
