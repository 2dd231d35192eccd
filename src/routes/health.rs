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
    match health.readiness().await {
        Readiness::Ready => Ok(Success(json!({"status": "ready"}))),
        Readiness::Draining | Readiness::Failing(_) => Err(ApiError::Overloaded),
    }
}

/// Reports the endpoints of Admin Control, too, which are no part of readiness.
pub(super) async fn ready_in_detail(health: Data<Health>, limits: Data<EndpointLimits>) -> Result<Success<Value>, ApiError> {
    let reason = match health.readiness().await {
        Readiness::Ready => {
            let state = |is_open| if is_open { "unreachable" } else { "reachable" };
            let breakers = limits.breakers().map(|(endpoint, is_open)| (endpoint.to_owned(), state(is_open).into()));
            let endpoints: Map<String, Value> = breakers.collect();
            return Ok(Success(json!({"status": "ready", "database": "answers", "adminControl": endpoints})));
        }
        Readiness::Draining => "draining",
        Readiness::Failing(name) => name,
    };
    let unreachable: Vec<&str> = limits.breakers().filter(|(_, is_open)| *is_open).map(|(endpoint, _)| endpoint).collect();
    Err(ApiError::NotReady { reason, unreachable_endpoints: unreachable.join(", ") })
}
