//! Gives each request an id, finds out which address it came from, and logs one line when its answer is ready. Must not know what the routes do.

use std::fmt;
use std::future::{Ready, ready};
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, X_FORWARDED_FOR};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError, web};

use crate::client_address::{ClientAddress, TrustedProxies};
use crate::random;
use crate::responders::ApiError;

/// The header that carries the request id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest path that is logged, in characters.
const LOGGED_PATH: usize = 300;

/// Wraps the whole server. The query is never logged: somebody will put a token there.
///
/// # Errors
///
/// Those of the inner services, with the request id put on the answer that they become.
pub async fn access_log<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let started = Instant::now();
    let id = request_id(request.headers());
    // Copied, because a clone of the request held across the call below would panic the router.
    let method = request.method().clone();
    let path: String = request.path().chars().take(LOGGED_PATH).collect();
    let client = client_address(&request);
    request.extensions_mut().insert(client);

    let outcome = next.call(request).await;

    let status = match &outcome {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    log::info!(
        method = method.as_str(),
        path = path.as_str(),
        status = status.as_u16(),
        ms = milliseconds,
        client:% = client.0,
        request_id = id.to_str().unwrap_or_default();
        "request"
    );
    match outcome {
        Ok(mut response) => {
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response)
        }
        Err(error) => Err(Identified { error, id }.into()),
    }
}

/// An error whose answer will carry the request id too.
#[derive(Debug)]
struct Identified {
    error: Error,
    id: HeaderValue,
}

impl fmt::Display for Identified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for Identified {
    fn status_code(&self) -> StatusCode {
        self.error.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.error.error_response();
        response.headers_mut().insert(REQUEST_ID, self.id.clone());
        response
    }
}

fn client_address(request: &ServiceRequest) -> ClientAddress {
    let proxies = request.app_data::<web::Data<TrustedProxies>>();
    let peer = request.peer_addr().map(|peer| peer.ip());
    // Whatever bytes a client put to the left, what a proxy wrote to the right of it counts.
    let lines = request.headers().get_all(X_FORWARDED_FOR).map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    // Collected, because the headers can't be walked backwards.
    let lines: Vec<String> = lines.collect();
    let lines = lines.iter().map(String::as_str);
    match proxies {
        Some(proxies) => proxies.client(peer, lines),
        None => TrustedProxies::default().client(peer, lines),
    }
}

impl FromRequest for ClientAddress {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Every request has passed the middleware above.
        ready(request.extensions().get::<Self>().copied().ok_or(ApiError::Internal))
    }
}

/// The client's own id if it is plain, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |id: &&HeaderValue| {
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
    };
    match headers.get(REQUEST_ID).filter(plain) {
        Some(own) => own.clone(),
        None => HeaderValue::from_str(&random::id()).unwrap_or(HeaderValue::from_static("-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_request_id_is_kept_and_any_other_replaced() {
        let kept = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            request_id(&headers).as_bytes() == id
        };
        assert!(kept(b"a") && kept(b"A-z_0.9") && kept(&[b'a'; 64]));
        assert!(!kept(b"") && !kept(&[b'a'; 65]) && !kept(b"a b") && !kept(b"a\tb") && !kept(b"a;b") && !kept(b"\xff"));
    }
}
