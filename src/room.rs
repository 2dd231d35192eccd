//! Room names, as the contract's section "Room names" defines them.
//!
//! Only a [`NameComparison`] creates a name, so that all comparisons and cache keys follow this deployment's setting.
//! `extract::room` and `extract::json_body` decode the name before.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

/// The maximum length of a name, in bytes of UTF-8.
pub const MAX_BYTES: usize = 255;

/// The characters that are percent-encoded: all but RFC 3986's *unreserved* ones.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How room names are compared (`APP_ROOMS__NAMES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NameComparison {
    /// Byte for byte.
    Exact,
    /// Folded, as Jitsi does: `TestRoom` and `testroom` are one room.
    Jitsi,
}

/// A room name, forwarded as it came. Equality and hash are those of its `key`.
#[derive(Debug, Clone)]
pub struct RoomName {
    name: Arc<str>,
    key: Arc<str>,
}

/// Why a string is not a room name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Empty, or spaces only.
    #[error("the room name is blank")]
    Blank,
    /// Too long, or ambiguous: several path segments, none, or every room.
    #[error("the room name is not valid")]
    Invalid,
}

impl NameComparison {
    /// Parses a decoded name.
    ///
    /// # Errors
    ///
    /// [`Error::Blank`] for an empty name or one of spaces only. [`Error::Invalid`] for more than [`MAX_BYTES`], a control
    /// character, `/`, `\`, the names `.`, `..` and `*` (for Jitsi, every room), and a name that becomes one of these by further
    /// decoding or NFKC normalisation.
    pub fn parse(self, name: &str) -> Result<RoomName, Error> {
        if name.chars().all(|c| c == ' ') {
            return Err(Error::Blank);
        }
        if name.len() > MAX_BYTES || becomes_forbidden(name) {
            return Err(Error::Invalid);
        }
        let name: Arc<str> = name.into();
        let key = match self.key(&name) {
            Cow::Borrowed(_) => Arc::clone(&name),
            Cow::Owned(key) => key.into(),
        };
        Ok(RoomName { name, key })
    }

    /// Returns the key of `name`: two names with equal keys are one room.
    pub(crate) fn key(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::Exact => Cow::Borrowed(name),
            Self::Jitsi => Cow::Owned(folded(name)),
        }
    }
}

impl RoomName {
    /// Returns the name itself, for Admin Control and the log. Compare by `key`.
    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns what the name is compared by, also in caches.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Returns whether `name` is this one after folding, also where names are compared exactly.
    pub(crate) fn matches_folded(&self, name: &str) -> bool {
        *self.name == *name || folded(&self.name) == folded(name)
    }

    /// Returns the name as one segment of a URL's path.
    ///
    /// It has only `A-Z a-z 0-9 - _ . ~ %XX`.
    pub(crate) fn path_segment(&self) -> impl fmt::Display + '_ {
        utf8_percent_encode(&self.name, RESERVED)
    }
}

impl PartialEq for RoomName {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for RoomName {}

impl Hash for RoomName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// NFKC of the lower-cased NFKC form.
fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.nfkc().collect::<String>().to_lowercase().nfkc().collect()
}

/// Returns whether a name is forbidden, or becomes so by decoding or NFKC normalisation.
///
/// Decoding may be repeated.
fn becomes_forbidden(name: &str) -> bool {
    if name.is_ascii() && !name.contains('%') {
        return is_forbidden(name);
    }
    // Components differ in whether they normalise before they decode: `％2f` needs that, `%2f` and a combining dot the reverse.
    is_forbidden_in_any_round(name, percent_decoded)
        || is_forbidden_in_any_round(name, |name| percent_decoded(&normalized(name)))
}

/// Decodes until nothing changes. It ends, because each round removes escapes and adds none.
fn is_forbidden_in_any_round(name: &str, decode: impl Fn(&[u8]) -> Vec<u8>) -> bool {
    let mut name = name.as_bytes().to_vec();
    loop {
        // Bad UTF-8 is allowed here: the next round may complete it.
        if [&name, &normalized(&name)].into_iter().any(|name| is_forbidden(&String::from_utf8_lossy(name))) {
            return true;
        }
        let decoded = decode(&name);
        if decoded == name {
            return false;
        }
        name = decoded;
    }
}

fn percent_decoded(name: &[u8]) -> Vec<u8> {
    percent_decode(name).collect()
}

/// The NFKC form; bytes that are not UTF-8 stay as they are.
fn normalized(name: &[u8]) -> Vec<u8> {
    let mut normalized = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        normalized.extend(chunk.valid().nfkc().collect::<String>().into_bytes());
        normalized.extend(chunk.invalid());
    }
    normalized
}

fn is_forbidden(name: &str) -> bool {
    // Some servers drop path parameters (`;x=1`) first.
    let before_parameters = name.split(';').next().unwrap_or(name);
    matches!(before_parameters, "." | ".." | "*") || name.chars().any(|c| c.is_control() || c == '/' || c == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_name_of_any_script_is_valid() {
        for name in [
            "r1",
            "testRoom",
            "a b",
            " a",
            "...",
            "..a",
            "a..b",
            "a+b",
            "100%",
            "%",
            "%zz",
            "%FF",
            "50% off",
            "a;b",
            "a?b",
            "a#b",
            "комната",
            "غرفة",
            "会議室",
            "🎥",
            "**",
            "a*",
            "*a",
            " *",
            "; *",
            "．．．",
            "…",
            "½",
            "a．b",
            "％",
            "％zz",
            "r\u{301}",
            "ŕ",
            "a:b@c",
            "~",
            "\u{200b}",
            "null",
            "%u002f",
            "%u002a",
            "%25C3%25A9",
        ] {
            assert_eq!(NameComparison::Exact.parse(name).map(|r| r.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn ambiguous_name_is_invalid() {
        for name in [
            ".",
            "..",
            "a/b",
            "/",
            "\\",
            "a\\b",
            "a\0",
            "a\r\nb",
            "\t",
            "\u{7f}",
            "\u{85}",
            "%2e",
            "%2E%2e",
            "%252e%252E",
            "%2f",
            "%2F",
            "%5c",
            "%255C",
            "%00",
            "a%0d%0ab",
            "%c2%85",
            "%%32%66",
            "%25%32%66",
            "..;",
            "..;x=1",
            ".;",
            "%2e%2e;a",
            "..%3bx",
            "%25252525252e%252e",
            "%C2%2585",
            "a%C2%252585b",
            "%25C2%2580",
        ] {
            assert_eq!(NameComparison::Exact.parse(name), Err(Error::Invalid), "{name:?}");
        }
    }

    #[test]
    fn name_that_means_every_room_is_invalid() {
        for name in ["*", "*;", "*;x=1", "%2a", "%252A", "*%3b"] {
            assert_eq!(NameComparison::Exact.parse(name), Err(Error::Invalid), "{name:?}");
        }
    }

    #[test]
    fn name_that_is_forbidden_once_normalized_is_invalid() {
        for name in [
            "＊",
            "﹡",
            "*；x",
            "*\u{37e}",
            "．",
            "．．",
            "․",
            "‥",
            "︰",
            "﹒.",
            ".．;x",
            "a／b",
            "＼",
            "﹨",
            "℀",
            "℅x",
            "％2f",
            "％２Ｆ",
            "﹪2e",
            "a%２F",
            "%2f\u{307}",
            "％25％32f",
            "%EF%BC%8F",
            "%EF%BC%8A",
            "%25EF%25BC%258F",
            "a%EF%BC%852fb",
            "%E2%80%A5",
            "%EF%BC%85%EF%BC%92f",
        ] {
            assert_eq!(NameComparison::Exact.parse(name), Err(Error::Invalid), "{name:?}");
        }
    }

    #[test]
    fn name_of_spaces_is_blank() {
        for name in ["", " ", "     ", &" ".repeat(300)] {
            assert_eq!(NameComparison::Exact.parse(name), Err(Error::Blank));
        }
    }

    /// Pairs of spellings, and whether they are one room where names are folded.
    const SPELLINGS: &[(&str, &str, bool)] = &[
        ("r1", "r2", false),
        ("r1", "r1 ", false),
        ("r1", "r1\u{200b}", false),
        ("straße", "strasse", false),
        ("комната", "komnata", false),
        ("ı", "i", false),
        ("testRoom", "testroom", true),
        ("КОМНАТА", "комната", true),
        ("r１", "R1", true),
        ("é", "e\u{301}", true),
        ("É", "e\u{301}", true),
        ("ﬁn", "FIN", true),
        ("Ⅳ", "iv", true),
        ("ẞ", "ß", true),
        ("\u{1d400}", "a", true),
    ];

    #[test]
    fn exact_comparison_tells_every_spelling_apart() {
        for (one, other, _) in SPELLINGS {
            let names = [one, other].map(|name| NameComparison::Exact.parse(name).unwrap());
            assert!(names[0] != names[1] && names[0].key() == *one, "{one} {other}");
        }
    }

    #[test]
    fn jitsi_comparison_folds_names_and_keeps_their_spelling() {
        for (one, other, same) in SPELLINGS {
            let names = [one, other].map(|name| NameComparison::Jitsi.parse(name).unwrap());
            assert_eq!(names[0] == names[1], *same, "{one} {other}");
            assert_eq!(names[0].key() == names[1].key(), *same, "{one} {other}");
            assert_eq!(names.map(|name| name.to_string()), [*one, *other]);
        }
    }

    #[test]
    fn folded_match_is_the_same_for_both_comparisons() {
        for comparison in [NameComparison::Exact, NameComparison::Jitsi] {
            for (one, other, same) in SPELLINGS {
                assert_eq!(comparison.parse(one).unwrap().matches_folded(other), *same, "{one} {other}");
                assert_eq!(comparison.parse(other).unwrap().matches_folded(one), *same, "{other} {one}");
            }
        }
    }

    #[test]
    fn length_limit_counts_bytes() {
        assert!(NameComparison::Exact.parse(&"a".repeat(255)).is_ok());
        assert!(NameComparison::Exact.parse(&"a".repeat(256)).is_err());
        assert!(NameComparison::Exact.parse(&"é".repeat(127)).is_ok());
        assert!(NameComparison::Exact.parse(&"é".repeat(128)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn valid_name_is_one_segment_that_decodes_to_itself(name in r"([%./\\;2eEfF5cC0a-z é]|\PC){0,20}") {
            if let Ok(room) = NameComparison::Exact.parse(&name) {
                let segment = room.path_segment().to_string();
                prop_assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%".contains(&b)));
                prop_assert!(segment != "." && segment != "..");
                prop_assert_eq!(percent_encoding::percent_decode_str(&segment).decode_utf8().unwrap(), name);
            }
        }
    }
}
