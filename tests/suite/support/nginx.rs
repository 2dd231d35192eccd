//! The distribution's nginx in front of a test server, with the configuration that `deploy/` ships.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;
use yaml_rust2::YamlLoader;

use super::TEST_TIMEOUT;
use super::client::parse_response;
use super::response::Response;
use super::tls::Authority;

/// The name that `deploy/nginx.conf` serves.
pub const NAME: &str = "app.example.com";

/// The header from which the fixture takes the client's address, so that a test can be many clients.
pub const CLIENT_HEADER: &str = "X-Test-Client";

/// A running nginx; stopped when it is dropped.
pub struct Nginx {
    pub address: SocketAddr,
    process: Child,
    folder: TempDir,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection to nginx, with TLS or without.
pub struct NginxConnection {
    stream: Box<dyn ReadWrite>,
    unread: Vec<u8>,
}

trait ReadWrite: io::Read + io::Write {}

impl<T: io::Read + io::Write> ReadWrite for T {}

impl Nginx {
    /// Runs `deploy/nginx.conf`. Only addresses, certificate paths and the log folder are replaced.
    pub fn with_tls(server: SocketAddr) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (certificate, key) = authority.sign(&[NAME]).pem();
        std::fs::write(folder.path().join("certificate.pem"), certificate).unwrap();
        std::fs::write(folder.path().join("key.pem"), key).unwrap();
        let site = read("deploy/nginx.conf");
        let site = replace(&site, "/etc/ssl/certs/app.example.com.pem", "certificate.pem");
        let site = replace(&site, "/etc/ssl/private/app.example.com.key", "key.pem");
        let site = replace(&site, "server 127.0.0.1:8080;", &format!("server {server};"));
        let site = replace(&site, "_log /var/log/nginx/", &format!("_log {}/", folder.path().display()));
        let listen = |site: &str, address: SocketAddr| replace(site, "listen 443 ssl", &format!("listen {address} ssl"));
        Self::start(folder, |address| listen(&site, address), Some(trust(&authority)))
    }

    /// Runs the configuration in `deploy/compose.replicas.yaml`, which has no TLS and finds its servers by Docker's names.
    pub fn of_replicas(server: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let compose = YamlLoader::load_from_str(&read("deploy/compose.replicas.yaml")).unwrap();
        let site = compose[0]["configs"]["balancer"]["content"].as_str().unwrap().replace("$$", "$");
        let site = replace(&site, "resolver 127.0.0.11 valid=2s;", "");
        let site = replace(&site, "server app:8080 resolve;", &format!("server {server};"));
        let site = replace(&site, "/dev/stdout", &format!("{}/proconf-app-server.log", folder.path().display()));
        let listen = |site: &str, address: SocketAddr| replace(site, "listen 8080;", &format!("listen {address};"));
        Self::start(folder, |address| listen(&site, address), None)
    }

    fn start(folder: TempDir, site: impl Fn(SocketAddr) -> String, tls: Option<Arc<ClientConfig>>) -> Self {
        // Another program may take the free port before nginx does.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            if let Some(process) = spawn(folder.path(), address, &site(address)) {
                return Self { address, process, folder, tls };
            }
        }
        panic!("nginx does not start: {}", error_log(folder.path()));
    }

    /// Connects with the configured server name.
    pub fn connect(&self) -> NginxConnection {
        self.connect_to(NAME).expect("nginx takes its own name")
    }

    /// Connects with `name` as SNI, or without SNI if it is an address.
    pub fn connect_to(&self, name: &str) -> io::Result<NginxConnection> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(NginxConnection { stream: Box::new(stream), unread: Vec::new() });
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(NginxConnection { stream: Box::new(StreamOwned::new(tls, stream)), unread: Vec::new() })
    }

    /// Stops nginx, which finishes its requests, and returns the lines of its access log.
    pub fn stop(mut self) -> Vec<Vec<u8>> {
        assert!(Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
        let log = std::fs::read(self.folder.path().join("proconf-app-server.log")).unwrap();
        log.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }
}

impl NginxConnection {
    /// Sends a request and reads its response; `None` if the connection ends without one.
    pub fn ask(&mut self, request: &[u8]) -> Option<Response> {
        // nginx may respond and close before it has read everything.
        let _ = self.stream.write_all(request);
        loop {
            if let Some(answer) = parse_response(&mut self.unread) {
                return Some(answer);
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
                panic!("no answer: {error}")
            }
            // A reset, or an end without a TLS close notification.
            Err(_) => false,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Parses a line of the access log, which must be one JSON object.
pub fn parse_line(line: &[u8]) -> Value {
    let parsed = serde_json::from_slice(line);
    let value: Value = parsed.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)));
    assert!(value.is_object(), "{value}");
    value
}

fn read(name: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the configuration has no {from}");
    text.replace(from, to)
}

fn error_log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("error.log")).unwrap_or_default()
}

fn trust(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// Starts nginx on this address; `None` if it ends at once.
fn spawn(folder: &Path, address: SocketAddr, site: &str) -> Option<Child> {
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};\n")).concat();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nworker_rlimit_nofile 8192;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\naccess_log off;\n{temporary}\
         set_real_ip_from 127.0.0.1;\nreal_ip_header {CLIENT_HEADER};\n{site}\n}}\n"
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, whole).unwrap();
    let mut process = Command::new("nginx")
        .arg("-p")
        .arg(folder)
        .arg("-e")
        .arg(folder.join("error.log"))
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .spawn()
        .expect("nginx is installed; tests/run does that (Debian: nginx-light)");
    let started = Instant::now();
    loop {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(address).is_ok() {
            return Some(process);
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "nginx does not listen: {}", error_log(folder));
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
