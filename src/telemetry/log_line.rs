//! Formats a log record as one line of text or JSON.
//!
//! Control and bidirectional characters are escaped, and long fields are truncated: clients can't forge lines.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use log::Record;
use log::kv::{Key, Value, VisitSource, VisitValue};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::escape;
use crate::clock::Clock;
use crate::config::LogFormat;

/// The most bytes of one field, before it is escaped.
const MAX_FIELD: usize = 1024;
/// Replaces the end of a truncated field.
const ELLIPSIS: &str = "…";
/// The initial capacity of a line, in bytes.
const TYPICAL_LINE: usize = 512;
/// The initial capacity of a formatted value, in bytes.
const TYPICAL_FIELD: usize = 64;

/// Formats one line, with its line break.
///
/// # Errors
///
/// Those of `out`.
pub(super) fn write(out: &mut impl Write, record: &Record<'_>, format: LogFormat, clock: &Clock) -> io::Result<()> {
    let (time, level) = (humantime::format_rfc3339_millis(clock.now()), record.level());
    let message = record.args().as_str().map_or_else(|| Cow::Owned(record.args().to_string()), Cow::Borrowed);
    // One write to `out`: each one costs more than appending to a vector.
    let mut line = Vec::with_capacity(TYPICAL_LINE);
    match format {
        LogFormat::Text => {
            write!(line, "{time} {level:5} ")?;
            line.extend_from_slice(escape::field(&truncate(&message)).as_bytes());
        }
        LogFormat::Json => {
            write!(line, r#"{{"time":"{time}","level":"{level}","message":"#)?;
            push_text(&mut line, &message);
        }
    }
    record.key_values().visit(&mut Fields { line: &mut line, format }).map_err(io::Error::other)?;
    line.extend_from_slice(if format == LogFormat::Json { b"}\n" } else { b"\n" });
    out.write_all(&line)
}

struct Fields<'a> {
    line: &'a mut Vec<u8>,
    format: LogFormat,
}

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        value.visit(Field { key: key.as_str(), line: self.line, format: self.format })
    }
}

/// Appends one field, unless its value is absent. In both formats, the value is JSON.
struct Field<'a> {
    /// Keys are ours, without special characters.
    key: &'a str,
    line: &'a mut Vec<u8>,
    format: LogFormat,
}

impl Field<'_> {
    fn push_key(&mut self) {
        let (start, end) = match self.format {
            LogFormat::Text => (" ", "="),
            LogFormat::Json => (",\"", "\":"),
        };
        for part in [start, self.key, end] {
            self.line.extend_from_slice(part.as_bytes());
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the visitor's methods return it")]
    fn push(&mut self, value: impl Serialize) -> Result<(), log::kv::Error> {
        self.push_key();
        push_json(self.line, value);
        Ok(())
    }
}

impl VisitValue<'_> for Field<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), log::kv::Error> {
        let mut text = String::with_capacity(TYPICAL_FIELD);
        // What a failed value has written so far is logged.
        let _ = write!(text, "{value}");
        self.visit_str(&text)
    }

    fn visit_null(&mut self) -> Result<(), log::kv::Error> {
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), log::kv::Error> {
        self.push_key();
        push_text(self.line, value);
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), log::kv::Error> {
        self.push(value)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), log::kv::Error> {
        self.push(value)
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), log::kv::Error> {
        self.push(value)
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), log::kv::Error> {
        self.push(value)
    }
}

fn truncate(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_FIELD {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_FIELD - ELLIPSIS.len());
    [text.get(..end).unwrap_or_default(), ELLIPSIS].concat().into()
}

/// Appends a text as JSON, truncated.
fn push_text(line: &mut Vec<u8>, text: &str) {
    let text = truncate(text);
    // Most texts need no escape.
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        return push_json(line, &text);
    }
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

fn push_json(line: &mut Vec<u8>, value: impl Serialize) {
    // Strings, numbers and booleans can always be serialised.
    let _ = value.serialize(&mut Serializer::with_formatter(line, SafeFormatter));
}

/// Escapes characters that JSON permits and terminals interpret.
struct SafeFormatter;

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, line: &mut W, fragment: &str) -> io::Result<()> {
        line.write_all(escape::field(fragment).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn line(format: LogFormat, message: &str, fields: &[(&str, Value<'_>)]) -> String {
        let clock = Clock::from_fn(|| UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
        let args = format_args!("{message}").to_string();
        let mut record = Record::builder();
        record.level(log::Level::Info).key_values(&fields);
        // One expression, because arguments live no longer.
        let mut out = Vec::new();
        super::write(&mut out, &record.args(format_args!("{args}")).build(), format, &clock).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn line_has_time_level_message_and_fields() {
        let fields = [
            ("status", Value::from(200_u64)),
            ("ms", Value::from(1.25)),
            ("ok", Value::from(true)),
            ("room", Value::from("r 1")),
        ];
        assert_eq!(
            line(LogFormat::Text, "request", &fields),
            "2023-11-14T22:13:20.123Z INFO  request status=200 ms=1.25 ok=true room=\"r 1\"\n"
        );
        assert_eq!(
            line(LogFormat::Json, "request", &fields),
            "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"INFO\",\"message\":\"request\",\
             \"status\":200,\"ms\":1.25,\"ok\":true,\"room\":\"r 1\"}\n"
        );
    }

    #[test]
    fn hostile_text_is_one_line_and_unchanged_when_parsed() {
        let hostile = "a\r\nERROR forged \"q\" \\ \u{1b}[2J\u{85}\u{2028}\u{202e}\u{61c}\0\u{7f} комната 🎥";
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = line(format, hostile, &[("room", Value::from(hostile)), ("shown", Value::from_display(&hostile))]);
            let (inside, end) = line.split_at(line.len() - 1);
            assert_eq!(end, "\n");
            assert!(!inside.contains(escape::is_unsafe), "{line}");
            if format == LogFormat::Json {
                let object: serde_json::Value = serde_json::from_str(&line).unwrap();
                for name in ["message", "room", "shown"] {
                    assert_eq!(object[name], hostile, "{name}");
                }
            }
        }
    }

    #[test]
    fn long_field_is_truncated_to_one_kilobyte() {
        for piece in ["x", "é", "🎥", "\0", "\"", "\u{202e}"] {
            let text = piece.repeat(1_000_000);
            let line = line(LogFormat::Json, &text, &[("a", Value::from(text.as_str())), ("b", Value::from_display(&text))]);
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            for name in ["message", "a", "b"] {
                let field = object[name].as_str().unwrap();
                let (start, end) = field.split_at(field.len() - ELLIPSIS.len());
                assert!(
                    (MAX_FIELD - 8..=MAX_FIELD).contains(&field.len()) && end == ELLIPSIS,
                    "{} of {piece:?}",
                    field.len()
                );
                assert!(text.starts_with(start), "{piece:?}");
            }
        }
        let longest = "x".repeat(MAX_FIELD);
        assert!(line(LogFormat::Text, &longest, &[]).ends_with(&format!(" {longest}\n")));
    }

    #[test]
    fn absent_value_has_no_field() {
        let fields = [("user", Value::null()), ("guest", Value::from("g1"))];
        assert!(line(LogFormat::Text, "m", &fields).ends_with(" m guest=\"g1\"\n"));
        assert!(line(LogFormat::Json, "m", &fields).ends_with(",\"message\":\"m\",\"guest\":\"g1\"}\n"));
    }
}
