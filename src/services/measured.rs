//! What of the services is counted and measured, and under which names.

use std::sync::Arc;
use std::time::Duration;

use crate::admin_control::{CallMetrics, EndpointLimits, Error};
use crate::connection::Capacity;
use crate::db::{self, Database};
use crate::health::{Health, Readiness};
use crate::metrics::{Counter, Histogram, Http, Registry};
use crate::routes::TABLE;
use crate::telemetry::logging::DroppedLines;

const CALLS: &str = "proconf_admin_control_calls_total";
const CALLS_HELP: &str = "Calls to Admin Control, by endpoint and outcome: ok, or the true reason why not.";
const CALL_DURATION: &str = "proconf_admin_control_call_duration_seconds";
const CALL_DURATION_HELP: &str = "Time of a whole call to Admin Control; calls that were not made do not count.";
const RETRIES: &str = "proconf_admin_control_retries_total";
const RETRIES_HELP: &str = "Calls to Admin Control that were retried because a reused connection failed before a response.";
const BREAKER: &str = "proconf_admin_control_breaker_open";
const BREAKER_HELP: &str = "1 while calls to the endpoint fail at once because it could not be reached.";
const CLIENTS: &str = "proconf_http_connections";
const CLIENTS_HELP: &str = "Connections of clients; those beyond the limit, which are only told so, do not count.";
const MAX_CLIENTS: &str = "proconf_http_connections_max";
const MAX_CLIENTS_HELP: &str = "The most connections of clients.";
const CONNECTIONS: &str = "proconf_database_connections";
const CONNECTIONS_HELP: &str = "Connections to the database, by state.";
const MAX_CONNECTIONS: &str = "proconf_database_connections_max";
const MAX_CONNECTIONS_HELP: &str = "The most connections to the database.";

pub(super) fn http(registry: &Registry) -> Http {
    Http::new(registry, TABLE.iter().map(|row| (row.paths.first().copied().unwrap_or_default(), row.method.as_str())))
}

/// Calls to Admin Control, each endpoint by its name.
pub(super) struct Calls(Vec<Endpoint>);

struct Endpoint {
    name: &'static str,
    ok: Counter,
    reasons: Vec<(&'static str, Counter)>,
    duration: Histogram,
    retries: Counter,
}

impl Calls {
    pub(super) fn new(registry: &Registry, limits: &EndpointLimits) -> Arc<Self> {
        let endpoint = |(name, _open)| {
            let outcome = |outcome| registry.counter(CALLS, CALLS_HELP, &[("endpoint", name), ("outcome", outcome)]);
            Endpoint {
                name,
                ok: outcome("ok"),
                reasons: Error::REASONS.iter().map(|reason| (*reason, outcome(*reason))).collect(),
                duration: registry.histogram(CALL_DURATION, CALL_DURATION_HELP, &[("endpoint", name)]),
                retries: registry.counter(RETRIES, RETRIES_HELP, &[("endpoint", name)]),
            }
        };
        Arc::new(Self(limits.breakers().map(endpoint).collect()))
    }
}

impl CallMetrics for Calls {
    fn on_call(&self, endpoint: &'static str, error: Option<&Error>, duration: Duration) {
        let Some(endpoint) = self.0.iter().find(|known| known.name == endpoint) else { return };
        let counter = match error {
            None => Some(&endpoint.ok),
            Some(error) => endpoint.reasons.iter().find(|(reason, _)| *reason == error.reason()).map(|(_, counter)| counter),
        };
        if let Some(counter) = counter {
            counter.increment(1);
        }
        if !matches!(error, Some(Error::TooManyCalls | Error::OutOfFiles | Error::BreakerOpen)) {
            endpoint.duration.record(duration);
        }
    }

    fn on_retry(&self, endpoint: &'static str) {
        if let Some(endpoint) = self.0.iter().find(|known| known.name == endpoint) {
            endpoint.retries.increment(1);
        }
    }
}

/// What is looked up when somebody asks.
pub(super) fn watch(
    registry: &mut Registry,
    limits: &EndpointLimits,
    database: &Database,
    health: &Arc<Health>,
    dropped: DroppedLines,
) {
    watch_breakers(registry, limits);
    watch_database(registry, database);
    watch_health(registry, health);
    watch_log(registry, dropped);
}

fn watch_breakers(registry: &mut Registry, limits: &EndpointLimits) {
    let endpoints: Vec<&'static str> = limits.breakers().map(|(name, _)| name).collect();
    for name in endpoints {
        let limits = limits.clone();
        let open = move || limits.breakers().any(|(endpoint, open)| endpoint == name && open);
        registry.watch(BREAKER, BREAKER_HELP, &[("endpoint", name)], move || f64::from(u8::from(open())));
    }
}

pub(super) fn watch_connections(registry: &mut Registry, capacity: &Capacity) {
    let seats = capacity.clone();
    registry.watch(CLIENTS, CLIENTS_HELP, &[], move || float(seats.taken() as u64));
    registry.gauge(MAX_CLIENTS, MAX_CLIENTS_HELP, &[]).set(float(capacity.limit() as u64));
}

fn watch_database(registry: &mut Registry, database: &Database) {
    let (in_use, idle) = (database.clone(), database.clone());
    registry.watch(CONNECTIONS, CONNECTIONS_HELP, &[("state", "in-use")], move || {
        let (all, idle) = in_use.connections();
        f64::from(all.saturating_sub(idle))
    });
    registry.watch(CONNECTIONS, CONNECTIONS_HELP, &[("state", "idle")], move || f64::from(idle.connections().1));
    registry.gauge(MAX_CONNECTIONS, MAX_CONNECTIONS_HELP, &[]).set(f64::from(db::MAX_CONNECTIONS));
}

fn watch_health(registry: &mut Registry, health: &Arc<Health>) {
    let is = |health: &Arc<Health>, what: fn(Readiness) -> bool| {
        let health = Arc::clone(health);
        move || f64::from(u8::from(what(health.last_known())))
    };
    let ready = is(health, |readiness| readiness == Readiness::Ready);
    registry.watch("proconf_ready", "1 while the server is ready for requests.", &[], ready);
    let draining = is(health, |readiness| readiness == Readiness::Draining);
    registry.watch("proconf_draining", "1 while the server is on its way out.", &[], draining);
}

fn watch_log(registry: &mut Registry, dropped: DroppedLines) {
    let help = "Log lines that were dropped because nobody read the log fast enough.";
    registry.watch_count("proconf_log_lines_dropped_total", help, &[], move || dropped.count());
}

/// Exact up to 2⁵³, which is more than there will be.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn float(number: u64) -> f64 {
    number as f64
}
