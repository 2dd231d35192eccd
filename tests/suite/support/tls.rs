//! TLS of fake upstreams: certificate authorities, valid and invalid certificates, and a listener.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use tempfile::TempDir;

use super::fake_upstream::FakeUpstream;

/// A certificate authority that is trusted only where it is configured.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key.
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("an authority of a test")
    }

    /// Creates an authority of this name. Authorities may share a name and differ in their keys.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("authority.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// Returns the path of its certificate, for `SSL_CERT_FILE`.
    pub fn file(&self) -> String {
        format!("{}/authority.pem", self.folder())
    }

    /// Returns the folder of that file, for `SSL_CERT_DIR`.
    pub fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate for these names and addresses.
    pub fn sign(&self, names: &[&str]) -> Certificate {
        self.sign_with(names, |_| {})
    }

    /// Like [`Authority::sign`], with changed parameters.
    pub fn sign_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let (mut params, key) = (of_a_server(names), KeyPair::generate().unwrap());
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certificate { chain: vec![certificate.der().clone()], key }
    }

    /// Signs a certificate through an intermediate authority.
    pub fn sign_through_intermediate(&self, names: &[&str]) -> Certificate {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority below it");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let between = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = of_a_server(names).signed_by(&key, &between).unwrap();
        Certificate { chain: vec![certificate.der().clone(), between.der().clone()], key }
    }
}

fn of_a_server(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

impl Certificate {
    /// Creates a self-signed certificate.
    pub fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = of_a_server(names).self_signed(&key).unwrap();
        Self { chain: vec![certificate.der().clone()], key }
    }

    /// Returns the certificate and its key in PEM.
    pub fn pem(&self) -> (String, String) {
        let lines = |der: &CertificateDer<'_>| {
            let text = STANDARD.encode(der);
            let lines: String =
                text.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
            format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
        };
        (self.chain.iter().map(lines).collect(), self.key.serialize_pem())
    }

    /// Returns a TLS server configuration with it.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config_of(rustls::DEFAULT_VERSIONS)
    }

    pub fn config_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Arc::new(config.with_no_client_auth().with_single_cert(self.chain.clone(), key).unwrap())
    }
}

/// Makes the certificate expired.
pub fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2020, 1, 1);
}

/// Makes the certificate not valid yet.
pub fn not_yet_valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2096, 1, 1);
}

/// Makes the certificate one for clients only.
pub fn for_clients(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

/// A connection after its handshake.
pub type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// A TLS listener. Counts the connections with application data.
pub struct TlsUpstream {
    pub peer: FakeUpstream,
    trusted: Arc<AtomicUsize>,
}

impl TlsUpstream {
    /// Calls `serve` for each connection with application data.
    pub fn serving(config: Arc<ServerConfig>, serve: impl Fn(TlsStream) + Send + Sync + 'static) -> Self {
        Self::serving_on("127.0.0.1:0", config, serve)
    }

    pub fn serving_on(address: &str, config: Arc<ServerConfig>, serve: impl Fn(TlsStream) + Send + Sync + 'static) -> Self {
        let trusted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&trusted);
        let peer = FakeUpstream::serving_on(address, move |stream, _| {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            while tls.conn.is_handshaking() {
                if tls.conn.complete_io(&mut tls.sock).is_err() {
                    return;
                }
            }
            // In TLS 1.3 the client may reject the certificate after that.
            if std::io::BufRead::fill_buf(&mut tls).is_ok_and(|first| !first.is_empty()) {
                counter.fetch_add(1, Ordering::SeqCst);
                serve(tls);
            }
        });
        Self { peer, trusted }
    }

    /// Returns the number of connections with application data.
    pub fn trusted(&self) -> usize {
        self.trusted.load(Ordering::SeqCst)
    }

    pub fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.peer.port)
    }
}

/// Closes the connection without a TLS close notification.
pub fn cut(tls: TlsStream) {
    let (_, stream) = tls.into_parts();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = (&stream).read(&mut [0; 1024]);
}

/// Closes the connection with a TLS close notification.
pub fn end(mut tls: TlsStream) {
    tls.conn.send_close_notify();
    let _ = tls.flush();
    cut(tls);
}
