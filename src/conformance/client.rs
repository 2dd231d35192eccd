//! The HTTP client of the suite: one connection for each request, no redirects, exact request targets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, AsSendBody as _, Body, SendBody, http};

use super::case::{Failure, Outcome};
use super::event_stream::EventStream;
use super::redaction::Secrets;
use super::response::Response;

/// The time limit of a request and its response.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum number of requests of a run.
const MAX_REQUESTS: u64 = 2_000;
/// The maximum size of a response that is read, in bytes.
const MAX_BODY: u64 = 16 << 20;
/// The paths whose successful responses hold tokens.
const ISSUERS: [&str; 2] = ["/auth/", "/proconfToken"];

/// Sends requests to one deployment, and knows the secrets in them.
pub(super) struct Client {
    agent: Agent,
    pub(super) base_url: String,
    pub(super) secrets: Secrets,
    /// The number of requests so far.
    pub(super) requests: AtomicU64,
}

impl Client {
    /// Creates a client of `http://host:port/prefix` or `https://…`.
    ///
    /// # Errors
    ///
    /// A sentence about the URL.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.is_empty() {
            return Err("must begin with http:// or https://".to_owned());
        }
        if authority.contains('@') || url.contains(['?', '#']) {
            return Err("must have no user name, password, query or fragment".to_owned());
        }
        let base_url = url.trim_end_matches('/').to_owned();
        Ok(Self { agent: agent(), base_url, secrets: Secrets::default(), requests: AtomicU64::new(0) })
    }

    /// Begins a request for exactly this target.
    pub(super) fn request(&self, method: &'static str, target: &str) -> Request<'_> {
        Request { target: target.to_owned(), ..self.request_url(method, format!("{}{target}", self.base_url)) }
    }

    /// Begins a request for another URL, such as the sandbox's.
    pub(super) fn request_url(&self, method: &'static str, url: String) -> Request<'_> {
        Request { client: self, method, target: url.clone(), url, headers: Vec::new(), body: None, timeout: TIMEOUT }
    }
}

fn agent() -> Agent {
    let native = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = native.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let roots = if roots.is_empty() { RootCerts::WebPki } else { RootCerts::Specific(Arc::new(roots)) };
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("proconf-app-server-conformance/", env!("CARGO_PKG_VERSION")));
    Agent::new_with_config(config.build())
}

/// A request that is being built.
pub(super) struct Request<'a> {
    client: &'a Client,
    method: &'static str,
    target: String,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Option<(Vec<u8>, Framing)>,
    timeout: Duration,
}

enum Framing {
    ContentLength,
    Chunked,
}

impl Request<'_> {
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a bearer token.
    pub(super) fn token(self, token: &str) -> Self {
        self.client.secrets.add(token);
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Sets the time limit, which is also that of a stream.
    pub(super) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds a body as it is, with this type.
    pub(super) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some((body.into(), Framing::ContentLength));
        self.header("Content-Type", content_type)
    }

    /// Adds a JSON body.
    pub(super) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Adds a JSON body in chunks.
    pub(super) fn chunked_json(mut self, body: &Value) -> Self {
        self.body = Some((body.to_string().into(), Framing::Chunked));
        self.header("Content-Type", "application/json")
    }

    /// Sends the request and reads the response.
    pub(super) fn send(self) -> Result<Response, Failure> {
        let (client, request) = (self.client, format!("{} {}", self.method, self.target));
        let issues_tokens = ISSUERS.iter().any(|path| self.target.starts_with(path));
        let failed = |error: &ureq::Error| format!("{request}: no response: {error}");
        let mut response = self.exchange().map_err(|error| failed(&error))?;
        let body = response.body_mut().with_config().limit(MAX_BODY).read_to_vec().map_err(|error| failed(&error))?;
        if issues_tokens && response.status().is_success() {
            client.secrets.add_response(&body);
        }
        Ok(Response::new(request, response.status().as_u16(), response.headers(), body))
    }

    /// Sends the request, asserts a 200, and returns the `data` of its envelope.
    pub(super) fn success(self) -> Result<Value, Failure> {
        self.send()?.success()
    }

    /// Sends the request and asserts exactly this error envelope.
    pub(super) fn assert_error(self, status: u16, message: &str) -> Outcome {
        self.send()?.assert_error(status, message)
    }

    /// Sends the request and asserts a 400 with any message, which is returned.
    pub(super) fn assert_bad_request(self) -> Result<String, Failure> {
        self.send()?.assert_bad_request()
    }

    /// Opens a stream of server-sent events.
    pub(super) fn open_stream(self) -> Result<EventStream, Failure> {
        let request = format!("{} {}", self.method, self.target);
        let response = self.exchange().map_err(|error| format!("{request}: no response: {error}"))?;
        EventStream::new(request, response)
    }

    fn exchange(self) -> Result<http::Response<Body>, ureq::Error> {
        if self.client.requests.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS {
            return Err(std::io::Error::other("the run has sent its maximum number of requests").into());
        }
        let mut request = http::Request::builder().method(self.method).uri(&self.url).header("Connection", "close");
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let (mut no_body, method_has_body) = ((), ["POST", "PUT", "PATCH"].contains(&self.method));
        let mut bytes = self.body.as_ref().map_or(&[] as &[u8], |(bytes, _)| bytes);
        let body = match self.body {
            Some((_, Framing::Chunked)) => SendBody::from_reader(&mut bytes),
            None if !method_has_body => no_body.as_body(),
            _ => bytes.as_body(),
        };
        let request = self.client.agent.configure_request(request.body(body)?).timeout_global(Some(self.timeout)).build();
        self.client.agent.run(request)
    }
}
