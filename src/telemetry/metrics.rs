//! Metrics: their declarations, and the registry that renders them in Prometheus' text format.
//!
//! Every series is registered at zero before the first request, and used by handle. Nothing is global, so that one process can
//! run several servers.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::metrics::{Key, KeyName, Label, Level, Metadata, Recorder, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

pub(crate) use ::metrics::{Counter, Gauge, Histogram};

/// The declaration of a metric, whose handles are of type `K`.
pub(crate) struct Metric<K> {
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    kind: PhantomData<K>,
}

macro_rules! declare {
    ($($constant:ident: $kind:ident = $name:literal [$($label:literal),*] $help:literal;)*) => {$(
        #[doc = $help]
        pub(crate) const $constant: Metric<$kind> =
            Metric { name: $name, labels: &[$($label),*], help: $help, kind: PhantomData };
    )*};
}

// The constant, the kind, the name, the labels and the help of each metric. docs/METRICS.md explains them.
declare! {
    HTTP_REQUESTS: Counter = "proconf_http_requests_total" ["route", "method", "status"]
        "Requests, by route, method and status (499: the client left before its response).";
    HTTP_DURATION: Histogram = "proconf_http_request_duration_seconds" ["route", "method"]
        "Time from a request's head to its response's.";
    HTTP_IN_FLIGHT: Gauge = "proconf_http_requests_in_flight" [] "Requests in flight.";
    HTTP_CONNECTIONS: Gauge = "proconf_http_connections" [] "Open connections of clients.";
    HTTP_CONNECTIONS_MAX: Gauge = "proconf_http_connections_max" [] "The limit on connections of clients.";
    ADMIN_CONTROL_CALLS: Counter = "proconf_admin_control_calls_total" ["endpoint", "outcome"]
        "Calls to Admin Control, by endpoint and outcome: ok, or the true reason of the failure.";
    ADMIN_CONTROL_DURATION: Histogram = "proconf_admin_control_call_duration_seconds" ["endpoint"]
        "Time of a whole call to Admin Control; calls that were not made do not count.";
    ADMIN_CONTROL_RETRIES: Counter = "proconf_admin_control_retries_total" ["endpoint"]
        "Calls to Admin Control that were retried because a reused connection failed before a response.";
    ADMIN_CONTROL_BREAKER_OPEN: Gauge = "proconf_admin_control_breaker_open" ["endpoint"]
        "1 while the endpoint's circuit breaker is open.";
    CACHE_READS: Counter = "proconf_cache_reads_total" ["cache", "outcome"]
        "Cache reads by outcome; hit, coalesced and shared are calls saved.";
    CACHE_STALE: Counter = "proconf_cache_stale_total" ["cache"] "Stale responses served, because a call failed or was slow.";
    CACHE_FAILURES: Counter = "proconf_cache_failures_total" ["cache", "reason"]
        "Reads that failed because of another replica, by reason.";
    CACHE_SHARED: Gauge = "proconf_cache_shared" ["cache"]
        "1 while the replicas share the cache, 0 while this one uses its local cache only.";
    CACHE_ENTRIES: Gauge = "proconf_cache_entries" ["cache"] "Entries of a cache.";
    CACHE_BYTES: Gauge = "proconf_cache_bytes" ["cache"] "Memory of a cache's entries, in bytes.";
    ROOM_WEBHOOK_CALLS: Counter = "proconf_room_webhook_calls_total" ["outcome"]
        "Calls to the room access webhook, by outcome.";
    ROOM_WEBHOOK_DURATION: Histogram = "proconf_room_webhook_call_duration_seconds" []
        "Time of a whole call to the room access webhook.";
    LOGINS: Counter = "proconf_logins_total" ["outcome"] "Logins, by outcome.";
    TOKEN_REFRESHES: Counter = "proconf_token_refreshes_total" ["outcome"]
        "Refresh tokens handed in, by outcome (reused: spent before, its session is revoked).";
    IDENTITY_FETCHES: Counter = "proconf_identity_fetches_total" ["outcome"]
        "Fetches of the identity provider's keys, by outcome.";
    IDENTITY_KEYS_AGE: Gauge = "proconf_identity_keys_age_seconds" []
        "Time since usable keys of the identity provider were fetched, or since the start.";
    DATABASE_CONNECTIONS: Gauge = "proconf_database_connections" ["state"] "Connections to the database, by state.";
    DATABASE_CONNECTIONS_MAX: Gauge = "proconf_database_connections_max" [] "The limit on connections to the database.";
    DATABASE_UP: Gauge = "proconf_database_up" [] "1 while the database passes the health check.";
    DEPENDENCY_DURATION: Histogram = "proconf_dependency_operation_duration_seconds" ["dependency"]
        "Time of an operation of the database, Redis or the summary store, with the wait for a connection.";
    DEPENDENCY_ERRORS: Counter = "proconf_dependency_operation_errors_total" ["dependency"]
        "Failed operations of the database, Redis or the summary store.";
    LIVE_ROOMS: Gauge = "proconf_live_rooms" [] "Rooms whose catch-up is polled for event streams.";
    LIVE_STREAMS: Gauge = "proconf_live_streams" [] "Event streams that wait for catch-ups.";
    READY: Gauge = "proconf_ready" [] "1 while the server is ready for requests.";
    DRAINING: Gauge = "proconf_draining" [] "1 while the server drains.";
    LOG_LINES_DROPPED: Counter = "proconf_log_lines_dropped_total" [] "Log lines dropped because their reader was too slow.";
    BUILD_INFO: Gauge = "proconf_build_info" ["version"] "Always 1; the version is a label.";
    PROCESS_START_TIME: Gauge = "process_start_time_seconds" []
        "Start time of the process since unix epoch in seconds.";
}

/// The upper bounds of the buckets, in seconds.
///
/// A cache hit takes less than a millisecond, a language model many seconds.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// A kind of metric, which registers its series.
pub(crate) trait Kind: Sized {
    /// Registers the series of `key`.
    fn register(recorder: &PrometheusRecorder, key: &Key, help: &'static str) -> Self;
}

macro_rules! kind {
    ($kind:ident, $describe:ident, $register:ident) => {
        impl Kind for $kind {
            fn register(recorder: &PrometheusRecorder, key: &Key, help: &'static str) -> Self {
                recorder.$describe(KeyName::from(key.name().to_owned()), None, help.into());
                recorder.$register(key, &METADATA)
            }
        }
    };
}
kind!(Counter, describe_counter, register_counter);
kind!(Gauge, describe_gauge, register_gauge);
kind!(Histogram, describe_histogram, register_histogram);

/// Registers series, before the server starts.
pub struct Registry {
    recorder: Arc<PrometheusRecorder>,
    /// Called before each rendering.
    callbacks: Vec<Box<dyn Fn() + Send + Sync>>,
}

impl Registry {
    /// Creates a registry with the metrics of the process, which started at `started`.
    #[must_use]
    pub fn new(started: SystemTime) -> Self {
        let durations = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(durations, BUCKETS);
        // Fails only without buckets.
        let recorder = Arc::new(builder.unwrap_or_default().build_recorder());
        let mut registry = Self { recorder: Arc::clone(&recorder), callbacks: Vec::new() };
        let process = metrics_process::Collector::default();
        with_local_recorder(&*recorder, || process.describe());
        registry.callbacks.push(Box::new(move || with_local_recorder(&*recorder, || process.collect())));
        // The kernel's own start time needs /proc/stat, which a hardened systemd unit hides.
        let started = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        registry.gauge_fn(&PROCESS_START_TIME, &[], move || started);
        registry.register(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        registry
    }

    /// Registers the series of `metric` with these label values.
    pub(crate) fn register<K: Kind>(&self, metric: &Metric<K>, values: &[&str]) -> K {
        let labels = metric.labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).to_owned()));
        K::register(&self.recorder, &Key::from_parts(metric.name, labels.collect::<Vec<_>>()), metric.help)
    }

    /// Registers one counter for each value of the last label.
    pub(crate) fn register_all(&self, metric: &Metric<Counter>, values: &[&str], last: &[&'static str]) -> CounterVec {
        let counter = |value: &&'static str| (*value, self.register(metric, &[values, &[*value]].concat()));
        CounterVec(last.iter().map(counter).collect())
    }

    /// Registers a gauge that is read when it is rendered.
    pub(crate) fn gauge_fn(
        &mut self,
        metric: &Metric<Gauge>,
        values: &[&str],
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let gauge = self.register(metric, values);
        self.callbacks.push(Box::new(move || gauge.set(read())));
    }

    /// Registers a counter that is read when it is rendered.
    pub(crate) fn counter_fn(
        &mut self,
        metric: &Metric<Counter>,
        values: &[&str],
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let counter = self.register(metric, values);
        self.callbacks.push(Box::new(move || counter.absolute(read())));
    }

    /// Completes the registration.
    pub(crate) fn finish(self) -> Metrics {
        Metrics { recorder: self.recorder, callbacks: self.callbacks.into() }
    }
}

/// All registered series. Clones share them.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    callbacks: Arc<[Box<dyn Fn() + Send + Sync>]>,
}

impl Metrics {
    /// Renders the current values in Prometheus' text format, version 0.0.4.
    pub(crate) fn render(&self) -> String {
        self.callbacks.iter().for_each(|callback| callback());
        // A counter of the `metrics` crate is a whole number, so that the processor time is registered as a gauge.
        let text = self.recorder.handle().render();
        text.replacen("# TYPE process_cpu_seconds_total gauge", "# TYPE process_cpu_seconds_total counter", 1)
    }

    /// Moves measurements into their buckets. Call it about once a second: they use memory until then.
    pub(crate) fn run_upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }
}

/// Counters of one metric by the value of its last label. The default counts nothing.
#[derive(Clone, Default)]
pub(crate) struct CounterVec(Vec<(&'static str, Counter)>);

impl CounterVec {
    /// Increments the counter of `value`, or the last one if there is none.
    pub(crate) fn increment(&self, value: &str) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == value).or(self.0.last()) {
            counter.increment(1);
        }
    }
}

/// Times the operations of a dependency and counts their failures. The default records nothing.
#[derive(Clone)]
pub(crate) struct OperationMetrics {
    duration: Histogram,
    errors: Counter,
}

impl Default for OperationMetrics {
    fn default() -> Self {
        Self { duration: Histogram::noop(), errors: Counter::noop() }
    }
}

impl OperationMetrics {
    /// Registers the series of the dependency called `name`.
    pub(crate) fn new(registry: &Registry, name: &'static str) -> Self {
        Self {
            duration: registry.register(&DEPENDENCY_DURATION, &[name]),
            errors: registry.register(&DEPENDENCY_ERRORS, &[name]),
        }
    }

    /// Runs `operation`. An error counts if it `is_failure`.
    ///
    /// # Errors
    ///
    /// That of the operation.
    pub(crate) async fn observe<T, E>(
        &self,
        operation: impl Future<Output = Result<T, E>>,
        is_failure: impl FnOnce(&E) -> bool,
    ) -> Result<T, E> {
        let started = Instant::now();
        let result = operation.await;
        self.duration.record(started.elapsed());
        if result.as_ref().is_err_and(is_failure) {
            self.errors.increment(1);
        }
        result
    }
}

/// The statuses of responses; 499 means that the client disconnected first.
const STATUSES: &[&str] =
    &["200", "204", "304", "400", "401", "403", "404", "408", "413", "429", "431", "499", "500", "503", "other"];

/// Counts and times requests by route. Clones share the series.
#[derive(Clone)]
pub(crate) struct HttpMetrics {
    /// In the order of the routes; the last one is for unknown URLs and methods.
    routes: Vec<(CounterVec, Histogram)>,
    in_flight: Gauge,
}

impl HttpMetrics {
    /// Registers the series of these routes, each a pattern and a method.
    pub(crate) fn new(registry: &Registry, routes: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let route = |(route, method)| {
            let requests = registry.register_all(&HTTP_REQUESTS, &[route, method], STATUSES);
            (requests, registry.register(&HTTP_DURATION, &[route, method]))
        };
        let routes = routes.chain([("unknown", "unknown")]).map(route).collect();
        Self { routes, in_flight: registry.register(&HTTP_IN_FLIGHT, &[]) }
    }

    /// Counts the start of a request.
    pub(crate) fn begin(&self) {
        self.in_flight.increment(1);
    }

    /// Counts the end of a request, by the index of its route.
    pub(crate) fn end(&self, route: Option<usize>, status: &str, duration: Duration) {
        self.in_flight.decrement(1);
        let route = route.and_then(|index| self.routes.get(index)).or(self.routes.last());
        if let Some((requests, durations)) = route {
            requests.increment(status);
            durations.record(duration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn has_line(text: &str, line: &str) -> bool {
        text.lines().any(|there| there == line)
    }

    #[test]
    fn registered_series_is_zero_before_first_use() {
        let (registry, other) = (Registry::new(UNIX_EPOCH), Registry::new(UNIX_EPOCH));
        let logins = registry.register_all(&LOGINS, &[], &["ok", "error"]);
        let _ = other.register_all(&LOGINS, &[], &["ok", "error"]);
        let (metrics, other) = (registry.finish(), other.finish());
        assert!(
            metrics
                .render()
                .contains("# HELP proconf_logins_total Logins, by outcome.\n# TYPE proconf_logins_total counter\n")
        );
        logins.increment("ok");
        logins.increment("not declared");
        for line in ["proconf_logins_total{outcome=\"ok\"} 1", "proconf_logins_total{outcome=\"error\"} 1"] {
            assert!(has_line(&metrics.render(), line), "{line} is not in\n{}", metrics.render());
        }
        assert!(has_line(&other.render(), "proconf_logins_total{outcome=\"ok\"} 0"), "registries are separate");
    }

    #[test]
    fn histogram_counts_durations_into_buckets() {
        let registry = Registry::new(UNIX_EPOCH);
        let duration = registry.register(&ADMIN_CONTROL_DURATION, &["x"]);
        let metrics = registry.finish();
        duration.record(0.02);
        metrics.run_upkeep();
        duration.record(Duration::from_secs(20));
        let text = metrics.render();
        for line in [
            "# TYPE proconf_admin_control_call_duration_seconds histogram",
            "proconf_admin_control_call_duration_seconds_bucket{endpoint=\"x\",le=\"0.01\"} 0",
            "proconf_admin_control_call_duration_seconds_bucket{endpoint=\"x\",le=\"0.025\"} 1",
            "proconf_admin_control_call_duration_seconds_bucket{endpoint=\"x\",le=\"15\"} 1",
            "proconf_admin_control_call_duration_seconds_bucket{endpoint=\"x\",le=\"+Inf\"} 2",
            "proconf_admin_control_call_duration_seconds_sum{endpoint=\"x\"} 20.02",
        ] {
            assert!(has_line(&text, line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn callback_is_read_at_each_rendering() {
        let mut registry = Registry::new(UNIX_EPOCH);
        let source = Arc::new(AtomicU64::new(1));
        let (gauge, counter) = (Arc::clone(&source), Arc::clone(&source));
        registry.gauge_fn(&READY, &[], move || if gauge.load(Ordering::SeqCst) > 1 { 0.5 } else { 0.0 });
        registry.counter_fn(&LOG_LINES_DROPPED, &[], move || counter.load(Ordering::SeqCst));
        let metrics = registry.finish();
        let text = metrics.render();
        assert!(has_line(&text, "proconf_ready 0") && has_line(&text, "proconf_log_lines_dropped_total 1"));
        source.store(7, Ordering::SeqCst);
        let text = metrics.render();
        assert!(has_line(&text, "proconf_ready 0.5") && has_line(&text, "proconf_log_lines_dropped_total 7"));
    }

    #[test]
    fn start_time_is_the_registered_one() {
        let metrics = Registry::new(UNIX_EPOCH + Duration::from_secs(7)).finish();
        assert!(has_line(&metrics.render(), "process_start_time_seconds 7"));
    }
}
