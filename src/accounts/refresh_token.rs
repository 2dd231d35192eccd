//! Refresh tokens: opaque random strings, of which only the hash is kept.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

/// What is stored of a token. It is long and random, so a plain hash can't be turned back by trying.
pub(super) fn hash(token: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in digest(&SHA256, token.as_bytes()).as_ref() {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
