//! Refresh tokens: opaque strings, of which only the hash is kept. The first of a session is random; each next one is derived
//! from the last under a key of its own, so that for a while the very same one can be given again without being stored.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// Sets the key apart from the one that signs tokens with the same secret.
const PURPOSE: &[u8] = b"successor of a refresh token";

/// What is stored of a token. It is long and random, so a plain hash can't be turned back by trying.
pub(super) fn hash(token: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in digest(&SHA256, token.as_bytes()).as_ref() {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The keys that derive a refresh token's successor.
pub(super) struct RotationKeys {
    in_force: Key,
    previous: Vec<Key>,
}

impl RotationKeys {
    /// Under keys derived from `secrets`, the one in force first.
    pub(super) fn new(secrets: &[Secret]) -> Self {
        let mut keys = secrets.iter().map(|secret| {
            let derived = hmac::sign(&Key::new(HMAC_SHA256, secret.expose().as_bytes()), PURPOSE);
            Key::new(HMAC_SHA256, derived.as_ref())
        });
        let in_force = keys.next().unwrap_or_else(|| Key::new(HMAC_SHA256, crate::secret::random_secret().as_bytes()));
        Self { in_force, previous: keys.collect() }
    }

    /// The token that follows on `token`.
    pub(super) fn successor_of(&self, token: &str) -> String {
        successor(&self.in_force, token)
    }

    /// The same, under each secret that may have been in force.
    pub(super) fn all_successors_of(&self, token: &str) -> Vec<String> {
        std::iter::once(&self.in_force).chain(&self.previous).map(|key| successor(key, token)).collect()
    }
}

fn successor(key: &Key, token: &str) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(key, token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_successor_is_always_the_same_and_found_after_the_secret_changed() {
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
