//! The limit of the Rust stack: hyper's server and client by hand, one thread, connections in a list, bodies passed through.

use std::cell::RefCell;
use std::rc::Rc;

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use proconf_bench_peers::{Tokens, address, from_env};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

type Error = Box<dyn std::error::Error + Send + Sync>;

struct Proxy {
    tokens: Tokens,
    /// Host and port of Admin Control.
    authority: String,
    /// The path of its API.
    base: String,
    idle: RefCell<Vec<SendRequest<Empty<Bytes>>>>,
}

impl Proxy {
    async fn respond(self: Rc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
        let room = request.uri().path().strip_prefix("/callCatchUp/");
        if self.tokens.claims(request.headers().get(AUTHORIZATION)).is_none() {
            return failure(StatusCode::UNAUTHORIZED, r#"{"data":null,"error":{"code":401,"message":"Unauthorized"}}"#);
        }
        match self.fetch(room.unwrap_or_default()).await {
            Ok(body) => Ok(Response::builder().header(CONTENT_TYPE, "application/json").body(Full::new(body))?),
            Err(_) => {
                let body = r#"{"data":null,"error":{"code":500,"message":"Internal server error"}}"#;
                failure(StatusCode::INTERNAL_SERVER_ERROR, body)
            }
        }
    }

    async fn fetch(&self, room: &str) -> Result<Bytes, Error> {
        let mut connection = self.connection().await?;
        let request = Request::get(format!("{}/call-catchup/{room}", self.base)).header(HOST, &self.authority);
        let request = request.header(CONTENT_TYPE, "application/json").body(Empty::new())?;
        let response = connection.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err("Admin Control failed".into());
        }
        let body = response.into_body().collect().await?.to_bytes();
        self.idle.borrow_mut().push(connection);
        Ok(body)
    }

    /// Returns the connection that was used last, or a new one.
    async fn connection(&self) -> Result<SendRequest<Empty<Bytes>>, Error> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            let Some(mut idle) = idle else { break };
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        spawn_local(connection);
        Ok(requests)
    }
}

fn failure(status: StatusCode, body: &'static str) -> Result<Response<Full<Bytes>>, Error> {
    Ok(Response::builder().status(status).header(CONTENT_TYPE, "application/json").body(body.into())?)
}

async fn serve(proxy: Rc<Proxy>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address()).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let proxy = Rc::clone(&proxy);
        let service = service_fn(move |request| Rc::clone(&proxy).respond(request));
        spawn_local(Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn main() -> std::io::Result<()> {
    let url = from_env("ADMIN_CONTROL_URL");
    let (authority, base) = url.trim_start_matches("http://").split_once('/').expect("a URL with a path");
    let (authority, base) = (authority.to_owned(), format!("/{base}"));
    let proxy = Rc::new(Proxy { tokens: Tokens::from_env(), authority, base, idle: RefCell::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(proxy))
}
