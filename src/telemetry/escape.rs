//! Escapes characters that change how a terminal shows the text around them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether `c` must be escaped in a terminal or the log.
///
/// Control characters, line separators, and all bidirectional controls of Unicode (UAX #9, section 2).
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// Escapes one field of terminal output, including line breaks and tabs.
pub(crate) fn field(text: &str) -> Cow<'_, str> {
    escape_except(text, &[])
}

/// Escapes terminal output of several lines, except line breaks and tabs.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escape_except(text, &['\n', '\t'])
}

fn escape_except<'a>(text: &'a str, exceptions: &[char]) -> Cow<'a, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) && !exceptions.contains(&c) {
            // All unsafe characters have at most four hexadecimal digits, and writing to a string can't fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_characters_are_escaped_and_others_are_unchanged() {
        for c in (0..=0x2f).chain(0x7f..=0xa0).chain([0x61c]).chain(0x2000..=0x2070).filter_map(char::from_u32) {
            let unsafe_here = matches!(
                u32::from(c),
                0..=0x1f | 0x7f..=0x9f | 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x2069
            );
            let expected = if unsafe_here { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
            assert_eq!(field(&c.to_string()), expected);
        }
        assert_eq!(field("комната \\ \"🎥\""), "комната \\ \"🎥\"");
    }

    #[test]
    fn lines_keep_line_breaks_and_tabs_only() {
        assert_eq!(lines("a\tb\nc\r\u{1b}[2J\n"), "a\tb\nc\\u000d\\u001b[2J\n");
        assert_eq!(field("a\tb\n"), "a\\u0009b\\u000a");
    }
}
