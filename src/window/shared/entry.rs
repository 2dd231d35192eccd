//! An answer as it stands in Redis: with how long it was stored for, who got it, and a seal over all of it and over the room,
//! so that what comes back is whole, is of that room, and was put there by a server of this deployment.
//!
//! A head of fixed length, which Redis's own script reads too, then the envelope as it is served.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::answer::{Answer, Served};
use crate::secret::Secret;

/// The first bytes of an entry; another layout gets another digit.
const MAGIC: &str = "pcw1";
/// Digits of the time that it was stored for, in milliseconds.
pub(super) const DIGITS: usize = 10;
/// Characters of an owner.
pub(super) const OWNER: usize = 22;
const SEAL: usize = 32;
/// What is sealed comes after the seal.
const HEAD: usize = MAGIC.len() + DIGITS + OWNER;

/// Names a text where the text itself must not be shown, in 43 characters.
pub(super) fn fingerprint(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// Seals and checks.
pub(super) struct Seal {
    keys: Vec<Key>,
    scope: Vec<u8>,
}

impl Seal {
    /// Seals with the first of these secrets and believes them all, within this scope alone.
    pub(super) fn new(secrets: &[Secret], scope: &[&str]) -> Self {
        let key = |secret: &Secret| {
            // A key of its own: nothing that is sealed here is worth anything as a token.
            let secret = Key::new(HMAC_SHA256, secret.expose().as_bytes());
            Key::new(HMAC_SHA256, sign(&secret, b"the shared window").as_ref())
        };
        Self { keys: secrets.iter().map(key).collect(), scope: scope.iter().flat_map(|part| measured(part)).collect() }
    }

    /// The entry of `answer`, the one of `key`, got by `owner` and stored for `kept_for`. Empty if nothing can be sealed.
    pub(super) fn close(&self, key: &str, answer: &Answer, owner: &str, kept_for: Duration) -> Vec<u8> {
        let Some(sealing) = self.keys.first() else { return Vec::new() };
        let head = format!("{MAGIC}{:0DIGITS$}{owner}", kept_for.as_millis());
        let envelope = answer.envelope();
        let seal = sign(sealing, &self.sealed(key, head.as_bytes(), &envelope));
        [head.as_bytes(), seal.as_ref(), &envelope].concat()
    }

    /// The answer in `stored`, if it is one of `key`, and its age: what is not `left` of the time it was stored for.
    pub(super) fn open(&self, key: &str, stored: &[u8], left: Duration) -> Option<Served> {
        let (head, rest) = stored.split_at_checked(HEAD)?;
        let (seal, envelope) = rest.split_at_checked(SEAL)?;
        let sealed = self.sealed(key, head, envelope);
        self.keys.iter().find(|known| verify(known, &sealed, seal).is_ok())?;
        let kept_for = head.strip_prefix(MAGIC.as_bytes())?.get(..DIGITS)?;
        let kept_for: u64 = std::str::from_utf8(kept_for).ok()?.parse().ok()?;
        let answer = Answer::from_envelope(envelope)?;
        Some(Served { answer, age: Duration::from_millis(kept_for).saturating_sub(left) })
    }

    fn sealed(&self, key: &str, head: &[u8], envelope: &[u8]) -> Vec<u8> {
        [&self.scope, &measured(key)[..], head, envelope].concat()
    }
}

/// The text after its length, so that no two texts in a row can be read as two others.
fn measured(text: &str) -> Vec<u8> {
    [&text.len().to_be_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    const KEPT_FOR: Duration = Duration::from_secs(15);
    const LEFT: Duration = Duration::from_secs(11);
    const HOLDER: &str = "0123456789012345678901";

    fn seal(secrets: &[&str], scope: &[&str]) -> Seal {
        let secrets: Vec<Secret> = secrets.iter().copied().map(Secret::new).collect();
        Seal::new(&secrets, scope)
    }

    fn answer() -> Answer {
        Answer::new(&RawValue::from_string(r#""written""#.into()).unwrap())
    }

    #[test]
    fn what_comes_back_is_what_went_in_with_the_age_that_redis_says() {
        let seal = seal(&["one"], &["a", "catch-up"]);
        let stored = seal.close("r1", &answer(), HOLDER, KEPT_FOR);
        let served = seal.open("r1", &stored, LEFT).unwrap();
        assert_eq!((served.answer, served.age), (answer(), KEPT_FOR.checked_sub(LEFT).unwrap()));
    }

    #[test]
    fn another_rooms_deployments_windows_or_servers_is_nothing() {
        let stored = seal(&["one"], &["a", "b"]).close("r1", &answer(), HOLDER, KEPT_FOR);
        let opened = |seal: &Seal, key: &str| seal.open(key, &stored, LEFT).is_some();
        assert!(opened(&seal(&["two", "one"], &["a", "b"]), "r1"), "an earlier secret");
        assert!(!opened(&seal(&["one"], &["a", "b"]), "r2"));
        for (secret, scope) in [("two", ["a", "b"]), ("one", ["c", "b"]), ("one", ["a", "c"]), ("one", ["ab", ""])] {
            assert!(!opened(&seal(&[secret], &scope), "r1"), "{secret} {scope:?}");
        }
    }

    #[test]
    fn not_one_bit_and_not_one_byte_may_be_missing_or_different() {
        let seal = seal(&["one"], &["a"]);
        let stored = seal.close("r1", &answer(), HOLDER, KEPT_FOR);
        for at in 0..stored.len() {
            assert!(seal.open("r1", &stored[..at], LEFT).is_none(), "cut at {at}");
            let mut other = stored.clone();
            other[at] ^= 1;
            assert!(seal.open("r1", &other, LEFT).is_none(), "changed at {at}");
        }
        assert!(seal.open("r1", &[&stored[..], b" "].concat(), LEFT).is_none());
    }
}
