//! The policy for new passwords (NIST SP 800-63B-4 section 3.1.1.2).
//!
//! They must be long enough and hard to guess, and may have any characters.

use unicode_normalization::UnicodeNormalization as _;
use xxhash_rust::xxh3::xxh3_64;
use zxcvbn::{Score, zxcvbn};

use super::Error;
use super::password::normalised;

/// The longest password, in bytes.
const MAX_BYTES: usize = 1024;
/// The score of a password that withstands a hundred million guesses.
const MIN_SCORE: Score = Score::Three;
/// The length in characters from which the score is not estimated.
///
/// Beyond it, only repetitions of one character are weak.
const MAX_ESTIMATED: usize = 64;
/// The least letters and digits of a password without the words of its account.
const MIN_UNRELATED: usize = 8;
/// The shortest word of an account that counts, in characters.
///
/// Shorter ones are part of many words.
const MIN_ACCOUNT_WORD: usize = 3;

/// Hashes of the common passwords of at least fifteen characters.
///
/// They are 64-bit XXH3 of the lower-case form, little-endian and sorted.
///
/// They are among the million most common of Mark Burnett's public list (`passablewords` 1.0.1 on crates.io).
const COMMON_HASHES: &[u8] = include_bytes!("common_passwords.bin");

/// Rejects a password that is too long to be hashed.
pub(super) fn check_length(password: &str) -> Result<(), Error> {
    if password.len() > MAX_BYTES {
        return Err(Error::Invalid { field: "password", problem: format!("is longer than {MAX_BYTES} bytes.") });
    }
    Ok(())
}

/// Rejects a new password that is too short, too long, or easy to guess.
///
/// Easy to guess are common ones, names, sequences, repetitions, and `account_texts`: the account's e-mail and name.
pub(super) fn check(password: &str, min_characters: usize, account_texts: &[&str]) -> Result<(), Error> {
    check_length(password)?;
    let invalid = |problem: String| Err(Error::Invalid { field: "password", problem });
    let password = normalised(password);
    if password.chars().count() < min_characters {
        return invalid(format!("is too short: at least {min_characters} characters."));
    }
    let lower = password.to_lowercase();
    let words = words_of(account_texts);
    if is_made_of(&lower, &words) {
        return invalid("is too easy to guess: it is made of the account's e-mail or name.".to_owned());
    }
    if is_common(&lower) || is_weak(&password, &words) {
        return invalid("is too easy to guess: it is common, a name, a sequence or a repetition.".to_owned());
    }
    Ok(())
}

/// Returns the words of an account that an attacker would try, the longest first.
fn words_of(texts: &[&str]) -> Vec<String> {
    let texts: Vec<String> = texts.iter().map(|text| text.nfc().collect::<String>().to_lowercase()).collect();
    let parts = texts.iter().flat_map(|text| text.split('@').chain(text.split(|c: char| !c.is_alphanumeric())));
    let mut words: Vec<String> =
        parts.chain(texts.iter().map(String::as_str)).chain(["proconf"]).map(str::to_owned).collect();
    words.retain(|word| word.chars().count() >= MIN_ACCOUNT_WORD);
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words
}

/// Returns whether little is left of the password without these words.
fn is_made_of(password: &str, words: &[String]) -> bool {
    let rest = words.iter().fold(password.to_owned(), |rest, word| rest.replace(word, " "));
    rest != password && rest.chars().filter(|c| c.is_alphanumeric()).count() < MIN_UNRELATED
}

fn is_common(password: &str) -> bool {
    let (known, _) = COMMON_HASHES.as_chunks::<8>();
    let hash = xxh3_64(password.as_bytes());
    known.binary_search_by_key(&hash, |bytes| u64::from_le_bytes(*bytes)).is_ok()
}

fn is_weak(password: &str, words: &[String]) -> bool {
    if password.chars().count() >= MAX_ESTIMATED {
        let mut characters = password.chars();
        let first = characters.next();
        return characters.all(|c| Some(c) == first);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    zxcvbn(password, &words).score() < MIN_SCORE
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: [&str; 2] = ["ann@example.com", "Ann Archer"];

    #[test]
    fn password_length_is_counted_in_characters_up_to_1024_bytes() {
        let is_accepted = |password: &str| check(password, 15, &ACCOUNT).is_ok();
        assert!(!is_accepted("fourteen chars"));
        assert!(is_accepted("fifteen chars.."));
        assert!(!is_accepted("é x".repeat(5).get(..16).unwrap()), "14 characters in 16 bytes");
        assert!(is_accepted("🎥 ж 漢 ñ ∂ ♞ ξ ☂"));
        assert!(is_accepted(&(' '..='~').collect::<String>()), "all printable ASCII");
        for length in [64, 128, 256, 1024] {
            let long: String = "correct horse battery staple ".chars().cycle().take(length).collect();
            assert!(is_accepted(&long), "{length}");
            assert!(is_accepted(&format!("{}b", "a".repeat(length - 1))), "{length}");
        }
        assert!(!is_accepted(&"correct horse".repeat(100)), "1300 bytes");
    }

    #[test]
    fn guessable_password_is_rejected_with_a_reason() {
        for common in [
            "aaaaaaaaaaaaaaa",
            &"a".repeat(300),
            "123456789012345",
            "passwordpassword",
            "proconfproconf1",
            "ann@example.comann@example.com",
            "archerarcherarcher",
            "qwertyuiopqwertyuiop",
            "abcdefghijklmnop",
            "                    ",
        ] {
            let error = check(common, 15, &ACCOUNT).unwrap_err();
            assert!(error.to_string().starts_with("password is too easy to guess"), "{common}");
        }
    }

    #[test]
    fn common_password_is_rejected_even_if_random_looking() {
        for common in ["mailcreated5240", "MailCreated5240", "hd764nw5d7e1vb1", "zqjphsyf6ctifgu", "23176djivanfros"] {
            assert!(check(common, 15, &ACCOUNT).is_err(), "{common}");
            assert!(check(&format!("{common} and more"), 15, &ACCOUNT).is_ok(), "{common}");
        }
        let (known, rest) = COMMON_HASHES.as_chunks::<8>();
        assert!(known.len() > 9_000 && rest.is_empty());
        assert!(known.windows(2).all(|pair| u64::from_le_bytes(pair[0]) < u64::from_le_bytes(pair[1])));
    }

    #[test]
    fn words_of_the_account_do_not_count_in_a_password() {
        let account = ["bartholomew.jones@mail.example.org", "Bartholomew Jones"];
        let is_accepted = |password: &str| check(password, 15, &account).is_ok();
        for password in [
            "Bartholomew Jones",
            "bartholomew.jones@mail.example.org",
            "bartholomew.jonesbartholomew.jones",
            "JonesBartholomew2026!",
            "BARTHOLOMEW-at-proconf",
            "mail.example.org.1999",
        ] {
            assert!(!is_accepted(password), "{password}");
        }
        assert!(is_accepted("jones likes walnut cake"));
        assert!(check("a green ant on a hill", 15, &["a@b.c", "A"]).is_ok(), "one letter is in many words");
    }
}
