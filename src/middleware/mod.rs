//! Middleware, from the outside in: [`request_log`], [`security_headers`], [`keep_alive`], [`cors`], [`host`], [`load_shed`],
//! [`error_envelope`], and in `dev` [`loopback_host`]. [`crate::app::server`] puts them in this order.
//!
//! [`authenticate`] wraps single routes: an unknown URL or a wrong method is 404 before any token is looked at.

pub mod authenticate;
pub mod cors;
pub mod error_envelope;
pub mod host;
pub mod keep_alive;
pub mod load_shed;
pub mod loopback_host;
pub mod request_log;
pub mod security_headers;

use actix_web::Error;
use actix_web::dev::{ResponseHead, ServiceResponse};

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
