//! Identifiers and secrets that can't be guessed, from the thread's cryptographic generator.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Returns an identifier: 128 random bits, as 22 characters of `A-Z a-z 0-9 - _`.
#[must_use]
pub fn id() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())
}

/// Returns a secret: 256 random bits, as 43 characters of `A-Z a-z 0-9 - _`.
#[must_use]
pub fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_of_ten_thousand_calls_differ() {
        let ids: HashSet<String> = (0..10_000).map(|_| id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 22));
    }
}
