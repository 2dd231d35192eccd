//! Room names: parsed once, and from then on known to be one path segment and nothing else.
//!
//! The rule is the contract's section "Room names". How a name is spelled on the wire (percent-encoding, query or JSON) is
//! the business of `routes::room_param`; this module gets the decoded string.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use unicode_normalization::UnicodeNormalization as _;

/// The longest name, in bytes of UTF-8.
pub const MAX_BYTES: usize = 255;

/// Everything but RFC 3986's *unreserved* characters is encoded on the way to Admin Control.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The name of a room, taken literally: no case folding, no normalisation, no trimming.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoomName(Arc<str>);

/// Why a string is not a room name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Empty, or spaces only.
    #[error("the room name is blank")]
    Blank,
    /// Too long, or it could be taken for something else than one room: several path segments, none, or every room.
    #[error("the room name is not valid")]
    Invalid,
}

impl RoomName {
    /// Takes a decoded name.
    ///
    /// # Errors
    ///
    /// [`Error::Blank`] for an empty name or one of spaces only. [`Error::Invalid`] for more than [`MAX_BYTES`], a control
    /// character, `/`, `\`, the names `.`, `..` and `*` (for Jitsi, every room), or a name that would become one of these if a
    /// component on the way decoded it again, however often, or NFKC-normalised it.
    pub fn parse(name: &str) -> Result<Self, Error> {
        if name.chars().all(|c| c == ' ') {
            return Err(Error::Blank);
        }
        if name.len() > MAX_BYTES || becomes_forbidden(name) {
            return Err(Error::Invalid);
        }
        Ok(Self(name.into()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one segment of a URL's path: only `A-Z a-z 0-9 - _ . ~ %XX`, and decoding it once gives the name.
    #[must_use]
    pub fn path_segment(&self) -> impl fmt::Display + '_ {
        utf8_percent_encode(&self.0, RESERVED)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Decodes once.
type Decoder = fn(&[u8]) -> Vec<u8>;

/// Whether a name is forbidden, or becomes so when it is decoded again, however often, or NFKC-normalised.
fn becomes_forbidden(name: &str) -> bool {
    if name.is_ascii() && !name.contains('%') {
        return is_forbidden(name);
    }
    // Readers differ in whether they normalise before they decode: `％2f` takes the one, `%2f` and a combining dot the other.
    let decoders: [Decoder; 2] = [percent_decoded, |name| percent_decoded(&normalized(name))];
    decoders.into_iter().any(|decode| is_forbidden_in_any_round(name, decode))
}

/// Decodes until nothing changes. Each round that changes the name uses up escapes and adds none, so this ends.
fn is_forbidden_in_any_round(name: &str, decode: Decoder) -> bool {
    let mut name = name.as_bytes().to_vec();
    loop {
        // Bad UTF-8 in a later round is not in the contract's list. The bytes are kept: the next round may complete them.
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
    // Some servers cut a segment at `;` before they look at it.
    let before_parameters = name.split(';').next().unwrap_or(name);
    matches!(before_parameters, "." | ".." | "*") || name.chars().any(|c| c.is_control() || c == '/' || c == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_of_every_script_are_accepted() {
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
            assert_eq!(RoomName::parse(name).map(|r| r.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a_name_that_could_be_taken_for_something_else_is_refused() {
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
            assert_eq!(RoomName::parse(name), Err(Error::Invalid), "{name:?}");
        }
    }

    #[test]
    fn name_that_means_every_room_is_invalid() {
        for name in ["*", "*;", "*;x=1", "%2a", "%252A", "*%3b"] {
            assert_eq!(RoomName::parse(name), Err(Error::Invalid), "{name:?}");
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
            assert_eq!(RoomName::parse(name), Err(Error::Invalid), "{name:?}");
        }
    }

    #[test]
    fn a_blank_name_is_blank_and_not_invalid() {
        for name in ["", " ", "     ", &" ".repeat(300)] {
            assert_eq!(RoomName::parse(name), Err(Error::Blank));
        }
    }

    #[test]
    fn the_limit_counts_bytes() {
        assert!(RoomName::parse(&"a".repeat(255)).is_ok());
        assert!(RoomName::parse(&"a".repeat(256)).is_err());
        assert!(RoomName::parse(&"é".repeat(127)).is_ok());
        assert!(RoomName::parse(&"é".repeat(128)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn whatever_is_accepted_is_one_segment_that_decodes_to_the_same_bytes(name in r"([%./\\;2eEfF5cC0a-z é]|\PC){0,20}") {
            if let Ok(room) = RoomName::parse(&name) {
                let segment = room.path_segment().to_string();
                prop_assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%".contains(&b)));
                prop_assert!(segment != "." && segment != "..");
                prop_assert_eq!(percent_encoding::percent_decode_str(&segment).decode_utf8().unwrap(), name);
            }
        }
    }
}
