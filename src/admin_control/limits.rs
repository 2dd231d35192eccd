//! Limits of each endpoint, shared by all workers.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Config;
use super::circuit_breaker::CircuitBreaker;
use super::endpoint::Endpoint;
use super::pool::ReuseSuspension;

/// Bounds calls in flight and stops calls to unreachable endpoints. Clones share the limits.
#[derive(Debug, Clone)]
pub struct EndpointLimits {
    endpoints: [EndpointLimit; Endpoint::ALL.len()],
    pub(super) reuse: ReuseSuspension,
}

/// The limits of one endpoint.
#[derive(Debug, Clone)]
pub(super) struct EndpointLimit {
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) breaker: CircuitBreaker,
}

impl EndpointLimits {
    /// Allows `max_in_flight` calls for each endpoint.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let endpoints = std::array::from_fn(|_| EndpointLimit {
            in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
            breaker: CircuitBreaker::default(),
        });
        Self { endpoints, reuse: ReuseSuspension::default() }
    }

    /// Each endpoint's name, and whether its circuit breaker is open.
    pub fn breakers(&self) -> impl Iterator<Item = (&'static str, bool)> {
        Endpoint::ALL.iter().zip(&self.endpoints).map(|(endpoint, limit)| (endpoint.name(), limit.breaker.is_open()))
    }

    pub(super) fn of(&self, endpoint: Endpoint) -> Option<&EndpointLimit> {
        self.endpoints.get(endpoint as usize)
    }
}
