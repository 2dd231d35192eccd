//! A small HTTP client: no redirects, a limited body, and one time limit over head and body.

use std::sync::Arc;
use std::time::Duration;

use awc::error::{PayloadError, SendRequestError};
use awc::http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use awc::{Client, ClientResponse, Connector};
use bytes::Bytes;
use futures_util::Stream;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::{Host, Url};

const PRODUCT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Returns whether `url` is `https`, or `http` to a loopback address.
pub(crate) fn is_https_or_loopback(url: &str) -> bool {
    let is_loopback = |url: &Url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    Url::parse(url).is_ok_and(|url| url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url))
}

/// Why a request returned no body. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// Head and body took longer than the time limit.
    #[error("timed out")]
    TimedOut,
    /// No connection, no trusted certificate, or no HTTP.
    #[error("no response: {0}")]
    NoResponse(String),
    /// The status is not 200. Redirects are not followed.
    #[error("status {0}")]
    Status(u16),
    /// The body is too large, or ended early.
    #[error("no usable body: {0}")]
    Body(String),
}

/// An HTTP client. It and its clones belong to the thread that created it.
///
/// Each request has a connection of its own: awc does not see surplus bytes on an idle one.
#[derive(Clone)]
pub(crate) struct HttpClient {
    client: Client,
    timeout: Duration,
    max_body_bytes: usize,
}

impl HttpClient {
    /// Creates a client that verifies certificates by `tls`.
    pub(crate) fn new(tls: Arc<ClientConfig>, timeout: Duration, max_body_bytes: usize) -> Self {
        let connector = Connector::new()
            .rustls_0_23(tls)
            .timeout(timeout)
            .handshake_timeout(timeout)
            // `APP_SERVER__MAX_IN_FLIGHT` bounds the calls; in awc they would wait, with their time limit running.
            .limit(Semaphore::MAX_PERMITS);
        let builder = Client::builder().connector(connector).add_default_header((USER_AGENT, PRODUCT));
        // awc's own time limit ends with the head.
        Self { client: builder.disable_timeout().disable_redirects().finish(), timeout, max_body_bytes }
    }

    /// Gets the body of a 200.
    ///
    /// # Errors
    ///
    /// See [`HttpError`].
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes, HttpError> {
        self.read(self.client.get(url).force_close().send()).await
    }

    /// Posts JSON with these headers; returns the body of a 200. Never retries.
    ///
    /// # Errors
    ///
    /// See [`HttpError`].
    pub(crate) async fn post(&self, url: &str, headers: &[(&str, &str)], json: Vec<u8>) -> Result<Bytes, HttpError> {
        let request = self.client.post(url).force_close().insert_header((CONTENT_TYPE, "application/json"));
        let request = headers.iter().fold(request, |request, header| request.insert_header(*header));
        self.read(request.send_body(json)).await
    }

    async fn read<S>(
        &self,
        response: impl Future<Output = Result<ClientResponse<S>, SendRequestError>>,
    ) -> Result<Bytes, HttpError>
    where
        S: Stream<Item = Result<Bytes, PayloadError>>,
    {
        let exchange = async {
            let mut response = response.await.map_err(|error| HttpError::NoResponse(error.to_string()))?;
            if response.status().as_u16() != 200 {
                return Err(HttpError::Status(response.status().as_u16()));
            }
            let body = response.body().limit(self.max_body_bytes).await;
            let body = body.map_err(|error| HttpError::Body(error.to_string()))?;
            // awc accepts a body that ends early.
            let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            if length.is_some_and(|length: usize| length != body.len()) {
                return Err(HttpError::Body("it ended early".to_owned()));
            }
            Ok(body)
        };
        timeout(self.timeout, exchange).await.unwrap_or(Err(HttpError::TimedOut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use rustls::RootCertStore;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    /// awc's default limit is 100.
    const REQUESTS: usize = 150;

    #[tokio::test]
    async fn requests_do_not_wait_for_one_another() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let client = HttpClient::new(tls.into(), Duration::from_secs(20), 10);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        // Responds to no request before all have come.
        let serve = async {
            let mut streams = Vec::new();
            while streams.len() < REQUESTS {
                streams.push(listener.accept().await.unwrap().0);
            }
            for stream in &mut streams {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
            streams
        };
        let requests = join_all((0..REQUESTS).map(|_| client.get(&url)));
        let (bodies, _streams) = LocalSet::new().run_until(async { tokio::join!(requests, serve) }).await;
        assert!(bodies.iter().all(|body| body.as_deref() == Ok(b"ok")), "{:?}", bodies.first());
    }
}
