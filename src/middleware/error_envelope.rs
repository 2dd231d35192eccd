//! Turns panics, timeouts and framework errors into the envelope.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError as _};
use futures_util::FutureExt as _;
use tokio::time::timeout_at;

use crate::extract::in_flight::deadline;
use crate::response::{ApiError, HasEnvelope};

/// The delay of this timeout behind that of the body, which has its own error.
const GRACE: Duration = Duration::from_millis(100);

/// Responds with the envelope to every failure of the inner services.
pub(crate) async fn error_envelope<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let deadline = deadline(request.request())?;
    let response = timeout_at((deadline + GRACE).into(), next.call(request));
    match AssertUnwindSafe(response).catch_unwind().await {
        Ok(Ok(Ok(response))) => Ok(enveloped(response)),
        Ok(Ok(Err(error))) => Err(to_api_error(&error)),
        Ok(Err(_elapsed)) => {
            log::error!("request timed out");
            Err(ApiError::Internal.into())
        }
        Err(_panic) => {
            log::error!("handler panicked");
            Err(ApiError::Internal.into())
        }
    }
}

/// Replaces a failure without an envelope.
fn enveloped<B: MessageBody + 'static>(response: ServiceResponse<B>) -> ServiceResponse<BoxBody> {
    match ApiError::from_status(response.status()) {
        Some(error) if response.response().extensions().get::<HasEnvelope>().is_none() => {
            if let Some(cause) = response.response().error()
                && error == ApiError::Internal
            {
                log::error!(cause:% = cause; "framework error");
            }
            response.into_response(error.error_response())
        }
        _ => response.map_into_boxed_body(),
    }
}

fn to_api_error(error: &Error) -> Error {
    let from_status = || ApiError::from_status(error.as_response_error().status_code());
    error.as_error::<ApiError>().cloned().or_else(from_status).unwrap_or(ApiError::Internal).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::in_flight::RequestTimeout;
    use crate::middleware::request_log::request_log;
    use crate::middleware::response_head::response_head;
    use actix_web::middleware::from_fn;
    use actix_web::{App, HttpResponse, HttpServer, web};

    async fn panics() -> HttpResponse {
        panic!("an internal detail")
    }

    async fn framework_error() -> Result<HttpResponse, Error> {
        Err(actix_web::error::ErrorImATeapot("an internal detail"))
    }

    async fn sleeps() -> HttpResponse {
        std::future::pending().await
    }

    async fn says_405() -> HttpResponse {
        HttpResponse::MethodNotAllowed().body("an internal detail")
    }

    #[actix_rt::test]
    async fn any_failure_becomes_the_envelope() {
        let server = HttpServer::new(|| {
            App::new()
                .app_data(web::Data::new(RequestTimeout(Duration::from_millis(50))))
                .wrap(from_fn(error_envelope))
                .wrap(from_fn(response_head))
                .wrap(from_fn(request_log))
                .route("/panics", web::get().to(panics))
                .route("/error", web::get().to(framework_error))
                .route("/sleeps", web::get().to(sleeps))
                .route("/405", web::get().to(says_405))
                .route("/fine", web::get().to(|| async { HttpResponse::Ok().body("fine") }))
        })
        .workers(1)
        .bind(("127.0.0.1", 0))
        .unwrap();
        let address = server.addrs()[0];
        let running = server.disable_signals().run();
        let handle = running.handle();
        actix_rt::spawn(running);
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = awc::Client::default();
        for (path, status, message) in [
            ("panics", 500, "Internal server error"),
            ("error", 400, "The request is malformed."),
            ("sleeps", 500, "Internal server error"),
            ("405", 404, "Not found"),
            ("panics", 500, "Internal server error"),
        ] {
            let mut response = client.get(format!("http://{address}/{path}")).send().await.unwrap();
            let body = response.body().await.unwrap();
            let expected = format!(r#"{{"data":null,"error":{{"code":{status},"message":"{message}"}}}}"#);
            assert_eq!((response.status().as_u16(), &body[..]), (status, expected.as_bytes()), "{path}");
            assert_eq!(response.headers().get("content-type").unwrap(), "application/json", "{path}");
            assert!(response.headers().contains_key("x-request-id"), "{path}");
        }
        let mut fine = client.get(format!("http://{address}/fine")).send().await.unwrap();
        assert_eq!(fine.body().await.unwrap(), "fine");
        handle.stop(false).await;
    }
}
