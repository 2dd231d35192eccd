//! `GET /metrics`, on the management listener only, for Prometheus.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{Responder, web};

use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;

pub(super) async fn show(metrics: web::Data<Metrics>, health: web::Data<Health>) -> impl Responder {
    // Updates the metrics of health, also while the server drains.
    health.run_checks().await;
    metrics.render().customize().insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
}
