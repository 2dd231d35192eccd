//! Rejects obviously weak secrets for signing tokens.

/// Minimum length in bytes (RFC 7518 section 3.2).
const MIN_BYTES: usize = 32;
/// Minimum number of different characters.
const MIN_DIFFERENT: usize = 10;
/// Number of decimal digits that hold 256 bits.
const DIGITS_OF_256_BITS: usize = 78;
/// The example secret of jwt.io.
const WELL_KNOWN: &str = "a-string-secret-at-least-256-bits-long";

/// Checks that `secret` is long enough and does not follow a pattern.
///
/// # Errors
///
/// A sentence on what it must be.
pub(super) fn check(secret: &str) -> Result<(), &'static str> {
    if secret.len() < MIN_BYTES {
        return Err("must be 32 bytes or more");
    }
    if secret.contains(',') || secret != secret.trim() {
        // Otherwise it could not be listed as a previous secret.
        return Err("must have no comma, and no blank at its ends");
    }
    let bytes = secret.as_bytes();
    let mut different = bytes.to_vec();
    different.sort_unstable();
    different.dedup();
    if different.len() < MIN_DIFFERENT {
        return Err("must be random: too few different characters");
    }
    if secret.len() < DIGITS_OF_256_BITS && bytes.iter().all(u8::is_ascii_digit) {
        return Err("must be random: so few digits do not hold 256 bits");
    }
    if is_periodic(bytes) || is_sequence(bytes) || secret.eq_ignore_ascii_case(WELL_KNOWN) {
        return Err("must be random: it follows a pattern, or is a well-known example");
    }
    Ok(())
}

/// Returns whether a period of at most half the length repeats to the end.
fn is_periodic(bytes: &[u8]) -> bool {
    (1..=bytes.len() / 2).any(|period| bytes.get(period..) == bytes.get(..bytes.len() - period))
}

/// Returns whether two thirds of the characters follow their neighbours, as in `abcd…`.
///
/// Of random digits one in six does.
fn is_sequence(bytes: &[u8]) -> bool {
    let neighbours = bytes.windows(2).filter(|pair| matches!(pair, [one, next] if one.abs_diff(*next) <= 1)).count();
    neighbours * 3 >= bytes.len() * 2
}
