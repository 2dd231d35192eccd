//! The log: one line per record on standard error, as text or JSON.
//!
//! The logging thread formats its line and adds it to a bounded queue; a writer thread writes it. If the log's reader stalls,
//! lines are dropped and counted, and no request waits.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use env_logger::{Logger, Target, WriteStyle};
use log::{Level, LevelFilter, Log, Metadata, Record};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

use super::log_line;
use crate::clock::Clock;
use crate::config::{LogConfig, LogFormat};

/// Libraries whose lower levels would log bodies, headers or SQL, and with them secrets.
const NOISY_TARGETS: &[&str] =
    &["actix_web", "actix_server", "actix_tls", "awc", "h2", "rustls", "sqlx", "mio", "tokio_util", "tracing"];
/// This crate, whose records are always allowed.
const OWN_TARGET: &str = env!("CARGO_CRATE_NAME");
/// The target of the line of each request.
pub(crate) const ACCESS: &str = concat!(env!("CARGO_CRATE_NAME"), "::access");
/// The target of security events.
pub(crate) const AUDIT: &str = concat!(env!("CARGO_CRATE_NAME"), "::audit");
/// The dependencies, and the modules of this crate, by which records are filtered.
const LOCK_FILE: &str = include_str!("../../Cargo.lock");
const CRATE_ROOT: &str = include_str!("../lib.rs");
/// A library that logs an error for each malformed request.
const SILENCED_TARGET: &str = "actix_http";

/// The capacity of the queue, in lines: about a second of a busy server.
const QUEUE_LINES: usize = 8_192;
/// The most bytes of one write.
const BATCH_BYTES: usize = 64 << 10;
/// The pause after each batch, so that a busy server makes few writes.
const FLUSH_INTERVAL: Duration = Duration::from_millis(10);

/// Counts dropped lines. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct DroppedLines {
    queue: Option<ErrorCounter>,
    unwritten: Arc<AtomicU64>,
}

impl DroppedLines {
    /// Returns the lines dropped from a full queue or not written.
    #[must_use]
    pub fn count(&self) -> u64 {
        let queue = self.queue.as_ref().map_or(0, ErrorCounter::dropped_lines);
        u64::try_from(queue).unwrap_or(u64::MAX).saturating_add(self.unwritten.load(Ordering::Relaxed))
    }
}

/// Checks a value of `RUST_LOG`.
///
/// # Errors
///
/// The first directive that is neither a level nor a target with a level, or whose target is not part of this program.
pub fn check_filter(filter: &str) -> Result<(), String> {
    let is_level = |text: &str| text.trim().parse::<LevelFilter>().is_ok();
    let is_valid = |directive: &&str| match directive.split_once('=') {
        _ if directive.is_empty() => true,
        None => is_level(directive) || is_known_target(directive),
        Some((target, level)) => is_known_target(target) && is_level(level),
    };
    match filter.split(',').map(str::trim).find(|directive| !is_valid(directive)) {
        None => Ok(()),
        Some(wrong) => Err(format!(
            "must be a level (off, error, warn, info, debug or trace), and target=level for a crate or top-level module of this \
             program, separated by commas; {wrong:?} is not"
        )),
    }
}

/// Returns whether a target begins with a dependency's name, or is this crate or a top-level module of it.
fn is_known_target(target: &str) -> bool {
    let mut parts = target.split("::");
    let (package, module) = (parts.next().unwrap_or_default(), parts.next());
    let is_name = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let dependencies = LOCK_FILE.lines().filter_map(|line| line.strip_prefix("name = "));
    let mut modules = CRATE_ROOT.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    match module {
        _ if target == ACCESS || target == AUDIT => true,
        Some(module) if package == OWN_TARGET => {
            modules.any(|own| own.trim_end_matches(';') == module) && parts.next().is_none()
        }
        _ => {
            dependencies.map(|name| name.trim_matches('"').replace('-', "_")).any(|name| name == package)
                && module.into_iter().chain(parts).all(is_name)
        }
    }
}

/// Starts the log. `filter` is a valid value of `RUST_LOG`, and adds to the level `info`.
///
/// Audit events are logged at any level of the filter. A second call in one process changes nothing.
#[must_use]
pub fn start(config: &LogConfig, filter: Option<&str>, clock: Clock) -> DroppedLines {
    let unwritten = Arc::<AtomicU64>::default();
    let output = CountingWriter { inner: io::stderr(), unwritten: Arc::clone(&unwritten) };
    let (queue, writer) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE_LINES)
        .thread_name("log")
        .finish(BufWriter::with_capacity(BATCH_BYTES, output));
    let dropped = DroppedLines { queue: Some(queue.error_counter()), unwritten };
    let format = config.format;
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(LevelFilter::Info)
        .parse_filters(filter.unwrap_or_default())
        .filter_module(AUDIT, LevelFilter::Info);
    if !config.access {
        builder.filter_module(ACCESS, LevelFilter::Off);
    }
    let logger = builder
        .write_style(WriteStyle::Never)
        .format(move |out, record| log_line::write(out, record, format, &clock))
        .target(Target::Pipe(Box::new(queue)))
        .build();
    let level = logger.filter();
    // Fails only after an earlier start.
    if log::set_boxed_logger(Box::new(QueueLogger { logger, writer: Mutex::new(Some(writer)) })).is_ok() {
        log::set_max_level(level);
        // The default hook writes several lines, and the panic's message.
        std::panic::set_hook(Box::new(|panic| {
            let location = panic.location().map(ToString::to_string).unwrap_or_default();
            log::error!(location = location.as_str(); "panicked");
        }));
    }
    dropped
}

/// Formats the error that ends the process as lines of the log.
#[must_use]
pub fn format_fatal_error(error: &str, format: LogFormat) -> Vec<u8> {
    let mut out = Vec::new();
    for cause in error.lines() {
        let fields = [("cause", cause)];
        let mut record = Record::builder();
        let record = record.level(Level::Error).key_values(&fields).args(format_args!("the server failed")).build();
        // Writing to a vector can't fail.
        let _ = log_line::write(&mut out, &record, format, &Clock::system());
    }
    out
}

/// Writes all queued lines, for a second at most, and stops the log. Call it last.
pub fn flush() {
    log::logger().flush();
}

/// The `log` facade's logger.
struct QueueLogger {
    logger: Logger,
    /// Writes the queued lines when it is dropped.
    writer: Mutex<Option<WorkerGuard>>,
}

impl Log for QueueLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_allowed(metadata.target(), metadata.level()) && self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_allowed(record.target(), record.level()) {
            self.logger.log(record);
        }
    }

    fn flush(&self) {
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Returns whether a record may be logged. A filter can't decide: `RUST_LOG` may name a library's inner module, and the
/// longest name wins.
fn is_allowed(target: &str, level: Level) -> bool {
    if target.starts_with(OWN_TARGET) {
        return true;
    }
    let library = target.split("::").next().unwrap_or_default();
    library != SILENCED_TARGET && (level <= Level::Warn || !NOISY_TARGETS.contains(&library))
}

/// Counts the lines that can't be written, and never fails.
struct CountingWriter<W> {
    inner: W,
    unwritten: Arc<AtomicU64>,
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.inner.write(bytes) {
            Ok(written @ 1..) => Ok(written),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            // Another process made standard error non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(FLUSH_INTERVAL);
                Err(ErrorKind::Interrupted.into())
            }
            Ok(0) | Err(_) => {
                let lines = bytes.split(|byte| *byte == b'\n').count().saturating_sub(1);
                self.unwritten.fetch_add(lines as u64, Ordering::Relaxed);
                Ok(bytes.len())
            }
        }
    }

    /// Called after each batch.
    fn flush(&mut self) -> io::Result<()> {
        thread::sleep(FLUSH_INTERVAL);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns these results, one per write.
    struct Scripted(Vec<io::Result<usize>>, Vec<u8>);

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = self.0.remove(0)?.min(bytes.len());
            self.1.extend_from_slice(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn library_below_warning_is_never_logged() {
        assert!(!is_allowed("sqlx::query", Level::Info) && !is_allowed("actix_http::h1::dispatcher", Level::Error));
        assert!(is_allowed("sqlx", Level::Warn) && is_allowed("proconf_app_server::cli", Level::Trace));
    }

    #[test]
    fn filter_with_an_unknown_level_or_target_is_rejected() {
        for filter in [
            "",
            "warn",
            "INFO,",
            "off",
            "info, sqlx=error",
            "sqlx::query=debug,warn",
            "proconf_app_server=trace",
            "proconf_app_server::admin_control=debug",
            "proconf_app_server::access=warn",
            "tracing_appender",
        ] {
            assert_eq!(check_filter(filter), Ok(()), "{filter}");
        }
        for (filter, wrong) in [
            ("warning", "warning"),
            ("inof", "inof"),
            ("info;debug", "info;debug"),
            ("info,sqlx=warning", "sqlx=warning"),
            ("sqlx=", "sqlx="),
            ("=info", "=info"),
            ("sqlx=info=debug", "sqlx=info=debug"),
            ("info,sqlxx=warn", "sqlxx=warn"),
            ("sqlx::=warn", "sqlx::=warn"),
            ("sqlx =warn", "sqlx =warn"),
            ("info/login", "info/login"),
            ("proconf_app_server::acces=off", "proconf_app_server::acces=off"),
            ("proconf_app_server::middleware::access_log=off", "proconf_app_server::middleware::access_log=off"),
        ] {
            let problem = check_filter(filter).unwrap_err();
            assert!(problem.starts_with("must be a level") && problem.contains(&format!("{wrong:?} is not")), "{problem}");
        }
    }

    #[test]
    fn failed_write_is_counted_and_the_next_one_succeeds() {
        let results = vec![Err(ErrorKind::BrokenPipe.into()), Ok(0), Ok(100)];
        let unwritten = Arc::default();
        let mut writer = CountingWriter { inner: Scripted(results, Vec::new()), unwritten: Arc::clone(&unwritten) };
        for lines in ["a\nb\n", "c\n", "d\n"] {
            writer.write_all(lines.as_bytes()).unwrap();
        }
        assert_eq!((writer.inner.1, unwritten.load(Ordering::Relaxed)), (b"d\n".to_vec(), 3));
    }

    #[test]
    fn interrupted_or_partial_write_is_continued() {
        let results = vec![Err(ErrorKind::Interrupted.into()), Err(ErrorKind::WouldBlock.into()), Ok(3), Ok(100)];
        let unwritten = Arc::default();
        let mut writer = CountingWriter { inner: Scripted(results, Vec::new()), unwritten: Arc::clone(&unwritten) };
        writer.write_all(b"a\nb\nc\n").unwrap();
        assert_eq!((writer.inner.1, unwritten.load(Ordering::Relaxed)), (b"a\nb\nc\n".to_vec(), 0));
    }
}
