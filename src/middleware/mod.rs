//! Middleware, each in a file of its own.
//!
//! From the outside in, [`crate::app`] applies [`request_log`], [`security_headers`], [`keep_alive`], [`cors`], [`host`],
//! [`load_shed`] and [`error_envelope`].
//!
//! [`authenticate`] wraps single routes: an unknown URL or a wrong method is 404 before any token is verified.
//! Their handlers call [`authorize`], once the input is valid.

pub(crate) mod authenticate;
pub(crate) mod authorize;
pub(crate) mod cors;
pub(crate) mod error_envelope;
pub(crate) mod host;
pub(crate) mod keep_alive;
pub(crate) mod load_shed;
pub(crate) mod loopback_host;
pub(crate) mod request_log;
pub(crate) mod security_headers;

use actix_web::Error;
use actix_web::dev::{ResponseHead, ServiceResponse};

/// The prefix of the health routes, which are never shed, and logged at `debug` only.
const HEALTH_PATH: &str = "/health/";

/// Changes the head of a response, or of the response that an error becomes.
fn map_head<B>(
    outcome: Result<ServiceResponse<B>, Error>,
    change: impl Fn(&mut ResponseHead) + 'static,
) -> Result<ServiceResponse<B>, Error> {
    match outcome {
        Ok(mut response) => {
            change(response.response_mut().head_mut());
            Ok(response)
        }
        Err(mut error) => {
            error.add_response_mapper(move |mut response| {
                change(response.head_mut());
                response
            });
            Err(error)
        }
    }
}
