//! One record as one line. Nothing that a client sends can begin a line of its own or act on a terminal: control characters
//! are escaped, and each field is cut.

use std::fmt::{self, Write as _};

use log::Record;
use log::kv::{Key, Value, VisitSource, VisitValue};

use super::escape::{is_unsafe, push_escaped};
use crate::clock::Clock;
use crate::settings::LogFormat;

/// The longest text of one field, in bytes as they are written.
const MAX_FIELD: usize = 1024;
/// What stands for the rest of a field that was cut.
const CUT: &str = "…";
/// More than most lines have.
const USUAL: usize = 512;

/// The line, with its line break.
pub(super) fn of(record: &Record<'_>, format: LogFormat, clock: &Clock) -> String {
    let mut line = String::with_capacity(USUAL);
    let time = humantime::format_rfc3339_millis(clock.now());
    // Writing to a string can't fail, here and below.
    let _ = match format {
        LogFormat::Text => write!(line, "{time} {:5} ", record.level()),
        LogFormat::Json => write!(line, r#"{{"time":"{time}","level":"{}","message":""#, record.level()),
    };
    match record.args().as_str() {
        Some(message) => Escaped::new(&mut line).push(message),
        None => drop(write!(Escaped::new(&mut line), "{}", record.args())),
    }
    if format == LogFormat::Json {
        line.push('"');
    }
    // Our visitor never fails.
    let _ = record.key_values().visit(&mut Fields { line: &mut line, format });
    line.push_str(if format == LogFormat::Json { "}\n" } else { "\n" });
    line
}

struct Fields<'a> {
    line: &'a mut String,
    format: LogFormat,
}

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        value.visit(Field { key: key.as_str(), line: self.line, format: self.format })
    }
}

/// Writes one value as JSON has it, in both formats.
struct Field<'a> {
    key: &'a str,
    line: &'a mut String,
    format: LogFormat,
}

impl Field<'_> {
    /// Keys are ours, and plain.
    fn key(&mut self) {
        let (before, after) = if self.format == LogFormat::Text { (" ", "=") } else { (",\"", "\":") };
        self.line.push_str(before);
        self.line.push_str(self.key);
        self.line.push_str(after);
    }

    fn plain(&mut self, value: impl fmt::Display) {
        self.key();
        let _ = write!(self.line, "{value}");
    }
}

impl VisitValue<'_> for Field<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), log::kv::Error> {
        self.key();
        self.line.push('"');
        let _ = write!(Escaped::new(self.line), "{value}");
        self.line.push('"');
        Ok(())
    }

    /// There is nothing to say.
    fn visit_null(&mut self) -> Result<(), log::kv::Error> {
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), log::kv::Error> {
        self.key();
        self.line.push('"');
        Escaped::new(self.line).push(value);
        self.line.push('"');
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), log::kv::Error> {
        self.plain(value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), log::kv::Error> {
        self.plain(value);
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), log::kv::Error> {
        // JSON has no other numbers.
        if value.is_finite() {
            self.plain(value);
        }
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), log::kv::Error> {
        self.plain(value);
        Ok(())
    }
}

/// Puts text between the quotes of a JSON string, as far as a field may go.
struct Escaped<'a> {
    line: &'a mut String,
    /// How long the line may become.
    end: usize,
    full: bool,
}

impl<'a> Escaped<'a> {
    fn new(line: &'a mut String) -> Self {
        let end = line.len() + MAX_FIELD;
        Self { line, end, full: false }
    }

    fn push(&mut self, text: &str) {
        if self.full {
            return;
        }
        // Nearly everything is plain, and then it is one copy. Not `all`, which looks at one byte after the other.
        if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) && self.line.len() + text.len() <= self.end {
            self.line.push_str(text);
            return;
        }
        for c in text.chars() {
            // The longest escape has twelve bytes, and the mark of the cut three.
            if self.line.len() + 12 + CUT.len() > self.end {
                self.full = true;
                self.line.push_str(CUT);
                return;
            }
            match c {
                '"' => self.line.push_str("\\\""),
                '\\' => self.line.push_str("\\\\"),
                '\n' => self.line.push_str("\\n"),
                '\r' => self.line.push_str("\\r"),
                '\t' => self.line.push_str("\\t"),
                c if is_unsafe(c) => push_escaped(self.line, c),
                c => self.line.push(c),
            }
        }
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

fn is_plain(byte: u8) -> bool {
    // All of ASCII that can be seen, but `"` and `\`.
    matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')
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
        of(&record.args(format_args!("{args}")).build(), format, &clock)
    }

    #[test]
    fn a_line_has_its_time_its_level_its_message_and_its_fields() {
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
    fn whatever_is_logged_is_one_line_and_in_json_comes_back_as_it_was() {
        let hostile = "a\r\nERROR forged \"q\" \\ \u{1b}[2J\u{85}\u{2028}\u{202e}\u{61c}\0\u{7f} комната 🎥";
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = line(format, hostile, &[("room", Value::from(hostile)), ("shown", Value::from_display(&hostile))]);
            let (inside, end) = line.split_at(line.len() - 1);
            assert_eq!(end, "\n");
            assert!(!inside.contains(is_unsafe), "{line}");
            if format == LogFormat::Json {
                let object: serde_json::Value = serde_json::from_str(&line).unwrap();
                for name in ["message", "room", "shown"] {
                    assert_eq!(object[name], hostile, "{name}");
                }
            }
        }
    }

    #[test]
    fn a_field_is_cut_at_a_kilobyte_whatever_it_is_made_of() {
        for piece in ["x", "é", "🎥", "\0", "\"", "\u{202e}"] {
            let text = piece.repeat(1_000_000);
            let line = line(LogFormat::Json, &text, &[("a", Value::from(text.as_str())), ("b", Value::from_display(&text))]);
            assert!(line.len() > 2500 && line.len() <= 3 * MAX_FIELD + 100, "{} of {piece:?}", line.len());
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(object["a"].as_str().unwrap().ends_with(CUT) && object["a"] == object["b"]);
        }
    }
}
