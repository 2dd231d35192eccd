//! The HTTP client: awc, with our connector, limits and deadline.
//!
//! awc's own timeout ends with the head of the response, and awc follows redirects: both are turned off.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use awc::error::{PayloadError, SendRequestError};
use awc::http::Uri;
use awc::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use awc::{Client, ClientRequest, ClientResponse, Connector};
use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::endpoint::Endpoint;
use super::error::is_stale_connection;
use super::pool::{Pool, PoolConnector};
use super::transport::Target;
use super::{Config, EndpointLimits, Error, envelope};
use crate::request_context::RequestContext;
use crate::room::RoomName;

const PRODUCT: HeaderValue = HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Compression is rejected: a small compressed body can hold a huge one.
const UNENCODED: HeaderValue = HeaderValue::from_static("identity");

/// Receives the outcome of each call.
pub(crate) trait CallMetrics {
    /// A call to the endpoint of this name ended after `duration`.
    fn on_call(&self, endpoint: &'static str, error: Option<&Error>, duration: Duration);

    /// A call is retried, because its reused connection failed before a response.
    fn on_retry(&self, endpoint: &'static str);
}

/// The body of `POST proconf-token`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenRequest<'a> {
    /// The participant's role, one of Admin Control's.
    pub role: &'a str,
    /// The room.
    pub room: &'a str,
    /// The name that the other participants see.
    pub participant_name: &'a str,
}

/// A client of Admin Control. It and its clones belong to the worker thread that created it.
#[derive(Clone)]
pub struct AdminControl {
    /// Reuses connections.
    pooled: Client,
    /// Opens a new connection for each call.
    unpooled: Client,
    /// The base URL, with `http` for `https`. The connector adds TLS, and awc must not add it again.
    base: Rc<str>,
    config: Rc<Config>,
    limits: EndpointLimits,
    metrics: Option<Arc<dyn CallMetrics>>,
    context: Option<RequestContext>,
}

impl AdminControl {
    /// Creates a client that connects with its first call.
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

    /// Returns a client whose calls carry the request id and trace of `context`.
    pub(crate) fn with_context(&self, context: &RequestContext) -> Self {
        Self { context: Some(context.clone()), ..self.clone() }
    }

    /// Reports each call to `metrics`.
    pub(crate) fn with_metrics(self, metrics: Arc<dyn CallMetrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Gets and converts the `data` of an endpoint, byte for byte, with `room` if it needs one.
    ///
    /// Retries once, on a new connection, if a reused one failed before the first byte of a response.
    ///
    /// # Errors
    ///
    /// See [`Error`]. All are logged except [`Error::NotFound`] and [`Error::BreakerOpen`].
    pub async fn get<T>(
        &self,
        endpoint: Endpoint,
        room: Option<&RoomName>,
        convert: impl FnOnce(&RawValue) -> T,
    ) -> Result<T, Error> {
        // Boxed, because each layer around it would hold it twice.
        let call = Box::pin(async {
            let url = self.url(endpoint, room)?;
            let mut response = self.prepare(self.pooled.get(&url)).send().await;
            if response.as_ref().is_err_and(is_stale_connection) {
                if let Some(metrics) = &self.metrics {
                    metrics.on_retry(endpoint.name());
                }
                response = self.prepare(self.unpooled.get(&url)).send().await;
            }
            self.read(response, convert).await
        });
        self.call(endpoint, call).await
    }

    /// Issues a token to join a call, on a new connection. Never retries: the first attempt may have issued one.
    ///
    /// # Errors
    ///
    /// As [`AdminControl::get`].
    pub(crate) async fn proconf_token(&self, body: &TokenRequest<'_>) -> Result<Box<RawValue>, Error> {
        let endpoint = Endpoint::ProconfToken;
        self.call(endpoint, async {
            let request = self.prepare(self.unpooled.post(self.url(endpoint, None)?)).force_close();
            self.read(request.send_json(body).await, ToOwned::to_owned).await
        })
        .await
    }

    /// Runs a call within its limits, and reports its outcome to log and metrics.
    async fn call<T>(&self, endpoint: Endpoint, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let started = Instant::now();
        let result = self.limits.run(endpoint, self.config.timeout, call).await;
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

    /// Converts the `data` of a complete response.
    async fn read<S, T>(
        &self,
        response: Result<ClientResponse<S>, SendRequestError>,
        convert: impl FnOnce(&RawValue) -> T,
    ) -> Result<T, Error>
    where
        S: Stream<Item = Result<Bytes, PayloadError>>,
    {
        let mut response = response?;
        // These statuses are errors whatever the body is.
        if let Some(error) = envelope::status_error(response.status()) {
            return Err(error);
        }
        if response.headers().get_all(CONTENT_ENCODING).any(|encoding| encoding != "identity") {
            return Err(Error::Encoded);
        }
        let body = response.body().limit(self.config.max_body_bytes).await?;
        envelope::data(response.status(), &body).map(convert)
    }

    /// Formats the URL of a call. Joining by a URL library would normalise dot segments and control characters.
    fn url(&self, endpoint: Endpoint, room: Option<&RoomName>) -> Result<Uri, Error> {
        let (base, name) = (&self.base, endpoint.name());
        let url = match room {
            Some(room) => format!("{base}/{name}/{}", room.path_segment()),
            None => format!("{base}/{name}"),
        };
        url.parse().map_err(|_| Error::NotConnected("the URL is not valid".to_owned()))
    }

    /// Sets the headers of a call. Of the client's request, only its validated id and trace are among them.
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
