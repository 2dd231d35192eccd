//! `GET /health/live` and `/health/ready`, also with HEAD, for load balancers and operators.

use actix_web::web::Data;
use serde_json::{Map, Value, json};

use crate::admin_control::EndpointLimits;
use crate::response::{ApiError, Success};
use crate::telemetry::health::{Health, Readiness};

/// Depends on nothing: a server that responds is alive.
pub(super) async fn live() -> Success<Value> {
    Success(json!({"status": "live"}))
}

/// Gives no details, because the main listener is public.
pub(super) async fn ready(health: Data<Health>) -> Result<Success<Value>, ApiError> {
    if health.readiness().await.is_ready() { Ok(Success(json!({"status": "ready"}))) } else { Err(ApiError::Overloaded) }
}

/// Reports the endpoints of Admin Control, too, which are no part of readiness.
pub(super) async fn ready_in_detail(health: Data<Health>, limits: Data<EndpointLimits>) -> Result<Success<Value>, ApiError> {
    let not_ready = |reason| {
        let unreachable = limits.breakers().filter(|(_, is_open)| *is_open).map(|(endpoint, _)| endpoint);
        let unreachable_endpoints = unreachable.collect::<Vec<_>>().join(", ");
        Err(ApiError::NotReady { reason, unreachable_endpoints })
    };
    let degraded = match health.readiness().await {
        Readiness::Ready => None,
        Readiness::Degraded(name) => Some(name),
        Readiness::Draining => return not_ready("draining"),
        Readiness::NotReady(name) => return not_ready(name),
    };
    let state = |is_open| if is_open { "unreachable" } else { "reachable" };
    let breakers = limits.breakers().map(|(endpoint, is_open)| (endpoint.to_owned(), state(is_open).into()));
    let endpoints: Map<String, Value> = breakers.collect();
    let database = if health.passes("database") { "passing" } else { "failing" };
    let detail = json!({"status": "ready", "degraded": degraded, "database": database, "adminControl": endpoints});
    Ok(Success(detail))
}
