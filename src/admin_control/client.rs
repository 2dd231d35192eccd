//! The HTTP client: awc, with our connector.
//!
//! What awc leaves open is closed here: its timeout ends with the response's head, and it follows redirects.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use awc::http::Uri;
use awc::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use awc::{Client, ClientRequest, Connector};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::pool::{Pool, PoolConnector};
use super::response;
use super::transport::Target;
use super::{Config, EndpointLimits, Error};
use crate::request_context::RequestContext;
use crate::room::RoomName;

const PRODUCT: HeaderValue = HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A small compressed body can hold a huge one.
const UNENCODED: HeaderValue = HeaderValue::from_static("identity");

/// Receives the outcome of each call.
pub trait CallMetrics {
    /// A call to the endpoint of this name ended after `duration`.
    fn on_call(&self, endpoint: &'static str, error: Option<&Error>, duration: Duration);

    /// A call is retried, because its reused connection failed before a response.
    fn on_retry(&self, endpoint: &'static str);
}

/// A client of Admin Control. It and its clones belong to the worker (thread) that made it.
#[derive(Clone)]
pub struct AdminControl {
    /// Reuses connections.
    pooled: Client,
    /// Opens a connection for each call.
    unpooled: Client,
    /// `http` even if the base URL is `https`: the connector adds TLS, and awc must not add it again.
    base: Rc<str>,
    pub(super) config: Rc<Config>,
    limits: EndpointLimits,
    metrics: Option<Arc<dyn CallMetrics>>,
    context: Option<RequestContext>,
}

impl AdminControl {
    /// Makes a client that connects with its first call.
    #[must_use]
    pub fn new(config: Config, limits: EndpointLimits) -> Self {
        let base_url = config.base_url.parse().ok();
        let target = base_url.and_then(|url| Target::new(&url, &config));
        let pool = Pool::new(target, limits.reuse.clone());
        Self {
            pooled: build_client(PoolConnector::Pooled(Rc::clone(&pool)), config.timeout),
            unpooled: build_client(PoolConnector::Unpooled(pool), config.timeout),
            base: config.base_url.replacen("https://", "http://", 1).into(),
            config: Rc::new(config),
            limits,
            metrics: None,
            context: None,
        }
    }

    /// Returns a client whose calls carry the request id and trace of `context`, and nothing else of the request.
    #[must_use]
    pub fn with_context(&self, context: &RequestContext) -> Self {
        Self { context: Some(context.clone()), ..self.clone() }
    }

    /// Reports each call to `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<dyn CallMetrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Gets the `data` of an endpoint, byte for byte; with `room` if the endpoint needs one.
    ///
    /// Retries once, on a new connection, if a reused one failed before the first byte of a response.
    ///
    /// # Errors
    ///
    /// See [`Error`]; all but [`Error::NotFound`] and [`Error::BreakerOpen`] have been logged.
    pub async fn get(&self, endpoint: Endpoint, room: Option<&RoomName>) -> Result<Box<RawValue>, Error> {
        self.call(endpoint, async {
            let url = self.url(endpoint, room)?;
            let mut response = self.prepare(self.pooled.get(&url)).send().await;
            if response.as_ref().is_err_and(response::is_stale_connection) {
                if let Some(metrics) = &self.metrics {
                    metrics.on_retry(endpoint.name());
                }
                response = self.prepare(self.unpooled.get(&url)).send().await;
            }
            response::read(response, self.config.max_body_bytes).await
        })
        .await
    }

    /// Sends a POST on a connection of its own. Never retries: it may have had its effect.
    pub(super) async fn post(&self, endpoint: Endpoint, body: &impl serde::Serialize) -> Result<Box<RawValue>, Error> {
        self.call(endpoint, async {
            let request = self.prepare(self.unpooled.post(self.url(endpoint, None)?)).force_close();
            response::read(request.send_json(body).await, self.config.max_body_bytes).await
        })
        .await
    }

    /// Runs a call within its limits, and reports its outcome to log and metrics.
    async fn call(
        &self,
        endpoint: Endpoint,
        call: impl Future<Output = Result<Box<RawValue>, Error>>,
    ) -> Result<Box<RawValue>, Error> {
        let started = Instant::now();
        let result = self.limit(endpoint, call).await;
        if let Some(metrics) = &self.metrics {
            metrics.on_call(endpoint.name(), result.as_ref().err(), started.elapsed());
        }
        // One line for each rejected call would flood the log during an outage.
        if let Err(error) = &result
            && !matches!(error, Error::NotFound | Error::BreakerOpen)
        {
            log::warn!(endpoint = endpoint.name(), reason = error.reason(), cause:% = error; "Admin Control failed");
        }
        result
    }

    /// Applies circuit breaker, concurrency limit and deadline.
    async fn limit(
        &self,
        endpoint: Endpoint,
        call: impl Future<Output = Result<Box<RawValue>, Error>>,
    ) -> Result<Box<RawValue>, Error> {
        let limit = self.limits.of(endpoint).ok_or(Error::TooManyCalls)?;
        // The breaker comes first: an unreachable endpoint is not an overload of this server.
        let attempt = limit.breaker.begin_attempt().ok_or(Error::BreakerOpen)?;
        let _permit = limit.in_flight.try_acquire().map_err(|_| Error::TooManyCalls)?;
        let result = timeout(self.config.timeout, call).await.unwrap_or(Err(Error::TimedOut));
        if result.as_ref().is_err_and(Error::is_unreached) {
            if attempt.record_failure() {
                log::error!(endpoint = endpoint.name(); "circuit breaker opened: Admin Control is unreachable");
            }
        } else if attempt.record_success() {
            log::info!(endpoint = endpoint.name(); "circuit breaker closed: Admin Control is reachable again");
        }
        result
    }

    /// Formats and parses the URL. A join by a URL library would normalise dot segments and control characters.
    fn url(&self, endpoint: Endpoint, room: Option<&RoomName>) -> Result<Uri, Error> {
        let (base, name) = (&self.base, endpoint.name());
        let url = match room {
            Some(room) => format!("{base}/{name}/{}", room.path_segment()),
            None => format!("{base}/{name}"),
        };
        url.parse().map_err(|_| Error::NotConnected("the URL is not valid".to_owned()))
    }

    /// Sets the headers of every call. Of the client's request only its id and trace are among them, both validated.
    fn prepare(&self, mut request: ClientRequest) -> ClientRequest {
        let headers = request.headers_mut();
        headers.reserve(7);
        headers.insert(USER_AGENT, PRODUCT);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT_ENCODING, UNENCODED);
        if let Some(context) = &self.context {
            request = request
                .insert_header(("x-request-id", context.request_id()))
                .insert_header(("traceparent", context.trace().traceparent()));
            if let Some(state) = context.trace().tracestate() {
                request = request.insert_header(("tracestate", state));
            }
        }
        match &self.config.authorization {
            Some(authorization) => request.insert_header((AUTHORIZATION, authorization.expose())),
            None => request,
        }
    }
}

fn build_client(connector: PoolConnector, timeout: Duration) -> Client {
    let connector = Connector::new()
        .connector(connector)
        .timeout(timeout)
        // `EndpointLimits` bounds the calls; a common limit would let a slow endpoint starve the others.
        .limit(Semaphore::MAX_PERMITS);
    // The deadline of the whole call replaces awc's timeout.
    Client::builder().connector(connector).disable_timeout().disable_redirects().finish()
}
