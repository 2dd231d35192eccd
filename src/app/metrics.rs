//! Registers the metrics of the services.

use std::sync::Arc;
use std::time::Duration;

use strum::VariantNames as _;

use crate::admin_control::{CallMetrics, EndpointLimits, Error};
use crate::auth::access_webhook::OnCall;
use crate::auth::identity::{FetchError, IdentityProvider};
use crate::auth::room_access::AccessError;
use crate::catch_up::live::LiveCatchUps;
use crate::db::Database;
use crate::routes::TABLE;
use crate::telemetry::health::{Health, Readiness};
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::metrics::{self, Counter, CounterVec, Gauge, Histogram, HttpMetrics, Registry};

pub(super) fn http(registry: &Registry) -> HttpMetrics {
    let routes = TABLE.iter().map(|row| (row.paths.first().copied().unwrap_or_default(), row.method.as_str()));
    HttpMetrics::new(registry, routes)
}

/// Counts and times calls to Admin Control, by endpoint.
pub(super) struct AdminControlMetrics(Vec<EndpointMetrics>);

struct EndpointMetrics {
    name: &'static str,
    calls: CounterVec,
    duration: Histogram,
    retries: Counter,
}

impl AdminControlMetrics {
    pub(super) fn new(registry: &Registry, limits: &EndpointLimits) -> Arc<Self> {
        let outcomes = [&["ok"], Error::REASONS].concat();
        let endpoint = |(name, _open)| EndpointMetrics {
            name,
            calls: registry.register_all(&metrics::ADMIN_CONTROL_CALLS, &[name], &outcomes),
            duration: registry.register(&metrics::ADMIN_CONTROL_DURATION, &[name]),
            retries: registry.register(&metrics::ADMIN_CONTROL_RETRIES, &[name]),
        };
        Arc::new(Self(limits.breakers().map(endpoint).collect()))
    }

    fn endpoint(&self, name: &str) -> Option<&EndpointMetrics> {
        self.0.iter().find(|endpoint| endpoint.name == name)
    }
}

impl CallMetrics for AdminControlMetrics {
    fn on_call(&self, endpoint: &'static str, error: Option<&Error>, duration: Duration) {
        let Some(endpoint) = self.endpoint(endpoint) else { return };
        endpoint.calls.increment(error.map_or("ok", Error::reason));
        if !matches!(error, Some(Error::TooManyCalls | Error::TooManyFiles | Error::BreakerOpen)) {
            endpoint.duration.record(duration);
        }
    }

    fn on_retry(&self, endpoint: &'static str) {
        if let Some(endpoint) = self.endpoint(endpoint) {
            endpoint.retries.increment(1);
        }
    }
}

/// Registers the metrics that are read when they are rendered.
pub(super) fn register_callbacks(
    registry: &mut Registry,
    limits: &EndpointLimits,
    database: &Database,
    health: &Arc<Health>,
    dropped: DroppedLines,
) {
    let endpoints: Vec<&str> = limits.breakers().map(|(name, _)| name).collect();
    for name in endpoints {
        let limits = limits.clone();
        let is_open = move || limits.breakers().any(|(endpoint, open)| endpoint == name && open);
        registry.gauge_fn(&metrics::ADMIN_CONTROL_BREAKER_OPEN, &[name], move || f64::from(is_open()));
    }
    let (in_use, idle) = (database.clone(), database.clone());
    registry.gauge_fn(&metrics::DATABASE_CONNECTIONS, &["in-use"], move || {
        let (all, idle) = in_use.connections();
        f64::from(all.saturating_sub(idle))
    });
    registry.gauge_fn(&metrics::DATABASE_CONNECTIONS, &["idle"], move || f64::from(idle.connections().1));
    registry.register(&metrics::DATABASE_CONNECTIONS_MAX, &[]).set(f64::from(database.max_connections()));
    let (up, ready, draining) = (Arc::clone(health), Arc::clone(health), Arc::clone(health));
    registry.gauge_fn(&metrics::DATABASE_UP, &[], move || f64::from(up.passes("database")));
    registry.gauge_fn(&metrics::READY, &[], move || f64::from(ready.last_known().is_ready()));
    registry.gauge_fn(&metrics::DRAINING, &[], move || f64::from(draining.last_known() == Readiness::Draining));
    registry.counter_fn(&metrics::LOG_LINES_DROPPED, &[], move || dropped.count());
}

/// Registers the metrics of the identity provider's keys; returns a function that counts the fetches.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(super) fn register_identity(
    registry: &mut Registry,
    provider: &Arc<IdentityProvider>,
) -> impl Fn(Option<&FetchError>) + use<> {
    let outcomes = [&["ok"], FetchError::VARIANTS].concat();
    let fetches = registry.register_all(&metrics::IDENTITY_FETCHES, &[], &outcomes);
    let provider = Arc::clone(provider);
    registry.gauge_fn(&metrics::IDENTITY_KEYS_AGE, &[], move || provider.keys_age() as f64);
    move |error| fetches.increment(error.map_or("ok", Into::into))
}

/// Registers the metrics of the room access webhook; returns what counts its calls.
pub(super) fn register_room_webhook(registry: &Registry) -> OnCall {
    let calls = registry.register_all(&metrics::ROOM_WEBHOOK_CALLS, &[], &["allowed", "refused", "failed"]);
    let duration = registry.register(&metrics::ROOM_WEBHOOK_DURATION, &[]);
    Box::new(move |result, elapsed| {
        duration.record(elapsed);
        calls.increment(match result {
            Ok(()) => "allowed",
            Err(AccessError::Forbidden) => "refused",
            Err(AccessError::Failed) => "failed",
        });
    })
}

/// Registers the gauges of event streams.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(super) fn register_live(registry: &mut Registry, live: &LiveCatchUps) {
    let (rooms, streams) = (live.clone(), live.clone());
    registry.gauge_fn(&metrics::LIVE_ROOMS, &[], move || rooms.usage().0 as f64);
    registry.gauge_fn(&metrics::LIVE_STREAMS, &[], move || streams.usage().1 as f64);
}

/// Registers the limit on client connections, and returns the gauge of the open ones.
pub(super) fn register_connections(registry: &Registry, limit: usize) -> Gauge {
    registry.register(&metrics::HTTP_CONNECTIONS_MAX, &[]).set(f64::from(u32::try_from(limit).unwrap_or(u32::MAX)));
    registry.register(&metrics::HTTP_CONNECTIONS, &[])
}
