//! The envelope of a success, and how every envelope is sent.

use actix_web::body::BoxBody;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, Responder, ResponseError as _};
use serde::Serialize;

use super::ApiError;

/// The media type of every envelope.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Responses are about one principal's rooms and tokens.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// 200 with `{"error": null, "data": …}`.
#[derive(Debug)]
pub(crate) struct Success<T>(pub T);

impl<T: Serialize> Responder for Success<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        match serde_json::to_string(&self.0) {
            Ok(data) => send(&mut HttpResponse::Ok(), format!(r#"{{"error":null,"data":{data}}}"#)),
            // Only a map with keys that are not strings fails, and no route returns one.
            Err(_) => ApiError::Internal.error_response(),
        }
    }
}

/// Completes a response with an envelope.
pub(super) fn send(response: &mut HttpResponseBuilder, envelope: String) -> HttpResponse {
    response.content_type(JSON).insert_header((CACHE_CONTROL, NO_STORE)).body(envelope)
}

/// 204 without a body.
pub(crate) fn no_content() -> HttpResponse {
    HttpResponse::NoContent().insert_header((CACHE_CONTROL, NO_STORE)).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::MessageBody as _;
    use actix_web::test::TestRequest;

    #[test]
    fn success_is_the_contracts_envelope_to_the_byte() {
        let response = Success("text").respond_to(&TestRequest::default().to_http_request());
        assert_eq!(response.into_body().try_into_bytes().unwrap(), r#"{"error":null,"data":"text"}"#);
    }
}
