//! Authenticated values in Redis. Redis can lose a value or return an old one, but cannot alter it or move it to another key.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{Key, sign, verify};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// The version of the layout: version, time to live, lease token, MAC, body.
const VERSION: &str = "pcr1";
/// The digits of the time to live, in milliseconds.
const TTL_DIGITS: usize = 10;
/// The characters of a lease token.
const LEASE_TOKEN_LENGTH: usize = 22;
const HEAD_LENGTH: usize = VERSION.len() + TTL_DIGITS + LEASE_TOKEN_LENGTH;
const MAC_LENGTH: usize = 32;

/// Returns the hash of `text`, a name of fixed length that does not reveal it.
pub(super) fn fingerprint(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// A value whose MAC was verified.
pub(super) struct Record<'a> {
    /// The token of the lease that it was written under.
    pub(super) lease_token: &'a str,
    /// The time since it was written.
    pub(super) age: Duration,
    pub(super) body: &'a [u8],
}

/// The keys of the MAC, the current one first.
pub(super) struct MacKeys(Vec<Key>);

impl MacKeys {
    /// Derives the keys from `secrets`. They differ from those of tokens: a MAC is no token, nor a token a MAC.
    pub(super) fn new(secrets: &[Secret]) -> Self {
        Self(secrets.iter().map(|secret| secret.derive_key(b"shared response cache")).collect())
    }

    /// Encodes the value of the Redis key `name`; empty if there is no secret.
    pub(super) fn encode(&self, name: &str, lease_token: &str, ttl: Duration, body: &[u8]) -> Vec<u8> {
        let Some(key) = self.0.first() else { return Vec::new() };
        let head = format!("{VERSION}{:0TTL_DIGITS$}{lease_token}", ttl.as_millis());
        let mac = sign(key, &authenticated(name, head.as_bytes(), body));
        [head.as_bytes(), mac.as_ref(), body].concat()
    }

    /// Verifies and decodes the value of the Redis key `name`, which expires in `remaining_ttl`.
    ///
    /// `None` if no replica wrote it for this key.
    pub(super) fn decode<'a>(&self, name: &str, value: &'a [u8], remaining_ttl: Duration) -> Option<Record<'a>> {
        let (head, rest) = value.split_at_checked(HEAD_LENGTH)?;
        let (mac, body) = rest.split_at_checked(MAC_LENGTH)?;
        let authenticated = authenticated(name, head, body);
        self.0.iter().find(|key| verify(key, &authenticated, mac).is_ok())?;
        let (ttl, lease_token) = std::str::from_utf8(head).ok()?.strip_prefix(VERSION)?.split_at_checked(TTL_DIGITS)?;
        let ttl = Duration::from_millis(ttl.parse().ok()?);
        Some(Record { lease_token, age: ttl.saturating_sub(remaining_ttl), body })
    }
}

/// Returns the text under the MAC. The length of the name separates it from the head.
fn authenticated(name: &str, head: &[u8], body: &[u8]) -> Vec<u8> {
    [&name.len().to_be_bytes(), name.as_bytes(), head, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(15);
    const REMAINING_TTL: Duration = Duration::from_secs(11);
    const LEASE_TOKEN: &str = "0123456789012345678901";

    fn keys(secrets: &[&str]) -> MacKeys {
        MacKeys::new(&secrets.iter().copied().map(Secret::new).collect::<Vec<_>>())
    }

    #[test]
    fn record_has_its_body_token_and_the_age_from_redis() {
        let keys = keys(&["one"]);
        let value = keys.encode("a:response", LEASE_TOKEN, TTL, b"text");
        let record = keys.decode("a:response", &value, REMAINING_TTL).unwrap();
        assert_eq!((record.body, record.lease_token, record.age), (&b"text"[..], LEASE_TOKEN, Duration::from_secs(4)));
    }

    #[test]
    fn record_of_another_key_or_secret_is_rejected() {
        let value = keys(&["one"]).encode("a:response", LEASE_TOKEN, TTL, b"text");
        assert!(keys(&["two", "one"]).decode("a:response", &value, REMAINING_TTL).is_some(), "an earlier secret");
        assert!(keys(&["one"]).decode("b:response", &value, REMAINING_TTL).is_none());
        assert!(keys(&["one"]).decode("a:failure", &value, REMAINING_TTL).is_none());
        assert!(keys(&["two"]).decode("a:response", &value, REMAINING_TTL).is_none());
    }

    #[test]
    fn altered_record_is_rejected() {
        let keys = keys(&["one"]);
        let value = keys.encode("a:response", LEASE_TOKEN, TTL, b"text");
        for at in 0..value.len() {
            assert!(keys.decode("a:response", &value[..at], REMAINING_TTL).is_none(), "cut at {at}");
            let mut other = value.clone();
            other[at] ^= 1;
            assert!(keys.decode("a:response", &other, REMAINING_TTL).is_none(), "changed at {at}");
        }
        assert!(keys.decode("a:response", &[&value[..], b" "].concat(), REMAINING_TTL).is_none());
    }
}
