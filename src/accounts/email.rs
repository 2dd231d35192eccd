//! E-mail addresses of accounts, normalised for storage and comparison.

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization as _;

use super::Error;

/// The longest e-mail address, in bytes (RFC 5321 section 4.5.3.1.3, less the angle brackets).
const MAX_BYTES: usize = 254;

/// Normalises an e-mail address: trimmed, in lower case and in Unicode NFC.
///
/// # Errors
///
/// [`Error::Invalid`] if it is too long or contains an invisible character.
pub(super) fn normalise(email: &str) -> Result<String, Error> {
    // Lower-casing may undo NFC.
    let email: String = email.trim().nfc().collect::<String>().to_lowercase().nfc().collect();
    if email.len() > MAX_BYTES {
        return Err(invalid(format!("is longer than {MAX_BYTES} bytes.")));
    }
    if email.contains(is_invisible) {
        return Err(invalid("must not contain control or invisible characters.".to_owned()));
    }
    Ok(email)
}

/// Normalises the e-mail address of a new account.
///
/// It must have text on both sides of one `@`.
///
/// # Errors
///
/// [`Error::Invalid`].
pub(super) fn validate_new(email: &str) -> Result<String, Error> {
    let email = normalise(email)?;
    let (local, domain) = email.rsplit_once('@').unwrap_or_default();
    if local.is_empty() || local.contains('@') || domain.is_empty() || email.contains(char::is_whitespace) {
        return Err(invalid("is not an e-mail address.".to_owned()));
    }
    Ok(email)
}

fn invalid(problem: String) -> Error {
    Error::Invalid { field: "email", problem }
}

/// Returns whether `c` is a control or format character, a line separator, or ignored when text is displayed.
fn is_invisible(c: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    matches!(category, Control | Format | LineSeparator | ParagraphSeparator)
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn invisible_characters_are_rejected_by_field_name() {
        for c in [
            '\0',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            let error = normalise(&format!("a{c}b@example.com")).unwrap_err().to_string();
            assert_eq!(error, "email must not contain control or invisible characters.", "{c:?}");
        }
        for visible in ["café@b.c", "анна@пример.рф", "🐎@b.c", "a+b'c@b.c", "स्त्री@b.c"] {
            assert!(normalise(visible).is_ok(), "{visible}");
        }
    }

    #[test]
    fn spellings_of_one_address_are_equal() {
        for (one, other) in [
            (" Ann@Example.COM ", "ann@example.com"),
            ("caf\u{e9}@b.c", "cafe\u{301}@b.c"),
            ("CAF\u{c9}@b.c", "CAFE\u{301}@b.c"),
            ("\u{212b}@b.c", "a\u{30a}@b.c"),
            ("\u{212a}@b.c", "k@b.c"),
            ("H\u{331}@b.c", "\u{1e96}@b.c"),
            ("\u{1e9b}\u{323}@b.c", "\u{17f}\u{323}\u{307}@b.c"),
        ] {
            assert_eq!(normalise(one).unwrap(), normalise(other).unwrap(), "{one:?}");
        }
    }

    #[test]
    fn malformed_address_of_new_account_is_rejected() {
        for wrong in [
            "",
            " ",
            "ann",
            "@",
            "ann@",
            "@example.com",
            "ann@@example.com",
            "ann@b@example.com",
            "ann @example.com",
            "ann@exa\0mple.com",
            "a\r\nb@example.com",
        ] {
            assert!(validate_new(wrong).is_err(), "{wrong:?}");
        }
        assert!(validate_new(&format!("{}@example.com", "a".repeat(242))).is_ok());
        assert!(validate_new(&format!("{}@example.com", "a".repeat(243))).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn normalised_address_is_stable_in_every_normal_form(text in "\\PC{0,24}|([a-zA-Z\u{391}-\u{3c9}\u{410}-\u{44f}\u{1e00}-\u{1fff}][\u{300}-\u{345}]{0,2}){1,12}") {
            if let Ok(email) = normalise(&text) {
                prop_assert_eq!(normalise(&email).unwrap(), email.as_str());
                for form in [text.nfc().collect::<String>(), text.nfd().collect()] {
                    prop_assert_eq!(normalise(&form).unwrap(), email.as_str());
                }
            }
        }
    }
}
