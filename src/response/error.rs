//! The failures that a client sees, with their statuses and envelopes.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::Value;

use super::cached::CATCH_UP_REASON;
use super::envelope;
use crate::catch_up::Reason;

/// What was not found: `unknown-route`, `method` or `unknown-room`.
const NOT_FOUND: HeaderName = HeaderName::from_static("x-not-found");
/// The reason why the server is not ready.
const NOT_READY: HeaderName = HeaderName::from_static("x-not-ready");
/// The endpoints of Admin Control whose circuit breakers are open.
const UNREACHABLE: HeaderName = HeaderName::from_static("x-admin-control-unreachable");
/// Seconds until another event stream may have ended.
const STREAM_RETRY_AFTER: &str = "10";

/// A failure as a client sees it: `{"data": null, "error": {"code": …, "message": …}}`.
///
/// The message never names the cause, which is logged where the failure occurs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// The route requires a room, and there is none or a blank one.
    #[error("Room name required in query param.")]
    RoomRequired,
    /// Any other malformed input. The sentence names the field, and quotes nothing of the input.
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    /// No token, or wrong e-mail or password.
    #[error("Unauthorized")]
    Unauthorized,
    /// A token or ticket that is malformed, expired, revoked or used (RFC 6750 section 3.1).
    #[error("Unauthorized")]
    InvalidToken,
    /// A valid token that does not cover this room or route.
    #[error("Forbidden")]
    Forbidden,
    /// An unknown URL.
    #[error("Not found")]
    UnknownRoute,
    /// A known URL with another method.
    #[error("Not found")]
    UnknownMethod,
    /// A room that Admin Control does not know, or knows nothing of this kind about.
    #[error("Not found")]
    UnknownRoom,
    /// A room without a catch-up, and the reason.
    #[error("Not found")]
    NoCatchUp(Reason),
    /// The request's body did not arrive in time.
    #[error("Request timeout")]
    RequestTimeout,
    /// The request's body is over the limit.
    #[error("Payload too large")]
    PayloadTooLarge,
    /// Throttled for this time.
    #[error("Too many requests")]
    Throttled(Duration),
    /// The principal's limit of open event streams is reached.
    #[error("Too many requests")]
    TooManyStreams,
    /// Any failure of the server, Admin Control included.
    #[error("Internal server error")]
    Internal,
    /// Overloaded or draining.
    #[error("Service unavailable")]
    Overloaded,
    /// Not ready, with details in headers for operators.
    #[error("Service unavailable")]
    NotReady {
        /// What fails.
        reason: &'static str,
        /// The endpoints of Admin Control that are unreachable, separated by commas.
        unreachable_endpoints: String,
    },
}

/// Marks a response whose body is the envelope of a failure.
pub(crate) struct HasEnvelope;

impl ApiError {
    /// Creates a 400 whose sentence names the field.
    pub(crate) fn bad_request(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest(sentence.into())
    }

    /// Maps a status of the framework to the contract's; `None` if it is no failure.
    pub(crate) fn from_status(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            0..=399 => None,
            401 => Some(Self::Unauthorized),
            403 => Some(Self::Forbidden),
            404 => Some(Self::UnknownRoute),
            405 => Some(Self::UnknownMethod),
            408 => Some(Self::RequestTimeout),
            413 => Some(Self::PayloadTooLarge),
            429 => Some(Self::Throttled(Duration::from_secs(1))),
            503 => Some(Self::Overloaded),
            400..=499 => Some(Self::bad_request("The request is malformed.")),
            _ => Some(Self::Internal),
        }
    }

    /// Returns the envelope.
    pub(super) fn envelope(&self) -> String {
        let (code, message) = (self.status_code().as_u16(), Value::from(self.to_string()));
        format!(r#"{{"data":null,"error":{{"code":{code},"message":{message}}}}}"#)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::RoomRequired | Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::UnknownRoute | Self::UnknownMethod | Self::UnknownRoom | Self::NoCatchUp(_) => StatusCode::NOT_FOUND,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Throttled(_) | Self::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded | Self::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            Self::Unauthorized => response.insert_header((WWW_AUTHENTICATE, "Bearer")),
            Self::InvalidToken => response.insert_header((WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#)),
            Self::UnknownRoute => response.insert_header((NOT_FOUND, "unknown-route")),
            Self::UnknownMethod => response.insert_header((NOT_FOUND, "method")),
            Self::UnknownRoom => response.insert_header((NOT_FOUND, "unknown-room")),
            Self::NoCatchUp(reason) => {
                response.insert_header((NOT_FOUND, "unknown-room")).insert_header((CATCH_UP_REASON, reason.name()))
            }
            Self::Overloaded => response.insert_header((RETRY_AFTER, "1")),
            Self::NotReady { reason, unreachable_endpoints } => {
                if !unreachable_endpoints.is_empty() {
                    response.insert_header((UNREACHABLE, unreachable_endpoints.as_str()));
                }
                response.insert_header((RETRY_AFTER, "1")).insert_header((NOT_READY, *reason))
            }
            // Rounded up, so that a retry on the second is not early.
            Self::Throttled(wait) => response.insert_header((RETRY_AFTER, wait.as_secs() + 1)),
            // An idle connection would count against the limit on connections.
            Self::TooManyStreams => response.insert_header((RETRY_AFTER, STREAM_RETRY_AFTER)).force_close(),
            // The rest of the body must not be read as the next request.
            Self::RequestTimeout | Self::PayloadTooLarge => response.force_close(),
            _ => &mut response,
        };
        let mut response = envelope::send(&mut response, self.envelope());
        response.extensions_mut().insert(HasEnvelope);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_the_contracts_envelope_to_the_byte() {
        let expected = r#"{"data":null,"error":{"code":400,"message":"Room name required in query param."}}"#;
        assert_eq!(ApiError::RoomRequired.envelope(), expected);
        let expected = r#"{"data":null,"error":{"code":400,"message":"a \"b\"\n"}}"#;
        assert_eq!(ApiError::bad_request("a \"b\"\n").envelope(), expected);
    }

    #[test]
    fn framework_status_becomes_one_of_the_contracts() {
        for status in (400..600).filter_map(|code| StatusCode::from_u16(code).ok()) {
            let error = ApiError::from_status(status).unwrap();
            assert_ne!(error.status_code(), StatusCode::METHOD_NOT_ALLOWED);
        }
        assert_eq!(ApiError::from_status(StatusCode::NOT_MODIFIED), None);
    }
}
