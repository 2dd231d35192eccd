//! A fake Admin Control that uses little processor time: one thread, one `epoll`, responses from one buffer.
//!
//! It responds to `GET /api/call-catchup/{room}` with an envelope of exactly 2 KB that begins with the room's name; to a room
//! `slow…` after 1.5 s, to a room `big…` with 1 MB, to a room `live…` with the number of requests for `/update` so far. `GET
//! /calls` returns the number of catch-up calls, and when the latest number was sent first. The other endpoints have one short
//! response each. Below `/openid` is an OpenID provider, whose `/openid/token` is a signed token.
//!
//! Listens on 127.0.0.1 at `PORT`, and with TLS at `TLS_PORT`. Writes the authority of its certificate to `CA_FILE`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const SMALL: usize = 2 * 1024;
const BIG: usize = 1024 * 1024;
const DELAY: Duration = Duration::from_millis(1500);
const SENTENCE: &str = r"Anna: the budget is agreed on.\n";
/// The listeners, without and with TLS; connections have the tokens from 2 on.
const LISTENERS: [Token; 2] = [Token(0), Token(1)];

trait Stream: io::Read + io::Write {}
impl<S: io::Read + io::Write> Stream for S {}

struct Connection {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    last: bool,
}

/// A delayed response.
type Later = Reverse<(Instant, usize, String)>;

struct FakeAdminControl {
    connections: HashMap<usize, Connection>,
    later: BinaryHeap<Later>,
    filler: String,
    provider: OpenIdProvider,
    calls: u64,
    version: u64,
    /// When the version was sent for the first time, in milliseconds since 1970.
    version_sent_at: Option<f64>,
}

impl FakeAdminControl {
    fn respond_to(&mut self, token: usize, target: &str, last: bool) {
        let room = target.strip_prefix("/api/call-catchup/");
        if let Some(room) = room {
            self.calls += 1;
            if room.starts_with("slow") {
                self.later.push(Reverse((Instant::now() + DELAY, token, room.to_owned())));
                return;
            }
        }
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.last |= last;
        let out = &mut connection.output;
        match (room, target) {
            (Some(room), _) if room.starts_with("live") => {
                self.version_sent_at.get_or_insert_with(|| since_1970().as_secs_f64() * 1000.0);
                respond(out, &[&format!(r#"{{"error":null,"data":"version {}."}}"#, self.version)]);
            }
            (Some(room), _) => catch_up(out, room, &self.filler),
            (None, "/calls") => {
                let at = self.version_sent_at.unwrap_or_default();
                respond(out, &[&format!(r#"{{"calls": {}, "version_sent_at_ms": {at:.1}}}"#, self.calls)]);
            }
            (None, "/update") => {
                (self.version, self.version_sent_at) = (self.version + 1, None);
                respond(out, &[&self.version.to_string()]);
            }
            (None, "/openid/.well-known/openid-configuration") => respond(out, &[&self.provider.discovery]),
            (None, "/openid/keys") => respond(out, &[&self.provider.keys]),
            (None, "/openid/token") => respond(out, &[&self.provider.token]),
            (None, "/api/configuration") => respond(out, &[r#"{"error":null,"data":{"features":{"audio_call":true}}}"#]),
            (None, "/api/meetings") => respond(out, &[r#"{"error":null,"data":[]}"#]),
            (None, other) if other.starts_with("/api/sessions-status/") => {
                respond(out, &[r#"{"error":null,"data":{"transcript_status":false,"recording_status":false}}"#]);
            }
            _ => out.extend_from_slice(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        }
    }

    /// Sends the delayed responses that are due; returns the time until the next.
    fn send_delayed(&mut self) -> Option<Duration> {
        while let Some(Reverse((due, _, _))) = self.later.peek() {
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Some(wait);
            }
            let Some(Reverse((_, token, room))) = self.later.pop() else { return None };
            if let Some(connection) = self.connections.get_mut(&token) {
                catch_up(&mut connection.output, &room, &self.filler);
            }
            self.flush(token);
        }
        None
    }

    fn ready(&mut self, token: usize) {
        match self.read(token) {
            Ok(()) => self.flush(token),
            Err(_) => drop(self.connections.remove(&token)),
        }
    }

    fn read(&mut self, token: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&token) else { return Ok(()) };
        let mut buffer = [0; 16 * 1024];
        loop {
            match connection.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => connection.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let input = std::mem::take(&mut connection.input);
        let mut rest = &input[..];
        while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&rest[..end]);
            let target = head.split(' ').nth(1).unwrap_or("/");
            let last = head.to_ascii_lowercase().contains("\r\nconnection: close");
            self.respond_to(token, target, last);
            rest = &rest[end + 4..];
        }
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.input.extend_from_slice(rest);
        }
        Ok(())
    }

    fn flush(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        while connection.sent < connection.output.len() {
            match connection.stream.write(&connection.output[connection.sent..]) {
                Ok(n) if n > 0 => connection.sent += n,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return drop(self.connections.remove(&token)),
                _ => return,
            }
        }
        // The rest of a TLS record is sent when the socket is writable again.
        let _ = connection.stream.flush();
        connection.output.clear();
        connection.sent = 0;
        if connection.last {
            self.connections.remove(&token);
        }
    }
}

/// Appends the envelope of a room: its name, dots, then whole sentences, so that the length is exact.
fn catch_up(out: &mut Vec<u8>, room: &str, filler: &str) {
    let (start, end) = (r#"{"error":null,"data":""#, r#""}"#);
    let size = if room.starts_with("big") { BIG } else { SMALL };
    let text = size - start.len() - end.len() - room.len();
    let dots = text % SENTENCE.len();
    respond(out, &[start, room, &".................................. "[..dots], &filler[..text - dots], end]);
}

fn respond(out: &mut Vec<u8>, body: &[&str]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    out.extend_from_slice(head.as_bytes());
    for part in body {
        out.extend_from_slice(part.as_bytes());
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is right")
}

/// An OpenID provider with one RSA key: its documents, and a token that is valid for a day.
struct OpenIdProvider {
    discovery: String,
    keys: String,
    token: String,
}

impl OpenIdProvider {
    fn new(issuer: &str) -> Self {
        let base64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
        let (n, e) = (base64(n.big_endian_without_leading_zero()), base64(e.big_endian_without_leading_zero()));
        let now = since_1970().as_secs();
        let (header, exp) = (r#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#, now + 24 * 3600);
        let claims = format!(r#"{{"iss":"{issuer}","aud":"bench","sub":"ann","name":"Ann","iat":{now},"exp":{exp}}}"#);
        let message = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
        let mut signature = vec![0; key.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).expect("a signature");
        Self {
            discovery: format!(r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}/keys"}}"#),
            keys: format!(r#"{{"keys":[{{"kty":"RSA","use":"sig","alg":"RS256","kid":"k1","n":"{n}","e":"{e}"}}]}}"#),
            token: format!("{message}.{}", base64(&signature)),
        }
    }
}

/// Makes an authority, which is written to `CA_FILE`, and a certificate for 127.0.0.1.
fn tls() -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(proconf_bench_peers::from_env("CA_FILE"), authority.pem())?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
    let config = ServerConfig::builder().with_no_client_auth();
    Ok(Arc::new(config.with_single_cert(vec![certificate.into()], key.serialize_der().try_into()?)?))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (host, port) = proconf_bench_peers::address();
    let tls_port: u16 = proconf_bench_peers::from_env("TLS_PORT").parse()?;
    let tls = tls()?;
    let mut listeners = [port, tls_port].map(|port| TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port).into()));
    let mut poll = Poll::new()?;
    for (listener, token) in listeners.iter_mut().zip(LISTENERS) {
        let listener = listener.as_mut().map_err(|error| error.to_string())?;
        poll.registry().register(listener, token, Interest::READABLE)?;
    }
    let mut fake = FakeAdminControl {
        connections: HashMap::new(),
        later: BinaryHeap::new(),
        filler: SENTENCE.repeat(BIG / SENTENCE.len()),
        provider: OpenIdProvider::new(&format!("http://{host}:{port}/openid")),
        calls: 0,
        version: 0,
        version_sent_at: None,
    };
    let mut events = Events::with_capacity(1024);
    let mut next = 2;
    loop {
        let wait = fake.send_delayed();
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let Some(Ok(listener)) = listeners.get(event.token().0) else {
                fake.ready(event.token().0);
                continue;
            };
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                poll.registry().register(&mut stream, Token(next), Interest::READABLE | Interest::WRITABLE)?;
                let stream: Box<dyn Stream> = match event.token() {
                    token if token == LISTENERS[0] => Box::new(stream),
                    _ => Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(&tls))?, stream)),
                };
                let connection = Connection { stream, input: Vec::new(), output: Vec::new(), sent: 0, last: false };
                fake.connections.insert(next, connection);
                next += 1;
            }
        }
    }
}
