//! Identifiers and secrets that nobody can guess.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// An identifier: 128 random bits, as 22 characters of `A-Z a-z 0-9 - _`.
#[must_use]
pub fn id() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<16>())
}

/// A secret: 256 random bits, as 43 characters of `A-Z a-z 0-9 - _`.
#[must_use]
pub fn secret() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<32>())
}

/// The numbers of a trace and of a part of it: 128 and 64 random bits. They keep no secret, and every request needs them, so they
/// come from the thread's own generator and not from the operating system.
#[must_use]
pub fn trace() -> (u128, u64) {
    rand::random()
}

/// Any byte.
#[must_use]
pub fn byte() -> u8 {
    let [byte] = bytes();
    byte
}

#[expect(clippy::expect_used, reason = "an operating system without random numbers can't run a server that signs")]
fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ten_thousand_ids_are_all_different() {
        let ids: HashSet<String> = (0..10_000).map(|_| id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 22));
    }
}
