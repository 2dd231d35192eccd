//! Refresh tokens: opaque strings, stored as hashes only.
//!
//! The first token of a session is random. Each successor is derived from its predecessor, so that it can be returned again
//! without being stored.

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// Separates the rotation keys from the signing key of the same secret.
const PURPOSE: &[u8] = b"successor of a refresh token";

/// Keys that derive the successors of refresh tokens.
pub(super) struct RotationKeys {
    current: Key,
    previous: Vec<Key>,
}

impl RotationKeys {
    /// Derives the keys from `secrets`, the current one first.
    pub(super) fn new(secrets: &[Secret]) -> Self {
        let mut keys = secrets.iter().map(|secret| secret.derive_key(PURPOSE));
        let current = keys.next().unwrap_or_else(|| Key::new(HMAC_SHA256, crate::secret::random_secret().as_bytes()));
        Self { current, previous: keys.collect() }
    }

    /// Returns the successor of `token` under the current key.
    pub(super) fn successor_of(&self, token: &str) -> String {
        successor(&self.current, token)
    }

    /// Returns the successors of `token` under the current and all previous keys.
    pub(super) fn all_successors_of(&self, token: &str) -> Vec<String> {
        std::iter::once(&self.current).chain(&self.previous).map(|key| successor(key, token)).collect()
    }
}

fn successor(key: &Key, token: &str) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(key, token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successor_is_stable_and_found_after_a_change_of_secret() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let before = RotationKeys::new(std::slice::from_ref(&old));
        let after = RotationKeys::new(&[new, old]);
        assert_eq!(before.successor_of("token"), before.successor_of("token"));
        assert_ne!(before.successor_of("token"), before.successor_of("tokem"));
        assert_ne!(before.successor_of("token"), after.successor_of("token"));
        assert!(after.all_successors_of("token").contains(&before.successor_of("token")));
        assert!(before.successor_of("token").len() >= 43);
    }
}
