//! An Admin Control to develop and test against: for `dev`, for QA against any app server, and for tests.
//!
//! Written from the contract alone. It shares no type with [`crate::admin_control`]: two independent statements of one
//! contract, so that a mistake in one can't agree with itself. What it answers is a [`Script`], which can be changed over HTTP
//! under `/sandbox`, outside of what is Admin Control's own.

mod control;
mod meeting;
mod record;
mod reply;
mod script;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody, SizedStream};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use actix_web::http::uri::Authority;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::{StreamExt as _, stream};

pub use meeting::{SAMPLE_ROOMS, SAMPLE_SUMMARY};
pub use record::Asked;
use reply::Content;
pub use reply::Reply;
pub use script::Script;

/// A sandbox that listens.
pub struct Sandbox {
    address: SocketAddr,
    running: actix_web::dev::Server,
}

impl Sandbox {
    /// Listens on `address` and answers by `script`, which may be changed while it runs.
    ///
    /// # Errors
    ///
    /// If the address can't be listened on.
    pub fn bind(address: SocketAddr, script: Script) -> io::Result<Self> {
        let script = web::Data::new(script);
        let http = HttpServer::new(move || {
            let control = web::scope(control::PATH).app_data(web::PayloadConfig::new(control::MAX_BODY));
            let control = control.default_service(web::to(control_answer)).wrap(from_fn(refuse_foreign_pages));
            App::new().app_data(script.clone()).service(control).default_service(web::to(answer))
        })
        .workers(1)
        .keep_alive(Duration::from_secs(5)) // Node's, which is what Admin Control is thought to run on.
        .shutdown_timeout(0)
        .disable_signals()
        .bind(address)?;
        let address = http.addrs().first().copied().unwrap_or(address);
        Ok(Self { address, running: http.run() })
    }

    /// What to configure as `APP_ADMIN_CONTROL__BASE_URL`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Where its answers can be changed, and where it says what it was asked.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}{}", self.address, control::PATH)
    }

    /// Answers until its task is dropped or the runtime ends.
    ///
    /// # Errors
    ///
    /// What ended it.
    pub async fn run(self) -> io::Result<()> {
        self.running.await
    }
}

/// Refuses web pages, which could reach the control interface by DNS rebinding, before a body is read.
async fn refuse_foreign_pages<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let listen = request.app_config().local_addr().ip();
    let all = |name: HeaderName| request.headers().get_all(name).map(|value| value.to_str().unwrap_or_default());
    let named = request.uri().authority().map(Authority::as_str);
    let refusal = control::refusal(all(HOST).chain(named), all(ORIGIN), listen);
    match refusal {
        Some((status, body)) => Ok(request.into_response(json(status, body, false))),
        None => Ok(next.call(request).await?.map_into_boxed_body()),
    }
}

/// Answers requests to the sandbox itself.
async fn control_answer(
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
    script: web::Data<Script>,
) -> HttpResponse {
    let (status, body) = control::answer(&script, request.method().as_str(), target(&request), body.as_deref().ok());
    json(status, body, false)
}

/// As it came over the wire; actix's own idea of the path is decoded.
fn target(request: &HttpRequest) -> &str {
    request.uri().path_and_query().map_or("", |target| target.as_str())
}

async fn answer(request: HttpRequest, body: web::Bytes, script: web::Data<Script>) -> HttpResponse {
    let asked = Asked::new(
        request.method().as_str(),
        target(&request),
        request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())),
        &body,
    );
    let reply = script.reply_to(asked);
    tokio::time::sleep(reply.delay).await;
    match reply.content {
        Content::Body(status, body) => json(status, body, reply.cut),
        Content::Silence | Content::Usual => std::future::pending().await,
    }
}

/// A JSON answer; with `cut`, the connection ends in the middle of its body.
fn json(status: u16, body: String, cut: bool) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, "application/json"));
    if !cut {
        return response.body(body);
    }
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let half: String = body.chars().take(body.chars().count() / 2).collect();
    let broken = stream::once(async { Err(io::Error::from(io::ErrorKind::ConnectionReset)) });
    response.body(SizedStream::new(length, stream::once(async { Ok(web::Bytes::from(half)) }).chain(broken)))
}
