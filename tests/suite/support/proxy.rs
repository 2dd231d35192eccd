//! The distribution's nginx and HAProxy in front of test servers, with the configurations that `deploy/` ships.

mod program;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::TEST_TIMEOUT;
use super::client::{Client, parse_response};
use super::response::Response;
use super::tls::Authority;
use program::Program;

pub use program::ProxyKind;

/// The header from which the proxies take the client's address.
pub const CLIENT_HEADER: &str = program::CLIENT_HEADER;

/// The name that the configurations serve.
pub const NAME: &str = "app.example.com";

/// A running proxy; stopped when it is dropped.
pub struct Proxy {
    pub kind: ProxyKind,
    pub address: SocketAddr,
    program: Program,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection to a proxy, with TLS or without.
pub struct ProxyConnection {
    stream: Box<dyn ReadWrite>,
    unread: Vec<u8>,
}

trait ReadWrite: io::Read + io::Write {}

impl<T: io::Read + io::Write> ReadWrite for T {}

impl Proxy {
    /// Starts a proxy in front of these servers.
    pub fn start(kind: ProxyKind, servers: &[SocketAddr]) -> Self {
        let authority = Authority::new();
        let (chain, key) = authority.sign(&[NAME]).pem();
        let program = Program::start(kind, servers, (&chain, &key));
        let tls = (kind != ProxyKind::ComposeNginx).then(|| trust(&authority));
        Self { kind, address: program.address, program, tls }
    }

    /// Starts each kind of proxy in front of these servers.
    pub fn start_all(servers: &[SocketAddr]) -> [Self; 3] {
        [ProxyKind::Nginx, ProxyKind::Haproxy, ProxyKind::ComposeNginx].map(|kind| Self::start(kind, servers))
    }

    /// A client of a proxy without TLS.
    pub fn client(&self) -> Client {
        assert_eq!(self.kind, ProxyKind::ComposeNginx);
        Client::new(self.address)
    }

    /// Connects with the configured server name.
    pub fn connect(&self) -> ProxyConnection {
        self.connect_to(NAME).expect("the proxy takes its own name")
    }

    /// Connects with `name` as SNI, or without SNI if it is an address.
    pub fn connect_to(&self, name: &str) -> io::Result<ProxyConnection> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(ProxyConnection { stream: Box::new(stream), unread: Vec::new() });
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(ProxyConnection { stream: Box::new(StreamOwned::new(tls, stream)), unread: Vec::new() })
    }

    /// Stops the proxy, which finishes its requests, and returns the lines of its access log.
    pub fn stop(self) -> Vec<Vec<u8>> {
        self.program.stop()
    }
}

impl ProxyConnection {
    /// Sends a request and reads its response; `None` if the connection ends without one.
    pub fn request(&mut self, request: &[u8]) -> Option<Response> {
        // The proxy may respond and close before it has read everything.
        let _ = self.stream.write_all(request);
        loop {
            if let Some(response) = parse_response(&mut self.unread) {
                return Some(response);
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// Sends a request and reads the head of its response, not the rest.
    pub fn open(&mut self, request: &[u8]) -> String {
        self.stream.write_all(request).unwrap();
        while !self.unread.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            assert!(self.read_more(), "the connection ends in the head");
        }
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                read > 0
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("no response: {error}")
            }
            // A reset, or an end without a TLS close notification.
            Err(_) => false,
        }
    }
}

/// Parses a line of the access log, which must be one JSON object.
pub fn parse_line(line: &[u8]) -> Value {
    let parsed = serde_json::from_slice(line);
    let value: Value = parsed.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)));
    assert!(value.is_object(), "{value}");
    value
}

fn trust(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}
