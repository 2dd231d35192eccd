//! Requests, by the route that answered them. Which routes there are is told; a path never gets here.

use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};

use super::Registry;

/// Every status that this server answers with, and 499 for nobody being there any more to be answered.
const STATUSES: [(u16, &str); 15] = [
    (200, "200"),
    (204, "204"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (408, "408"),
    (413, "413"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (503, "503"),
    (0, "other"),
];

const REQUESTS: &str = "proconf_http_requests_total";
const REQUESTS_HELP: &str = "Requests, by route, method and status (499: the client left before its answer).";
const DURATION: &str = "proconf_http_request_duration_seconds";
const DURATION_HELP: &str = "Time from a request's head to its answer's.";
const IN_FLIGHT: &str = "proconf_http_requests_in_flight";
const IN_FLIGHT_HELP: &str = "Requests that are being worked on.";

/// What is counted of requests. Clones count together.
#[derive(Clone)]
pub struct Http {
    /// One for each route, in their order.
    routes: Vec<Series>,
    /// Unknown URLs, and wrong methods.
    unknown: Series,
    in_flight: Gauge,
}

#[derive(Clone)]
struct Series {
    statuses: [Counter; STATUSES.len()],
    duration: Histogram,
}

impl Http {
    /// For these routes, each with its pattern and its method.
    #[must_use]
    pub fn new(registry: &Registry, routes: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let series = |(route, method)| Series::new(registry, route, method);
        Self {
            routes: routes.map(series).collect(),
            unknown: series(("unknown", "unknown")),
            in_flight: registry.gauge(IN_FLIGHT, IN_FLIGHT_HELP, &[]),
        }
    }

    /// A request begins.
    pub fn began(&self) {
        self.in_flight.increment(1);
    }

    /// It was answered, by the route at this place, or by none.
    pub fn ended(&self, route: Option<usize>, status: u16, took: Duration) {
        self.in_flight.decrement(1);
        let series = route.and_then(|route| self.routes.get(route)).unwrap_or(&self.unknown);
        let known = STATUSES.iter().position(|(known, _)| *known == status).unwrap_or(STATUSES.len() - 1);
        if let Some(counter) = series.statuses.get(known) {
            counter.increment(1);
        }
        series.duration.record(took);
    }
}

impl Series {
    fn new(registry: &Registry, route: &'static str, method: &'static str) -> Self {
        let status = |(_, status)| {
            registry.counter(REQUESTS, REQUESTS_HELP, &[("route", route), ("method", method), ("status", status)])
        };
        Self {
            statuses: STATUSES.map(status),
            duration: registry.histogram(DURATION, DURATION_HELP, &[("route", route), ("method", method)]),
        }
    }
}
