//! Client of Admin Control: [`AdminControl::get`] for the GET endpoints, one deadline for each call.
//!
//! Usable without the server, with [`crate::room`]: `examples/admin_control.rs` shows it. The contract's section "Admin
//! Control" says what a response means.

mod calls;
mod circuit_breaker;
mod client;
mod endpoint;
mod envelope;
mod error;
mod limits;
mod pool;
mod response;
mod stream;
mod tls;
mod transport;

use std::time::Duration;

pub use calls::TokenRequest;
pub use client::{AdminControl, CallMetrics};
pub use endpoint::{Caching, Endpoint};
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
    /// The time for opening one connection, TLS included; part of `timeout`.
    pub connect_timeout: Duration,
    /// The longest response body, in bytes.
    pub max_body_bytes: usize,
    /// The most calls in flight, for each endpoint. A call beyond it fails at once.
    pub max_in_flight: usize,
    /// The value of `Authorization` in each call, if the deployment needs one. Never a client's own.
    pub authorization: Option<Secret>,
    /// Trusted for a base URL with `https`, which needs them.
    pub root_certificates: Option<RootCertificates>,
}
