//! A client that sends exactly the bytes it is given. No HTTP library sends most of the requests that the tests need.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use super::response::Response;
use super::{TEST_TIMEOUT, secrets};

/// A client of one server. Opens a connection for each request unless [`Client::connect`] is used.
#[derive(Clone, Copy)]
pub struct Client {
    address: SocketAddr,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    /// Connects, unless the server refuses it.
    pub fn try_connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(Connection { stream, unread: Vec::new() })
    }

    /// `GET target` with a bearer token, or none.
    pub fn get(&self, target: &str, token: Option<&str>) -> Response {
        self.request(&request("GET", target.as_bytes(), token))
    }

    /// `POST target` with a JSON body.
    pub fn post(&self, target: &str, body: &str) -> Response {
        self.post_as(target, "Content-Type: application/json\r\n", body.as_bytes())
    }

    /// `POST target` with a token and a JSON body.
    pub fn post_with(&self, target: &str, token: &str, body: &str) -> Response {
        self.post_as(
            target,
            &format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n"),
            body.as_bytes(),
        )
    }

    /// `POST /auth/login`.
    pub fn log_in(&self, email: &str, password: &str) -> Response {
        self.post("/auth/login", &json!({"email": email, "password": password}).to_string())
    }

    /// `POST target` with these header lines and this body.
    pub fn post_as(&self, target: &str, headers: &str, body: &[u8]) -> Response {
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.request(&[head.as_bytes(), body].concat())
    }

    /// Any bytes.
    pub fn request(&self, request: &[u8]) -> Response {
        self.connect().request(request)
    }
}

/// The bytes of a request without a body.
pub fn request(method: &str, target: &[u8], token: Option<&str>) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let mut bytes = format!("{method} ").into_bytes();
    bytes.extend_from_slice(target);
    bytes.extend_from_slice(format!(" HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n").as_bytes());
    bytes
}

/// One kept-alive connection.
pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads its response.
    pub fn request(&mut self, request: &[u8]) -> Response {
        self.send(request);
        self.read().expect("the server responds")
    }

    pub fn send(&mut self, bytes: &[u8]) {
        secrets::register_request(bytes);
        // The server may respond and close before it has read everything.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the next response; `None` if the connection ends without one.
    pub fn read(&mut self) -> Option<Response> {
        loop {
            if let Some(response) = parse_response(&mut self.unread) {
                return Some(response);
            }
            if !self.fill().unwrap_or_else(|error| panic!("no response: {error}")) {
                return None;
            }
        }
    }

    /// The same, calling `doing` after each `pause` without a response.
    pub fn read_while(&mut self, doing: impl Fn(&mut Self), pause: Duration) -> Option<Response> {
        self.stream.set_read_timeout(Some(pause)).unwrap();
        let started = Instant::now();
        let response = loop {
            if let Some(response) = parse_response(&mut self.unread) {
                break Some(response);
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    assert!(started.elapsed() < TEST_TIMEOUT, "no response and no end");
                    doing(self);
                }
                Err(error) => panic!("no response: {error}"),
            }
        };
        self.stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        response
    }

    /// Sends `piece` every 100 ms until the server closes the connection. Returns the first response and the time taken.
    pub fn drip(&mut self, piece: &[u8]) -> (Option<Response>, Duration) {
        let (started, pause) = (Instant::now(), Duration::from_millis(100));
        let response = self.read_while(|connection| connection.send(piece), pause);
        while self.read_while(|connection| connection.send(piece), pause).is_some() {}
        (response, started.elapsed())
    }

    /// Returns whether nothing arrives within `time`.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let silent =
            matches!(self.fill(), Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        silent
    }

    /// A second handle on the connection, for another thread to write to.
    pub fn clone(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), unread: Vec::new() }
    }

    /// Reads more; `false` at the end of the connection.
    fn fill(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                Ok(read > 0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Resets the connection.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads to the end of the connection, without parsing.
    pub fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Reads until `enough` holds for the unparsed text.
    pub fn read_raw(&mut self, enough: impl Fn(&str) -> bool) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.unread).into_owned();
            if enough(&text) {
                return text;
            }
            assert!(self.fill().unwrap(), "the connection ended after {text}");
        }
    }
}

/// Removes one response from the front of `unread`; `None` if it is incomplete.
pub fn parse_response(unread: &mut Vec<u8>) -> Option<Response> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(unread).expect("the response is HTTP") else {
        return None;
    };
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|header| (header.name.to_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let status = response.code.unwrap();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let body = unread.get(head..head + length)?.to_vec();
    unread.drain(..head + length);
    secrets::register_response(&body);
    Some(Response { status, headers, body })
}
