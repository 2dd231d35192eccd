//! Limits of each endpoint, shared by all workers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::circuit_breaker::{CircuitBreaker, SLOW_CALL};
use super::endpoint::Endpoint;
use super::pool::ReuseSuspension;
use super::{Config, Error};

/// Bounds the calls in flight and stops calls to unreachable endpoints. Clones share the limits.
#[derive(Debug, Clone)]
pub struct EndpointLimits {
    endpoints: Arc<[(Semaphore, CircuitBreaker); Endpoint::ALL.len()]>,
    pub(super) reuse: ReuseSuspension,
}

impl EndpointLimits {
    /// Allows `max_in_flight` calls to each endpoint.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limit = |_| (Semaphore::new(config.max_in_flight), CircuitBreaker::default());
        Self { endpoints: Arc::new(std::array::from_fn(limit)), reuse: ReuseSuspension::default() }
    }

    /// Returns the name of each endpoint, and whether its circuit breaker is open.
    pub(crate) fn breakers(&self) -> impl Iterator<Item = (&'static str, bool)> {
        Endpoint::ALL.iter().zip(&*self.endpoints).map(|(endpoint, (_, breaker))| (endpoint.name(), breaker.is_open()))
    }

    /// Runs a call within circuit breaker, concurrency limit and deadline. A slow call goes on.
    pub(super) async fn run<T>(
        &self,
        endpoint: Endpoint,
        deadline: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let (in_flight, breaker) = self.endpoints.get(endpoint as usize).ok_or(Error::TooManyCalls)?;
        // The breaker comes first: an unreachable endpoint is not an overload of this server.
        let mut attempt = breaker.begin_attempt().ok_or(Error::BreakerOpen)?;
        let _permit = in_flight.try_acquire().map_err(|_| Error::TooManyCalls)?;
        let mut call = pin!(call);
        let mut result = timeout(deadline.min(SLOW_CALL), &mut call).await;
        let left = deadline.saturating_sub(SLOW_CALL);
        if result.is_err() && !left.is_zero() {
            if attempt.record_slow() {
                log_opening(endpoint);
            }
            result = timeout(left, call).await;
        }
        let result = result.unwrap_or(Err(Error::TimedOut));
        if result.as_ref().is_err_and(Error::is_unreachable) {
            if attempt.record_failure() {
                log_opening(endpoint);
            }
        } else if attempt.record_success() {
            log::info!(endpoint = endpoint.name(); "circuit breaker closed: Admin Control is reachable again");
        }
        result
    }
}

fn log_opening(endpoint: Endpoint) {
    log::error!(endpoint = endpoint.name(); "circuit breaker opened: Admin Control is unreachable");
}
