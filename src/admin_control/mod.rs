//! Admin Control, as this server calls it: [`AdminControl::get`] for every GET endpoint, each a whole call within one deadline.
//!
//! Usable by itself: a team with a Rust server of its own needs this module and [`crate::room`], and nothing else of the crate.
//! `examples/admin_control.rs` shows it.
//!
//! The contract's section "Admin Control" is the rule. The client is awc, and what awc leaves open is closed here: its
//! time-out ends with the response's head, it follows redirects, and it takes a body that was cut short for a whole one.
//!
//! Connections are used again, by rules stricter than awc's, for which it has no place: `connection` says why. The call that
//! hands out tokens has one of its own each time.

mod authorities;
mod breaker;
mod budget;
mod calls;
mod connection;
mod endpoint;
mod error;
mod framing;
mod lent;
mod response;
mod socket;
mod wire;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use awc::http::Uri;
use awc::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use awc::{Client, ClientRequest, Connector};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

pub use authorities::{Authorities, BadAuthorities};
pub use calls::TokenRequest;
use connection::Connections;
pub use endpoint::{Caching, Endpoint, Observer, Permits};
pub use error::Error;
use socket::Target;

use crate::asker::Asker;
use crate::room::RoomName;
use crate::secret::Secret;

/// Who asks.
const OURSELVES: HeaderValue = HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));
/// As the vendor's sample asks.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A small compressed body can hold a huge one.
const UNENCODED: HeaderValue = HeaderValue::from_static("identity");

/// Where Admin Control is and how much is asked of it.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The base URL, without a slash at its end: `https://admin.example.com/api`.
    pub base_url: String,
    /// One whole call: connecting, the retry, the last byte of the body.
    pub timeout: Duration,
    /// Opening one connection, TLS included, within the above.
    pub connect_timeout: Duration,
    /// The longest body, in bytes.
    pub max_body_bytes: usize,
    /// Calls in flight at once, for each endpoint by itself; beyond it a call fails at once.
    pub max_in_flight: usize,
    /// Sent as `Authorization`, where a deployment asks for one. Never a client's own.
    pub authorization: Option<Secret>,
    /// Whose certificates are accepted, where the base URL is `https`.
    pub authorities: Authorities,
}

/// A client of Admin Control. It and its clones belong to the worker (thread) that made it.
#[derive(Clone)]
pub struct AdminControl {
    /// On connections that are used again, and are known here so that they can be forgotten.
    client: (Client, Connections),
    /// On a connection of its own for each call.
    fresh: Client,
    /// `http` also where the base URL is `https`: the connections see to that, and awc must not do it twice.
    base: Rc<str>,
    rules: Rc<Rules>,
    permits: Permits,
    observer: Option<Arc<dyn Observer>>,
    asker: Option<Asker>,
}

impl AdminControl {
    /// A client that follows `rules` and shares `permits`. Connects when it is first asked something.
    #[must_use]
    pub fn new(rules: Rules, permits: Permits) -> Self {
        let base_url = rules.base_url.parse().ok();
        let target = base_url.and_then(|url| Target::new(&url, rules.connect_timeout, &rules.authorities)).map(Rc::new);
        let (kept, fresh) = (Connections::kept(target.clone()), Connections::fresh(target));
        let base = rules.base_url.replacen("https://", "http://", 1).into();
        Self {
            client: (client(kept.clone(), &rules), kept),
            fresh: client(fresh, &rules),
            base,
            rules: Rc::new(rules),
            permits,
            observer: None,
            asker: None,
        }
    }

    /// The same client, for calls on behalf of a request: they carry its id and its trace, and nothing else of it.
    #[must_use]
    pub fn asked_by(&self, asker: &Asker) -> Self {
        Self { asker: Some(asker.clone()), ..self.clone() }
    }

    /// The same, with somebody who is told of each call.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Gets the `data` of an endpoint, byte for byte; `room` where the endpoint is of a room.
    ///
    /// Asks once, and once more on a fresh connection if that one broke before there was a response.
    ///
    /// # Errors
    ///
    /// See [`Error`]; all but [`Error::NotFound`] have been logged.
    pub async fn get(&self, endpoint: Endpoint, room: Option<&RoomName>) -> Result<Box<RawValue>, Error> {
        self.call(endpoint, async {
            let url = self.url(endpoint, room)?;
            match self.get_once(&url).await {
                Err(Error::Connection(cause)) => {
                    self.client.1.forget();
                    if self.may_retry(endpoint) { self.get_once(&url).await } else { Err(Error::Connection(cause)) }
                }
                answer => answer,
            }
        })
        .await
    }

    fn may_retry(&self, endpoint: Endpoint) -> bool {
        let may = self.permits.0.get(endpoint as usize).is_some_and(|(_, _, budget)| budget.retry());
        if let Some(observer) = &self.observer {
            observer.broke(endpoint.name(), may);
        }
        may
    }

    async fn get_once(&self, url: &Uri) -> Result<Box<RawValue>, Error> {
        response::read(self.prepared(self.client.0.get(url)).send().await, self.rules.max_body_bytes).await
    }

    /// One call, from the permit to the parsed envelope, within the deadline.
    async fn call(
        &self,
        endpoint: Endpoint,
        work: impl Future<Output = Result<Box<RawValue>, Error>>,
    ) -> Result<Box<RawValue>, Error> {
        let began = Instant::now();
        let answer = self.permitted(endpoint, work).await;
        if let Some(observer) = &self.observer {
            observer.called(endpoint.name(), answer.as_ref().err(), began.elapsed());
        }
        // What was not even tried would fill the log with what it says already.
        if let Err(error) = &answer
            && !matches!(error, Error::NotFound | Error::BreakerOpen)
        {
            log::warn!(endpoint = endpoint.name(), reason = error.reason(), cause:% = error; "Admin Control failed");
        }
        answer
    }

    /// The same without a word in the log, but on the breaker's changes.
    async fn permitted(
        &self,
        endpoint: Endpoint,
        work: impl Future<Output = Result<Box<RawValue>, Error>>,
    ) -> Result<Box<RawValue>, Error> {
        let (permits, breaker, budget) = self.permits.0.get(endpoint as usize).ok_or(Error::TooManyCalls)?;
        // In this order: that Admin Control can't be reached is no overload of ours.
        let attempt = breaker.attempt().ok_or(Error::BreakerOpen)?;
        let _permit = permits.try_acquire().map_err(|_| Error::TooManyCalls)?;
        budget.call();
        let answer = tokio::time::timeout(self.rules.timeout, work).await.unwrap_or(Err(Error::TimedOut));
        if answer.as_ref().is_err_and(Error::is_unreached) {
            if attempt.failed() {
                log::error!(endpoint = endpoint.name(); "Admin Control can't be reached; it is tried now and then");
            }
        } else if attempt.reached() {
            log::info!(endpoint = endpoint.name(); "Admin Control is reached again");
        }
        answer
    }

    /// Parsed, not joined: a URL library would take dot segments and control characters as its own business.
    fn url(&self, endpoint: Endpoint, room: Option<&RoomName>) -> Result<Uri, Error> {
        let (base, name) = (&self.base, endpoint.name());
        let url = match room {
            Some(room) => format!("{base}/{name}/{}", room.path_segment()),
            None => format!("{base}/{name}"),
        };
        url.parse().map_err(|_| Error::NotConnected("the URL is not valid".to_owned()))
    }

    /// The headers of every call. None of them comes from a client, but for an id and a trace that were found plain.
    fn prepared(&self, mut request: ClientRequest) -> ClientRequest {
        let headers = request.headers_mut();
        // For all of them at once.
        headers.reserve(7);
        headers.insert(USER_AGENT, OURSELVES);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT_ENCODING, UNENCODED);
        if let Some(asker) = &self.asker {
            request = request
                .insert_header(("x-request-id", asker.request_id()))
                .insert_header(("traceparent", asker.trace().traceparent()));
            if let Some(state) = asker.trace().tracestate() {
                request = request.insert_header(("tracestate", state));
            }
        }
        match &self.rules.authorization {
            Some(authorization) => request.insert_header((AUTHORIZATION, authorization.expose())),
            None => request,
        }
    }
}

fn client(connections: Connections, rules: &Rules) -> Client {
    let connector = Connector::new()
        .connector(connections)
        // Connecting has a limit of its own, inside.
        .timeout(rules.timeout)
        // Nothing is used again by awc itself.
        .conn_keep_alive(Duration::ZERO)
        .conn_lifetime(Duration::ZERO)
        // The permits bound the calls, endpoint by endpoint; a limit here would let a slow endpoint starve the others.
        .limit(Semaphore::MAX_PERMITS);
    Client::builder()
        .connector(connector)
        // The deadline is round the whole call, above.
        .disable_timeout()
        .disable_redirects()
        .finish()
}
