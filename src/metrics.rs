//! What the server counts and measures, as Prometheus reads it. The only module that knows `metrics` and its exporter.
//!
//! Every series is registered before the first request: a request finds its handles by position and hashes nothing. Nothing is
//! global, so that several servers live in one process. Must not know whose numbers it keeps.

mod http;
mod process;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use ::metrics::{Gauge, Key, KeyName, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use ::metrics::{Counter, Histogram};
pub use http::Http;

/// Upper bounds in seconds: a window answers in less than a millisecond, a language model in many seconds.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

/// The labels of one series.
pub type Labels<'a> = &'a [(&'static str, &'static str)];

/// Registers series, before the server starts.
pub struct Registry {
    recorder: PrometheusRecorder,
    watched: Vec<Watched>,
}

/// What is looked up when somebody asks, and costs nothing until then.
enum Watched {
    Gauge(Gauge, Box<dyn Fn() -> f64 + Send + Sync>),
    Counter(Counter, Box<dyn Fn() -> u64 + Send + Sync>),
}

/// All series, to be rendered. Clones are the same.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    watched: Arc<[Watched]>,
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

impl Registry {
    /// With the series of a process that started then, and no other.
    #[must_use]
    pub fn new(started: SystemTime) -> Self {
        let durations = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(durations, BUCKETS);
        // Fails only without buckets; what is measured would be shown as quantiles then.
        let recorder = builder.unwrap_or_default().build_recorder();
        let mut registry = Self { recorder, watched: Vec::new() };
        process::register(&mut registry, started);
        registry
    }

    /// A counter.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Counter {
        self.recorder.describe_counter(KeyName::from_const_str(name), None, help.into());
        self.recorder.register_counter(&key(name, labels), &METADATA)
    }

    /// A gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Gauge {
        self.recorder.describe_gauge(KeyName::from_const_str(name), None, help.into());
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    /// A histogram of seconds; its name ends with `_seconds`.
    pub fn histogram(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Histogram {
        self.recorder.describe_histogram(KeyName::from_const_str(name), None, help.into());
        self.recorder.register_histogram(&key(name, labels), &METADATA)
    }

    /// A gauge that is what `read` says when it is asked for.
    pub fn watch(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let gauge = self.gauge(name, help, labels);
        self.watched.push(Watched::Gauge(gauge, Box::new(read)));
    }

    /// A counter that somebody else counts.
    pub fn watch_count(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let counter = self.counter(name, help, labels);
        self.watched.push(Watched::Counter(counter, Box::new(read)));
    }

    /// All that was registered.
    #[must_use]
    pub fn finish(self) -> Metrics {
        Metrics { handle: self.recorder.handle(), watched: self.watched.into() }
    }
}

impl Metrics {
    /// What there is now, in Prometheus' text format (version 0.0.4).
    #[must_use]
    pub fn render(&self) -> String {
        for watched in self.watched.iter() {
            match watched {
                Watched::Gauge(gauge, read) => gauge.set(read()),
                Watched::Counter(counter, read) => counter.absolute(read()),
            }
        }
        let mut text = self.handle.render();
        if let Some(seconds) = process::cpu_seconds() {
            // By hand, because counters of the facade are whole numbers.
            let name = "process_cpu_seconds_total";
            let _ = write!(text, "# HELP {name} {}\n# TYPE {name} counter\n{name} {seconds}\n", process::CPU_HELP);
        }
        text
    }

    /// To be called now and then: what was measured takes memory until then.
    pub fn tidy(&self) {
        self.handle.run_upkeep();
    }
}

fn key(name: &'static str, labels: Labels<'_>) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::from_static_parts(name, value)).collect();
    Key::from_parts(name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn what_was_registered_is_there_before_anything_happened_and_two_registries_are_two() {
        let (one, other) = (Registry::new(UNIX_EPOCH), Registry::new(UNIX_EPOCH));
        let counter = one.counter("a_total", "A.", &[("kind", "x")]);
        let duration = one.histogram("a_duration_seconds", "How long.", &[]);
        let _ = other.counter("a_total", "A.", &[("kind", "x")]);
        let (one, other) = (one.finish(), other.finish());
        assert!(one.render().contains("# HELP a_total A.\n# TYPE a_total counter\na_total{kind=\"x\"} 0\n"));
        counter.increment(3);
        duration.record(0.02);
        one.tidy();
        duration.record(Duration::from_secs(20));
        let text = one.render();
        for line in [
            "a_total{kind=\"x\"} 3",
            "# TYPE a_duration_seconds histogram",
            "a_duration_seconds_bucket{le=\"0.01\"} 0",
            "a_duration_seconds_bucket{le=\"0.025\"} 1",
            "a_duration_seconds_bucket{le=\"15\"} 1",
            "a_duration_seconds_bucket{le=\"+Inf\"} 2",
            "a_duration_seconds_sum 20.02",
            "a_duration_seconds_count 2",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
        }
        assert!(other.render().contains("a_total{kind=\"x\"} 0"));
    }

    #[test]
    fn what_is_watched_is_what_it_is_when_it_is_asked_for() {
        let mut registry = Registry::new(UNIX_EPOCH);
        let source = Arc::new(AtomicU64::new(1));
        let (gauge, counter) = (Arc::clone(&source), Arc::clone(&source));
        registry.watch("g", "G.", &[], move || if gauge.load(Ordering::SeqCst) > 1 { 0.5 } else { 0.0 });
        registry.watch_count("c_total", "C.", &[], move || counter.load(Ordering::SeqCst));
        let metrics = registry.finish();
        assert!(metrics.render().contains("\ng 0\n") && metrics.render().contains("\nc_total 1\n"));
        source.store(7, Ordering::SeqCst);
        assert!(metrics.render().contains("\ng 0.5\n") && metrics.render().contains("\nc_total 7\n"));
    }
}
