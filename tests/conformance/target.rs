//! The target of the suite and its HTTP client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::support::response::Response;
use crate::support::{TestServer, tokens};
use proconf_app_server::sandbox::Reply;

const EMAIL: &str = "conformance@example.com";
const PASSWORD: &str = "conformance, to the letter";
/// The summary that the embedded server's store holds.
const SUMMARY: &str = "What was decided.";

/// A deployment and what the suite may use of it.
#[derive(Clone)]
pub struct Target {
    /// `http://host:port/prefix` or `https://…`, without a slash at its end.
    pub base_url: String,
    /// A user to sign in with.
    pub login: Option<(String, String)>,
    /// A user token, where there is no login.
    pub token: Option<String>,
    /// An expired user token.
    pub expired_token: Option<String>,
    /// How long a case may wait; `None` for the embedded server, whose clock is set.
    pub patience: Option<Duration>,
    /// A room that Admin Control knows, with a catch-up and a status.
    pub room: String,
    /// A room whose catch-up fails in Admin Control.
    pub failing_room: Option<String>,
    /// A room with a summary.
    pub summary_room: Option<String>,
    /// Whether every room exists, with its name as the catch-up.
    pub echoes: bool,
    pub waived: Vec<String>,
}

impl Target {
    /// Returns the target that the environment configures, or the embedded server.
    pub fn configured() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let waived = variable("APP_TEST_WAIVE").unwrap_or_default();
        let waived = waived.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        let Some(base_url) = variable("APP_TEST_BASE_URL") else {
            return Self { waived, ..Self::embedded() };
        };
        let login = variable("APP_TEST_EMAIL").zip(variable("APP_TEST_PASSWORD"));
        let token = variable("APP_TEST_TOKEN");
        assert!(
            login.is_some() || token.is_some(),
            "APP_TEST_EMAIL and APP_TEST_PASSWORD, or APP_TEST_TOKEN, must be given"
        );
        Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            login,
            token,
            expired_token: variable("APP_TEST_EXPIRED_TOKEN"),
            patience: Some(patience(variable("APP_TEST_PATIENCE").as_deref())),
            room: variable("APP_TEST_ROOM").expect("APP_TEST_ROOM must name a room that exists"),
            failing_room: variable("APP_TEST_FAILING_ROOM"),
            summary_room: variable("APP_TEST_SUMMARY_ROOM"),
            echoes: false,
            waived,
        }
    }

    /// Returns the server of this crate with a sandbox, started once for all cases.
    pub fn embedded() -> Self {
        static SERVER: OnceLock<TestServer> = OnceLock::new();
        let server = SERVER.get_or_init(|| {
            let server = TestServer::start();
            server.add_user(EMAIL, PASSWORD);
            server.put_summary("r1_1718871014/summary.txt", SUMMARY);
            server.script.set("call-catchup", "unknown room", Reply::not_found());
            server.script.set("call-catchup", "failing room", Reply::body(500, "connect ECONNREFUSED, at the inside"));
            server
        });
        Self {
            base_url: format!("http://{}", server.address),
            login: Some((EMAIL.to_owned(), PASSWORD.to_owned())),
            token: Some(tokens::user()),
            expired_token: Some(expired_token()),
            patience: None,
            room: "r1".to_owned(),
            failing_room: Some("failing room".to_owned()),
            summary_room: Some("r1".to_owned()),
            echoes: true,
            waived: Vec::new(),
        }
    }

    /// Returns a target whose time can be advanced; `None` if the allowed wait is too short.
    ///
    /// It is a second embedded server, or the deployment itself.
    pub fn patient(&self) -> Option<Patient> {
        match self.patience {
            Some(allowed) if allowed < Duration::from_secs(31) => None,
            Some(allowed) => {
                let wait = Box::new(move || std::thread::park_timeout(allowed));
                Some(Patient { target: self.clone(), wait, _server: None })
            }
            None => {
                let server = TestServer::start();
                server.add_user(EMAIL, PASSWORD);
                let clock = server.clock.clone();
                let target = Self { base_url: format!("http://{}", server.address), ..self.clone() };
                Some(Patient {
                    target,
                    wait: Box::new(move || clock.advance(Duration::from_secs(61))),
                    _server: Some(server),
                })
            }
        }
    }

    pub fn waives(&self, name: &str) -> bool {
        self.waived.iter().any(|waived| waived == name)
    }

    /// Returns a user token.
    pub fn user(&self) -> Result<String, String> {
        match (&self.token, &self.login) {
            (Some(token), _) => Ok(token.clone()),
            (None, Some((email, password))) => {
                // One login for all cases, to stay below the login limit.
                static TOKEN: Mutex<Option<String>> = Mutex::new(None);
                let mut token = TOKEN.lock().map_err(|_| "another case failed to log in")?;
                if token.is_none() {
                    *token = Some(text(&self.log_in(email, password).success()?["token"])?.to_owned());
                }
                token.clone().ok_or_else(|| "there is no token".to_owned())
            }
            (None, None) => Err("there is neither a token nor a login".to_owned()),
        }
    }

    /// Logs in and returns the response.
    pub fn log_in(&self, email: &str, password: &str) -> Seen {
        self.post("/auth/login", None, &json!({"email": email, "password": password}))
    }

    /// Returns a token for a guest of `room`; `None` if guests are disabled.
    pub fn guest(&self, room: &str) -> Result<Option<String>, String> {
        let answer = self.get(&format!("/auth/joinmember?roomName={}", encoded(room)), None);
        if answer.fails(403, "Forbidden").is_ok() {
            return Ok(None);
        }
        Ok(Some(text(&answer.success()?)?.to_owned()))
    }

    pub fn get(&self, target: &str, token: Option<&str>) -> Seen {
        self.ask("GET", target, token, "")
    }

    pub fn post(&self, target: &str, token: Option<&str>, body: &Value) -> Seen {
        self.ask("POST", target, token, &body.to_string())
    }

    /// Sends exactly this request target; a client library would normalise it.
    pub fn ask(&self, method: &str, target: &str, token: Option<&str>, body: &str) -> Seen {
        let (scheme, rest) = self.base_url.split_once("://").expect("a URL");
        let (authority, prefix) =
            rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
        let mut request =
            format!("{method} {prefix}{target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nAccept: */*\r\n");
        if let Some(token) = token {
            request.extend(["Authorization: Bearer ", token, "\r\n"]);
        }
        if method == "POST" {
            request.extend(["Content-Type: application/json\r\nContent-Length: ", &body.len().to_string(), "\r\n"]);
        }
        let request = format!("{request}\r\n{body}");
        let answer = exchange(scheme == "https", authority, request.as_bytes()).and_then(|bytes| parse(&bytes));
        Seen { of: format!("{method} {target}"), answer }
    }
}

/// A target whose time can be advanced.
pub struct Patient {
    pub target: Target,
    pub wait: Box<dyn Fn()>,
    _server: Option<TestServer>,
}

/// Parses whole seconds, as in `11s`.
fn patience(text: Option<&str>) -> Duration {
    let seconds = text.map(|text| text.strip_suffix('s').and_then(|seconds| seconds.parse().ok()));
    Duration::from_secs(seconds.map_or(0, |seconds| seconds.expect("APP_TEST_PATIENCE is seconds, as in 31s")))
}

/// Returns a token that expired a minute ago.
fn expired_token() -> String {
    let mut claims = tokens::user_claims();
    claims["iat"] = json!(tokens::now() - 660);
    claims["exp"] = json!(tokens::now() - 60);
    tokens::signed(tokens::HEADER, &claims.to_string())
}

/// A response.
pub struct Seen {
    of: String,
    pub answer: Result<Response, String>,
}

impl Seen {
    fn answer(&self) -> Result<&Response, String> {
        self.answer.as_ref().map_err(|problem| format!("{}: {problem}", self.of))
    }

    /// Returns the envelope, if status and type are as expected.
    fn envelope(&self, status: u16) -> Result<Value, String> {
        let answer = self.answer()?;
        let start = String::from_utf8_lossy(&answer.body).chars().take(200).collect::<String>();
        if answer.status != status {
            return Err(format!("{}: status {} and not {status}: {start}", self.of, answer.status));
        }
        let json = answer.header("content-type").is_some_and(|value| value.split(';').next() == Some("application/json"));
        if !json {
            return Err(format!("{}: the Content-Type is not application/json: {start}", self.of));
        }
        serde_json::from_slice(&answer.body).map_err(|_| format!("{}: the body is not JSON: {start}", self.of))
    }

    /// Returns the `data` of a success.
    pub fn success(&self) -> Result<Value, String> {
        let mut envelope = self.envelope(200)?;
        let members = envelope.as_object().map_or(0, serde_json::Map::len);
        if members != 2 || envelope.get("error") != Some(&Value::Null) || envelope.get("data").is_none() {
            return Err(format!("{}: not {{\"error\":null,\"data\":…}}: {envelope}", self.of));
        }
        Ok(envelope["data"].take())
    }

    /// Asserts exactly this failure.
    pub fn fails(&self, status: u16, message: &str) -> Result<(), String> {
        let envelope = self.envelope(status)?;
        let expected = json!({"data": null, "error": {"code": status, "message": message}});
        if envelope != expected {
            return Err(format!("{}: {envelope} and not {expected}", self.of));
        }
        if status == 401 && self.answer()?.header("www-authenticate").is_none() {
            return Err(format!("{}: 401 without WWW-Authenticate", self.of));
        }
        Ok(())
    }

    /// Asserts this status, in the envelope, with any message.
    pub fn fails_with(&self, status: u16) -> Result<String, String> {
        let envelope = self.envelope(status)?;
        let message = envelope["error"]["message"].as_str().unwrap_or_default().to_owned();
        let right = envelope["data"] == Value::Null && envelope["error"]["code"] == status && !message.is_empty();
        if right { Ok(message) } else { Err(format!("{}: not the envelope of a failure: {envelope}", self.of)) }
    }
}

pub fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is not a string"))
}

/// Percent-encodes a room's name for a query or a path segment.
pub fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn exchange(tls: bool, authority: &str, request: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("no answer: {error}");
    let address =
        if authority.contains(':') { authority.to_owned() } else { format!("{authority}:{}", if tls { 443 } else { 80 }) };
    let mut stream = TcpStream::connect(&address).map_err(|error| failed(&error))?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    if tls {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).to_owned();
        let name = ServerName::try_from(host).map_err(|error| failed(&error))?;
        let connection = ClientConnection::new(trusting(), name).map_err(|error| failed(&error))?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(request).map_err(|error| failed(&error))?;
        // A server may close without a TLS close_notify.
        let _ = stream.read_to_end(&mut bytes);
    } else {
        stream.write_all(request).map_err(|error| failed(&error))?;
        let _ = stream.read_to_end(&mut bytes);
    }
    Ok(bytes)
}

fn trusting() -> Arc<ClientConfig> {
    let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn parse(bytes: &[u8]) -> Result<Response, String> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(bytes) else {
        return Err("no HTTP answer".to_owned());
    };
    let named =
        |header: &httparse::Header<'_>| (header.name.to_lowercase(), String::from_utf8_lossy(header.value).into_owned());
    let headers: Vec<(String, String)> = response.headers.iter().map(named).collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let body = if chunked { unchunked(&bytes[head..])? } else { bytes[head..].to_vec() };
    Ok(Response { status: response.code.unwrap_or_default(), headers, body })
}

fn unchunked(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) {
        let size = usize::try_from(size).map_err(|_| "a chunk is too large")?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(start..start + size).ok_or("a chunk is cut short")?);
        rest = rest.get(start + size + 2..).ok_or("a chunk is cut short")?;
    }
    Err("the chunks have no end".to_owned())
}
