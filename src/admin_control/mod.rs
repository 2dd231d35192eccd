//! Client of Admin Control: [`AdminControl::get`] for the GET endpoints, with one deadline for each call.
//!
//! `examples/admin_control.rs` uses it without the server. The contract's section "Admin Control" defines the meaning of a
//! response.

mod circuit_breaker;
mod client;
mod endpoint;
mod envelope;
mod error;
mod head;
mod limits;
mod pool;
mod stream;
mod tls;
mod transport;

use std::time::Duration;

pub use client::AdminControl;
pub(crate) use client::{CallMetrics, TokenRequest};
pub(crate) use endpoint::Caching;
pub use endpoint::Endpoint;
pub use error::Error;
pub use limits::EndpointLimits;
pub use tls::RootCertificates;

use crate::secret::Secret;

/// Address and limits of Admin Control.
#[derive(Debug, Clone)]
pub struct Config {
    /// The base URL, without a final slash: `https://admin.example.com/api`.
    pub base_url: String,
    /// The time for a whole call: connecting, a retry, the last byte of the body.
    pub timeout: Duration,
    /// The time for opening one connection, TLS included. It is a part of `timeout`.
    pub connect_timeout: Duration,
    /// The longest response body, in bytes.
    pub max_body_bytes: usize,
    /// The limit on calls in flight for each endpoint. A call beyond it fails at once.
    pub max_in_flight: usize,
    /// The value of `Authorization` in each call, if the deployment needs one. Never a client's own.
    pub authorization: Option<Secret>,
    /// The root certificates to trust. Required for a base URL with `https`.
    pub root_certificates: Option<RootCertificates>,
}
