//! The log: one line a record on standard error, as text or as JSON. The only module that knows `env_logger`.
//!
//! A thread that logs has `env_logger` format its line and put it into a queue; a thread of the log's own writes. Who reads the log may stop
//! reading: then lines are dropped and counted, and no request waits.

pub(crate) mod escape;
mod line;
mod queue;

use std::io::{self, Write as _};
use std::sync::Arc;

use env_logger::{Logger, Target, WriteStyle};
use log::{Level, Log, Metadata, Record};

use crate::clock::Clock;
use crate::settings::LogFormat;
pub use queue::Dropped;
use queue::Queue;

/// Libraries that would write bodies, headers or SQL into the log at their lower levels, where our secrets are.
const TALKATIVE: &[&str] =
    &["actix_web", "actix_server", "actix_tls", "awc", "h2", "rustls", "sqlx", "mio", "tokio_util", "tracing"];
/// What we say ourselves is none of that.
const OURS: &str = env!("CARGO_CRATE_NAME");
/// A library that has an error for each malformed byte of a stranger.
const SILENCED: &str = "actix_http";

/// Starts the log. `filter` is what `RUST_LOG` says; without it, `info`. Gives the count of lines that had to be dropped.
///
/// A second call in one process changes nothing.
#[must_use]
pub fn start(format: LogFormat, filter: Option<&str>, clock: Clock) -> Dropped {
    let queue = Arc::new(Queue::default());
    let logger = env_logger::Builder::new()
        .parse_filters(filter.unwrap_or("info"))
        .write_style(WriteStyle::Never)
        .format(move |out, record| out.write_all(line::of(record, format, &clock).as_bytes()))
        .target(Target::Pipe(Box::new(queue::Entrance(Arc::clone(&queue)))))
        .build();
    let level = logger.filter();
    let telemetry = Telemetry { logger, queue: Arc::clone(&queue) };
    // Fails only if a log was started before.
    if log::set_boxed_logger(Box::new(telemetry)).is_ok() {
        log::set_max_level(level);
        let writer = Arc::clone(&queue);
        // Without a writer lines are dropped and counted, which is all that is left to do then.
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_to(&mut io::stderr()));
        // The usual hook writes several lines, with whatever the panic was told.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            log::error!(place = place.as_str(); "panicked");
        }));
    }
    queue.dropped()
}

/// Waits until what was logged so far is written, but not for a reader that has stopped reading.
pub fn flush() {
    log::logger().flush();
}

/// What the `log` facade hands its records to.
struct Telemetry {
    logger: Logger,
    queue: Arc<Queue>,
}

impl Log for Telemetry {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        may_be_written(metadata.target(), metadata.level()) && self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if may_be_written(record.target(), record.level()) {
            self.logger.log(record);
        }
    }

    fn flush(&self) {
        self.queue.flush();
    }
}

/// Decided here and not by filters: `RUST_LOG` may name a library's innermost module, and the longest name wins there.
fn may_be_written(target: &str, level: Level) -> bool {
    if target.starts_with(OURS) {
        return true;
    }
    let library = target.split("::").next().unwrap_or_default();
    library != SILENCED && (level <= Level::Warn || !TALKATIVE.contains(&library))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_library_says_in_passing_is_not_written_whatever_rust_log_asks_for() {
        assert!(!may_be_written("sqlx::query", Level::Info) && !may_be_written("actix_http::h1::dispatcher", Level::Error));
        assert!(may_be_written("sqlx", Level::Warn) && may_be_written("proconf_app_server::cli", Level::Trace));
    }
}
