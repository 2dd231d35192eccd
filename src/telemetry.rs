//! The log: one line a record on standard error, as text or as JSON. The only module that knows `env_logger`.
//!
//! Nothing a client sends can begin a line of its own: control characters are escaped.

use std::fmt::Write as _;
use std::io::Write as _;

use env_logger::Builder;
use env_logger::fmt::Formatter;
use log::kv::{Key, Value, VisitSource};
use log::{Level, Record};

use crate::clock::Clock;
use crate::settings::LogFormat;

/// Libraries that would write bodies, headers or SQL into the log at their lower levels, where our secrets are.
const TALKATIVE: &[&str] =
    &["actix_web", "actix_server", "actix_tls", "awc", "h2", "rustls", "sqlx", "mio", "tokio_util", "tracing"];
/// A library that has an error for each malformed byte of a stranger.
const SILENCED: &str = "actix_http";

/// The longest text of one field, in characters.
const MAX_FIELD: usize = 1000;

/// Starts the log. `filter` is what `RUST_LOG` says; without it, `info`.
///
/// A second call in one process changes nothing.
pub fn start(format: LogFormat, filter: Option<&str>, clock: Clock) {
    let mut builder = Builder::new();
    builder.parse_filters(filter.unwrap_or("info"));
    builder.format(move |out, record| match format {
        _ if !may_be_written(record.target(), record.level()) => Ok(()),
        LogFormat::Text => text(out, record, &clock),
        LogFormat::Json => json(out, record, &clock),
    });
    // Fails only if a log was started before.
    if builder.try_init().is_ok() {
        // The usual hook writes several lines, with whatever the panic was told.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            log::error!(place = place.as_str(); "panicked");
        }));
    }
}

/// Decided here and not by filters: `RUST_LOG` may name a library's innermost module, and the longest name wins there.
fn may_be_written(target: &str, level: Level) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    library != SILENCED && (level <= Level::Warn || !TALKATIVE.contains(&library))
}

fn text(out: &mut Formatter, record: &Record<'_>, clock: &Clock) -> std::io::Result<()> {
    let mut line = format!("{} {:5} {}", time(clock), record.level(), plain(&record.args().to_string()));
    for (key, value) in fields(record) {
        // Writing to a string can't fail.
        let _ = write!(line, " {key}={value}");
    }
    writeln!(out, "{line}")
}

fn json(out: &mut Formatter, record: &Record<'_>, clock: &Clock) -> std::io::Result<()> {
    let mut line = serde_json::Map::new();
    line.insert("time".into(), time(clock).into());
    line.insert("level".into(), record.level().as_str().into());
    line.insert("message".into(), plain(&record.args().to_string()).into());
    for (key, value) in fields(record) {
        line.insert(key, value);
    }
    writeln!(out, "{}", serde_json::Value::Object(line))
}

fn time(clock: &Clock) -> String {
    humantime::format_rfc3339_millis(clock.now()).to_string()
}

fn fields(record: &Record<'_>) -> Vec<(String, serde_json::Value)> {
    struct Collected(Vec<(String, serde_json::Value)>);

    impl<'kvs> VisitSource<'kvs> for Collected {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
            let value = match value.to_u64() {
                Some(number) => number.into(),
                None => plain(&value.to_string()).into(),
            };
            self.0.push((key.to_string(), value));
            Ok(())
        }
    }

    let mut collected = Collected(Vec::new());
    // Our visitor never fails.
    let _ = record.key_values().visit(&mut collected);
    collected.0
}

/// Bounded, and without a character that a terminal or a line-based reader would act on.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars().take(MAX_FIELD) {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            plain.extend(c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_library_says_in_passing_is_not_written_whatever_rust_log_asks_for() {
        assert!(!may_be_written("sqlx::query", Level::Info) && !may_be_written("actix_http::h1::dispatcher", Level::Error));
        assert!(may_be_written("sqlx", Level::Warn) && may_be_written("proconf_app_server::cli", Level::Trace));
    }

    #[test]
    fn nothing_that_is_logged_begins_a_line_of_its_own() {
        let hostile = "a\r\nERROR forged\u{1b}[2J\u{85}\u{2028}\0";
        assert!(!plain(hostile).contains(|c: char| c.is_control() || c == '\u{2028}'));
        assert_eq!(plain("комната 🎥 a=\"b\""), "комната 🎥 a=\"b\"");
        assert_eq!(plain(&"é".repeat(5000)).chars().count(), MAX_FIELD);
    }
}
