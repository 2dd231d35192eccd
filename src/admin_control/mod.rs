//! Admin Control, as this server calls it: one method an endpoint, each a whole call within one deadline.
//!
//! The contract's section "Admin Control" is the rule. The client is awc, and what awc leaves open is closed here: its
//! time-out ends with the response's head, it follows redirects, it takes a body that was cut short for a whole one, and it
//! may pick a kept-alive connection just as the other side closes it.

mod error;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING, USER_AGENT,
};
use awc::http::{StatusCode, Uri, Version};
use awc::{Client, Connector};
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

pub use error::Error;

use crate::room::RoomName;
use crate::secret::Secret;

/// How long an idle connection is kept: less than Node's 5 seconds, so that it is us who close it.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// Where Admin Control is and how much is asked of it.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The base URL, without a slash at its end: `https://admin.example.com/api`.
    pub base_url: String,
    /// One whole call: connecting, the retry, the last byte of the body.
    pub timeout: Duration,
    /// Opening one connection, within the above.
    pub connect_timeout: Duration,
    /// The longest body, in bytes.
    pub max_body_bytes: usize,
    /// Calls in flight at once, for each endpoint by itself; beyond it a call fails at once.
    pub max_in_flight: usize,
    /// Sent as `Authorization`, where a deployment asks for one. Never a client's own.
    pub authorization: Option<Secret>,
}

/// How many calls may be in flight at once, counted for each endpoint by itself and over all clones (that is, all workers).
#[derive(Debug, Clone)]
pub struct Permits {
    catch_up: Arc<Semaphore>,
}

impl Permits {
    /// As many for each endpoint as `rules` say.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self { catch_up: Arc::new(Semaphore::new(rules.max_in_flight)) }
    }
}

/// A client of Admin Control. It belongs to the worker (thread) that made it.
pub struct AdminControl {
    /// Keeps connections.
    client: Client,
    /// Opens a new connection for each call: a retry on another kept one could fail the same way.
    fresh: Client,
    rules: Rules,
    permits: Permits,
}

impl AdminControl {
    /// A client that follows `rules` and shares `permits`. Connects when it is first asked something.
    #[must_use]
    pub fn new(rules: Rules, permits: Permits) -> Self {
        // awc brings rustls without a provider and panics without one. Whoever installed one before is welcome.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { client: client(&rules, KEEP_ALIVE), fresh: client(&rules, Duration::ZERO), rules, permits }
    }

    /// The catch-up of `room`, byte for byte as Admin Control wrote it.
    ///
    /// # Errors
    ///
    /// See [`Error`]; all but [`Error::NotFound`] have been logged.
    pub async fn catch_up(&self, room: &RoomName) -> Result<Box<RawValue>, Error> {
        self.get("call-catchup", &format!("/call-catchup/{}", room.path_segment()), &self.permits.catch_up).await
    }

    /// One GET, from the permit to the parsed envelope, within the deadline.
    async fn get(&self, endpoint: &'static str, path: &str, permits: &Semaphore) -> Result<Box<RawValue>, Error> {
        let answer = match permits.try_acquire() {
            Err(_) => Err(Error::TooManyCalls),
            Ok(_permit) => {
                tokio::time::timeout(self.rules.timeout, self.get_twice(path)).await.unwrap_or(Err(Error::TimedOut))
            }
        };
        if let Err(error) = &answer
            && *error != Error::NotFound
        {
            log::warn!(endpoint, reason = error.reason(), cause:% = error; "Admin Control failed");
        }
        answer
    }

    /// Asks once, and once more on a fresh connection if the first one broke before a response began.
    async fn get_twice(&self, path: &str) -> Result<Box<RawValue>, Error> {
        let url = format!("{}{path}", self.rules.base_url);
        // Parsed, not joined: a URL library would take dot segments and control characters as its own business.
        let url: Uri = url.parse().map_err(|_| Error::Connection("the URL is not valid".to_owned()))?;
        match self.get_once(&self.client, &url).await {
            Err(Error::Connection(_)) => self.get_once(&self.fresh, &url).await,
            answer => answer,
        }
    }

    async fn get_once(&self, client: &Client, url: &Uri) -> Result<Box<RawValue>, Error> {
        let mut request = client
            .get(url)
            .insert_header((USER_AGENT, concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"))))
            .insert_header((CONTENT_TYPE, "application/json"))
            // A small compressed body can hold a huge one.
            .insert_header((ACCEPT_ENCODING, "identity"));
        if let Some(authorization) = &self.rules.authorization {
            request = request.insert_header((AUTHORIZATION, authorization.expose()));
        }
        let mut response = request.send().await.map_err(not_sent)?;
        // Read whatever the status: dropping an unread body would cost the connection.
        let body = response.body().limit(self.rules.max_body_bytes).await;
        let body = body.map_err(not_read)?;
        check_length(response.headers(), &body)?;
        wire::data(response.status(), &body)
    }
}

fn client(rules: &Rules, keep_alive: Duration) -> Client {
    let connector = Connector::new()
        .timeout(rules.connect_timeout)
        .handshake_timeout(rules.timeout)
        .conn_keep_alive(keep_alive)
        .max_http_version(Version::HTTP_11)
        // The permits bound the calls, endpoint by endpoint; a limit here would let a slow endpoint starve the others.
        .limit(Semaphore::MAX_PERMITS);
    Client::builder()
        .connector(connector)
        // The deadline is round the whole call, above.
        .disable_timeout()
        .disable_redirects()
        .finish()
}

/// Sorts what went wrong before a response began: what may be tried again on another connection, and what may not.
fn not_sent(error: SendRequestError) -> Error {
    use std::error::Error as _;
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected, UnexpectedEof,
    };

    let broken = |error: &std::io::Error| {
        matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected | UnexpectedEof
        )
    };
    match error {
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => Error::TimedOut,
        SendRequestError::Connect(ConnectError::Disconnected) => Error::Connection("closed before an answer".to_owned()),
        SendRequestError::Connect(ConnectError::Io(error)) | SendRequestError::Send(error) if broken(&error) => {
            Error::Connection(error.to_string())
        }
        SendRequestError::Response(error) => match error.source().and_then(|source| source.downcast_ref()) {
            Some(source) if broken(source) => Error::Connection(source.to_string()),
            _ => Error::NotHttp(error.to_string()),
        },
        other => Error::NotConnected(other.to_string()),
    }
}

fn not_read(error: PayloadError) -> Error {
    match error {
        PayloadError::Overflow => Error::TooLarge,
        other => Error::CutShort(other.to_string()),
    }
}

/// awc ends a body without an error when the connection ends, however much was announced.
fn check_length(headers: &HeaderMap, body: &Bytes) -> Result<(), Error> {
    let mut lengths = headers.get_all(CONTENT_LENGTH);
    let (announced, chunked) = (lengths.next(), headers.contains_key(TRANSFER_ENCODING));
    match announced.map(|length| length.to_str().ok().and_then(|length| length.parse::<usize>().ok())) {
        None => Ok(()),
        Some(Some(length)) if length == body.len() && !chunked && lengths.next().is_none() => Ok(()),
        Some(_) => Err(Error::CutShort("the body is not as long as it was announced".to_owned())),
    }
}

/// Whether a status may carry an envelope that is believed. 206 is by definition a part of something.
fn is_whole_success(status: StatusCode) -> bool {
    status.is_success() && status != StatusCode::PARTIAL_CONTENT
}
