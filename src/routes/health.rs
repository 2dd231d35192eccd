//! `GET /health/live` and `/health/ready`, also with HEAD: for load balancers and for those who run the server. On the main
//! listener they say as little as they can.

use actix_web::{Either, web};
use serde::Serialize;

use crate::admin_control::EndpointLimits;
use crate::response::{ApiError, NotReady, Success};
use crate::telemetry::health::{Health, Readiness};

#[derive(Serialize)]
pub(super) struct Status {
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Detail {
    status: &'static str,
    database: &'static str,
    /// Each endpoint of Admin Control, as its breaker sees it. Reported, and no part of readiness.
    admin_control: serde_json::Map<String, serde_json::Value>,
}

/// Depends on nothing: who can answer at all is alive.
pub(super) async fn live() -> Success<Status> {
    Success(Status { status: "live" })
}

pub(super) async fn ready(health: web::Data<Health>) -> Result<Success<Status>, ApiError> {
    match health.readiness().await {
        Readiness::Ready => Ok(Success(Status { status: "ready" })),
        Readiness::Draining | Readiness::NoDatabase => Err(ApiError::Overloaded),
    }
}

pub(super) async fn ready_in_detail(
    health: web::Data<Health>,
    limits: web::Data<EndpointLimits>,
) -> Either<Success<Detail>, NotReady> {
    let what = match health.readiness().await {
        Readiness::Ready => {
            let state = |open| if open { "unreachable" } else { "reachable" };
            let admin_control =
                limits.breakers().map(|(endpoint, open)| (endpoint.to_owned(), state(open).into())).collect();
            return Either::Left(Success(Detail { status: "ready", database: "answers", admin_control }));
        }
        Readiness::Draining => "draining",
        Readiness::NoDatabase => "database",
    };
    let unreachable = limits.breakers().filter(|(_, open)| *open).map(|(endpoint, _)| endpoint).collect();
    Either::Right(NotReady { what, unreachable })
}
