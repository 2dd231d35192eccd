//! A fake Admin Control for development, QA and tests.
//!
//! It shares no code with [`crate::admin_control`], so that a mistake in one is not repeated in the other. Its replies are a
//! [`Script`], which can be changed over HTTP under `/sandbox`.

mod control;
mod meeting;
mod record;
mod reply;
mod room_access;
mod script;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody, SizedStream};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use actix_web::http::uri::Authority;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpResponseBuilder, HttpServer, web};
use futures_util::stream;

pub use meeting::{SAMPLE_ROOMS, SAMPLE_SUMMARY};
pub use record::RecordedRequest;
pub use reply::Reply;
pub use room_access::WEBHOOK_SECRET;
pub use script::Script;

use crate::middleware::loopback_host::{is_local, is_same_origin};

/// A sandbox that listens.
pub struct Sandbox {
    address: SocketAddr,
    running: actix_web::dev::Server,
}

impl Sandbox {
    /// Listens on `address`, with the replies of `script`.
    ///
    /// # Errors
    ///
    /// If the address can't be listened on.
    pub fn bind(address: SocketAddr, script: Script) -> io::Result<Self> {
        let script = web::Data::new(script);
        let http = HttpServer::new(move || {
            let control = web::scope(control::PATH).app_data(web::PayloadConfig::new(control::MAX_BODY));
            let control = control.default_service(web::to(control_response)).wrap(from_fn(reject_foreign_pages));
            App::new()
                .app_data(script.clone())
                .service(control)
                .default_service(web::to(response))
                .wrap(from_fn(close_after_upgrade))
        })
        .workers(1)
        // The default of Node.js.
        .keep_alive(Duration::from_secs(5))
        .shutdown_timeout(0)
        .disable_signals()
        .bind(address)?;
        let address = http.addrs().first().copied().unwrap_or(address);
        Ok(Self { address, running: http.run() })
    }

    /// Returns the address, with the actual port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the value for `APP_ADMIN_CONTROL__BASE_URL`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Returns the value for `APP_ROOMS__WEBHOOK_URL`. The secret is [`WEBHOOK_SECRET`].
    pub(crate) fn webhook_url(&self) -> String {
        format!("http://{}{}", self.address, room_access::PATH)
    }

    /// Returns the URL of the control interface.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}{}", self.address, control::PATH)
    }

    /// Serves until its task is dropped.
    ///
    /// # Errors
    ///
    /// If the server fails.
    pub async fn run(self) -> io::Result<()> {
        self.running.await
    }
}

/// Rejects requests that a foreign web page may have sent, before their body is read.
///
/// Such a request has a `Host` that is not local, or another origin.
async fn reject_foreign_pages<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let listen = request.app_config().local_addr().ip();
    let all = |name: HeaderName| request.headers().get_all(name).map(|value| value.to_str().unwrap_or_default());
    let hosts: Vec<&str> = all(HOST).chain(request.uri().authority().map(Authority::as_str)).collect();
    let rejection = match hosts.first().filter(|_| hosts.iter().all(|host| is_local(host, listen))) {
        None => (421, "Host must be localhost, a loopback address, or the address that the sandbox listens on."),
        Some(host) if !all(ORIGIN).all(|origin| is_same_origin(origin, host, listen)) => {
            (403, "A page of another origin may not change or read the sandbox.")
        }
        Some(_) => return Ok(next.call(request).await?.map_into_boxed_body()),
    };
    let (status, body) = control::error_envelope((rejection.0, rejection.1.to_owned()));
    Ok(request.into_response(json(status, body)))
}

/// Closes the connection after a request for an upgrade, which actix-web would confirm.
async fn close_after_upgrade<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let is_upgrade = request.head().upgrade();
    let mut response = next.call(request).await?;
    if is_upgrade {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// Handles requests to the control interface.
async fn control_response(request: HttpRequest, body: Result<web::Bytes, Error>, script: web::Data<Script>) -> HttpResponse {
    let (status, body) = control::handle(&script, request.method().as_str(), target(&request), body.as_deref().ok());
    json(status, body)
}

/// Returns the target as it was received; actix's path is decoded.
fn target(request: &HttpRequest) -> &str {
    request.uri().path_and_query().map_or("", |target| target.as_str())
}

/// Handles requests to Admin Control and to the webhook.
async fn response(request: HttpRequest, body: web::Bytes, script: web::Data<Script>) -> HttpResponse {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let recorded = RecordedRequest::new(request.method().as_str(), target(&request), headers, &body);
    let reply = script.lock().reply_to(recorded);
    tokio::time::sleep(reply.delay).await;
    match (reply.status, reply.body) {
        (Some(status), Some(body)) if reply.truncate => truncated_json(status, &body),
        (Some(status), Some(body)) => json(status, body),
        _ => std::future::pending().await,
    }
}

fn json(status: u16, body: String) -> HttpResponse {
    json_builder(status).body(body)
}

/// Announces the whole body, sends half of it, and closes the connection.
fn truncated_json(status: u16, body: &str) -> HttpResponse {
    let half: String = body.chars().take(body.chars().count() / 2).collect();
    let parts = [Ok(web::Bytes::from(half)), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    json_builder(status).body(SizedStream::new(body.len() as u64, stream::iter(parts)))
}

fn json_builder(status: u16) -> HttpResponseBuilder {
    let mut builder = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    builder.insert_header((CONTENT_TYPE, "application/json"));
    builder
}
