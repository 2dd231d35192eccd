//! Middleware, each in a file of its own.
//!
//! From the outside in, [`crate::app`] applies [`request_log`], [`response_head`], [`load_shed`] and [`error_envelope`].
//! [`response_head`] is one layer with the parts [`host`], [`security_headers`], [`cors`] and [`keep_alive`].
//!
//! [`authenticate`] wraps single routes: an unknown URL or a wrong method is 404 before any token is verified.
//! Their handlers call [`authorize`], once the input is valid.

pub(crate) mod authenticate;
pub(crate) mod authorize;
pub(crate) mod cors;
pub(crate) mod error_envelope;
mod host;
mod keep_alive;
pub(crate) mod load_shed;
pub(crate) mod loopback_host;
pub(crate) mod request_log;
pub(crate) mod response_head;
mod security_headers;

/// The prefix of the health routes, which are never shed, and logged at `debug` only.
const HEALTH_PATH: &str = "/health/";
