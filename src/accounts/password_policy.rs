//! What a new password must be: long enough, and not among the first that anybody would try. Any characters, in any mix
//! (NIST SP 800-63B-4 section 3.1.1.2). How it is kept is not known here.

use unicode_normalization::UnicodeNormalization as _;
use xxhash_rust::xxh3::xxh3_64;
use zxcvbn::{Score, zxcvbn};

use super::Error;
use super::password::normalised;

/// The longest password, in bytes.
const MAX_BYTES: usize = 1024;
/// Below this score, fewer than a hundred million guesses find a password.
const GUESSED_EARLY: Score = Score::Three;
/// From this length on, in characters, only one character again and again is a first guess; what is estimated are short ones.
const ESTIMATED: usize = 64;
/// So many letters and digits must be left of a password without what is its owner's.
const OF_ITS_OWN: usize = 8;
/// What is its owner's, or this product's, from this length on, in characters; shorter texts are in many words.
const NAMES: usize = 3;

/// The passwords of at least fifteen characters among the million most common ones of the public list of ten million (Mark
/// Burnett's, as crates.io has it in `passablewords` 1.0.1): of each, in lower case, the 64-bit XXH3, least byte first, sorted.
const COMMON: &[u8] = include_bytes!("common_passwords.bin");

/// Refuses what can't be anybody's password before any work is done for it.
pub(super) fn check_length(password: &str) -> Result<(), Error> {
    if password.len() > MAX_BYTES {
        return Err(Error::Invalid { field: "password", problem: format!("is longer than {MAX_BYTES} bytes.") });
    }
    Ok(())
}

/// Refuses a new password that is too short, too long, or among the first that anybody would try: common ones, names,
/// sequences, repetitions, and what is `theirs`, the e-mail and the name of its owner.
pub(super) fn check(password: &str, min_characters: usize, theirs: &[&str]) -> Result<(), Error> {
    check_length(password)?;
    let invalid = |problem: String| Err(Error::Invalid { field: "password", problem });
    let password = normalised(password);
    if password.chars().count() < min_characters {
        return invalid(format!("is too short: at least {min_characters} characters."));
    }
    let lower = password.to_lowercase();
    let theirs = words_of(theirs);
    if is_made_of(&lower, &theirs) {
        return invalid("is too easy to guess: it is made of the account's e-mail or name.".to_owned());
    }
    if is_common(&lower) || is_guessed_early(&password, &theirs) {
        return invalid("is too easy to guess: it is common, a name, a sequence or a repetition.".to_owned());
    }
    Ok(())
}

/// What a guesser who knows the owner would begin with, the longest first.
fn words_of(theirs: &[&str]) -> Vec<String> {
    let theirs: Vec<String> = theirs.iter().map(|text| text.nfc().collect::<String>().to_lowercase()).collect();
    let parts = theirs.iter().flat_map(|text| text.split('@').chain(text.split(|c: char| !c.is_alphanumeric())));
    let mut words: Vec<String> =
        parts.chain(theirs.iter().map(String::as_str)).chain(["proconf"]).map(str::to_owned).collect();
    words.retain(|word| word.chars().count() >= NAMES);
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words
}

/// Whether hardly anything is left without these words.
fn is_made_of(password: &str, words: &[String]) -> bool {
    let rest = words.iter().fold(password.to_owned(), |rest, word| rest.replace(word, " "));
    rest != password && rest.chars().filter(|c| c.is_alphanumeric()).count() < OF_ITS_OWN
}

fn is_common(password: &str) -> bool {
    let (known, _) = COMMON.as_chunks::<8>();
    let hash = xxh3_64(password.as_bytes());
    known.binary_search_by_key(&hash, |bytes| u64::from_le_bytes(*bytes)).is_ok()
}

fn is_guessed_early(password: &str, theirs: &[String]) -> bool {
    if password.chars().count() >= ESTIMATED {
        let mut characters = password.chars();
        let first = characters.next();
        return characters.all(|c| Some(c) == first);
    }
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    zxcvbn(password, &theirs).score() < GUESSED_EARLY
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: [&str; 2] = ["ann@example.com", "Ann Archer"];

    #[test]
    fn a_new_password_is_counted_in_characters_up_to_1024_bytes() {
        let is_taken = |password: &str| check(password, 15, &THEIRS).is_ok();
        assert!(!is_taken("fourteen chars"));
        assert!(is_taken("fifteen chars.."));
        assert!(!is_taken("é x".repeat(5).get(..16).unwrap()), "14 characters in 16 bytes");
        assert!(is_taken("🎥 ж 漢 ñ ∂ ♞ ξ ☂"));
        assert!(is_taken(&(' '..='~').collect::<String>()), "all that ASCII prints");
        for length in [64, 128, 256, 1024] {
            let long: String = "correct horse battery staple ".chars().cycle().take(length).collect();
            assert!(is_taken(&long), "{length}");
            assert!(is_taken(&format!("{}b", "a".repeat(length - 1))), "{length}");
        }
        assert!(!is_taken(&"correct horse".repeat(100)), "1300 bytes");
    }

    #[test]
    fn a_new_password_that_anybody_would_try_is_refused_with_a_reason() {
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
            let error = check(common, 15, &THEIRS).unwrap_err();
            assert!(error.to_string().starts_with("password is too easy to guess"), "{common}");
        }
    }

    #[test]
    fn a_password_that_many_have_is_refused_however_hard_it_looks() {
        for common in ["mailcreated5240", "MailCreated5240", "hd764nw5d7e1vb1", "zqjphsyf6ctifgu", "23176djivanfros"] {
            assert!(check(common, 15, &THEIRS).is_err(), "{common}");
            assert!(check(&format!("{common} and more"), 15, &THEIRS).is_ok(), "{common}");
        }
        let (known, rest) = COMMON.as_chunks::<8>();
        assert!(known.len() > 9_000 && rest.is_empty());
        assert!(known.windows(2).all(|pair| u64::from_le_bytes(pair[0]) < u64::from_le_bytes(pair[1])));
    }

    #[test]
    fn what_is_its_owners_counts_for_nothing_in_a_password() {
        let theirs = ["bartholomew.jones@mail.example.org", "Bartholomew Jones"];
        let is_taken = |password: &str| check(password, 15, &theirs).is_ok();
        for theirs in [
            "Bartholomew Jones",
            "bartholomew.jones@mail.example.org",
            "bartholomew.jonesbartholomew.jones",
            "JonesBartholomew2026!",
            "BARTHOLOMEW-at-proconf",
            "mail.example.org.1999",
        ] {
            assert!(!is_taken(theirs), "{theirs}");
        }
        assert!(is_taken("jones likes walnut cake"));
        assert!(check("a green ant on a hill", 15, &["a@b.c", "A"]).is_ok(), "one letter is in many words");
    }
}
