//! TCP or TLS connections to the host of the base URL.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use awc::http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::Config;

pub(super) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The address of Admin Control.
#[derive(Debug)]
pub(super) struct Target {
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    connect_timeout: Duration,
}

impl Target {
    /// Reads host and port of `base_url`.
    ///
    /// `None` without a host, or with `https` and no root certificates.
    pub(super) fn new(base_url: &Uri, config: &Config) -> Option<Self> {
        // An IPv6 literal is resolved without its brackets.
        let host = base_url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_https = base_url.scheme_str() == Some("https");
        let port = base_url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let tls = match &config.root_certificates {
            Some(roots) if is_https => Some((roots.client_config()?, ServerName::try_from(host.clone()).ok()?)),
            None if is_https => return None,
            _ => None,
        };
        Some(Self { host, port, tls, connect_timeout: config.connect_timeout })
    }

    /// Opens a connection within the connect timeout, name lookup and TLS included.
    pub(super) async fn connect(&self) -> io::Result<Transport> {
        timeout(self.connect_timeout, self.open()).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn open(&self) -> io::Result<Transport> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        Ok(Transport::new(match &self.tls {
            None => Either::Left(tcp),
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                Either::Right(Box::new(connector.connect(name.clone(), tcp).await?))
            }
        }))
    }
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) io: Io,
    pub(super) opened_at: Instant,
    /// The time of its last release to the pool.
    pub(super) released_at: Instant,
}

/// The result of probing an idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// No byte has arrived.
    Quiet,
    /// It was closed or reset.
    Closed,
    /// Bytes have arrived that belong to no request.
    Surplus,
}

impl Transport {
    pub(super) fn new(io: Io) -> Self {
        let now = Instant::now();
        Self { io, opened_at: now, released_at: now }
    }

    /// Checks without waiting whether bytes have arrived. It reads the kernel's state, which the runtime learns later.
    pub(super) fn probe(&mut self) -> Probe {
        let (received, plaintext) = match &mut self.io {
            Either::Left(tcp) => {
                let received = SockRef::from(&*tcp).peek(&mut [MaybeUninit::uninit()]);
                let bytes = *received.as_ref().unwrap_or(&0);
                (received, bytes)
            }
            Either::Right(tls) => {
                let (tcp, session) = tls.get_mut();
                let received = session.read_tls(&mut &*SockRef::from(&*tcp));
                // Surplus plaintext may have been decrypted together with the response.
                let Ok(state) = session.process_new_packets() else { return Probe::Closed };
                (received, state.plaintext_bytes_to_read())
            }
        };
        match received {
            _ if plaintext > 0 => Probe::Surplus,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Probe::Quiet,
            // End of input, or a TLS message such as a session ticket: closed, but no reason to suspend reuse.
            Ok(_) | Err(_) => Probe::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// Self-signed, for `localhost`; used in these tests only.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBkjCCATigAwIBAgIUT5ppeKQxALNOYzNTt5+dfsPqR6EwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDIyMzEyMVoYDzIxMjYxMDMx
MjIzMTIxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQ3sv4m/NbsTOtB4blNfgvjSDz/UvVT2RIdOr25wKSLSUattMw5fZjJ
NL4REkiFGtEXDOjsPNHTV3Acmpt1AoJvo2YwZDAdBgNVHQ4EFgQUt0ebr3EQhY3U
cBs+WTw0yFcAkv8wHwYDVR0jBBgwFoAUt0ebr3EQhY3UcBs+WTw0yFcAkv8wFAYD
VR0RBA0wC4IJbG9jYWxob3N0MAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDSAAw
RQIhAKjD/qnfhbPFdZ/sdtb0bl8lXGPupTC5o7DM3YJkxKXQAiAi4gE9s4zBrWM7
tQNhl1tcjg9Pu5gc8KXNcihIOVqG1w==
-----END CERTIFICATE-----
";
    const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgR7bqDwsGcZD2L/3+
7hOGM/NTl8b+JM7wO1H47kiHdmuhRANCAAQ3sv4m/NbsTOtB4blNfgvjSDz/UvVT
2RIdOr25wKSLSUattMw5fZjJNL4REkiFGtEXDOjsPNHTV3Acmpt1AoJv
-----END PRIVATE KEY-----
";

    /// A plain connection and its other end.
    async fn tcp_pair() -> (Transport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (local, peer) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Transport::new(Either::Left(local.unwrap())), peer.unwrap().0)
    }

    /// A connection with TLS and its other end.
    async fn tls_pair() -> (Transport, tokio_rustls::server::TlsStream<TcpStream>) {
        let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            tls: Some((client, ServerName::try_from("localhost").unwrap())),
            connect_timeout: Duration::from_secs(5),
        };
        let accept = async { TlsAcceptor::from(Arc::new(server)).accept(listener.accept().await.unwrap().0).await.unwrap() };
        let (local, peer) = tokio::join!(target.connect(), accept);
        (local.unwrap(), peer)
    }

    #[actix_rt::test]
    async fn plaintext_decrypted_with_a_response_is_surplus() {
        let (mut local, mut peer) = tls_pair().await;
        for (sent, probe) in [(&b"answer"[..], Probe::Quiet), (b"answer, and another one", Probe::Surplus)] {
            peer.write_all(sent).await.unwrap();
            peer.flush().await.unwrap();
            let mut response = [0; 6];
            local.io.read_exact(&mut response).await.unwrap();
            assert_eq!(local.probe(), probe, "{sent:?}");
        }
    }

    #[actix_rt::test]
    async fn closed_connection_is_not_surplus_with_and_without_tls() {
        let ((mut plain, mut plain_peer), (mut tls, mut tls_peer)) = (tcp_pair().await, tls_pair().await);
        // Session tickets are read together with the first response.
        tls_peer.write_all(b"x").await.unwrap();
        tls.io.read_exact(&mut [0]).await.unwrap();
        assert_eq!((plain.probe(), tls.probe()), (Probe::Quiet, Probe::Quiet));
        plain_peer.shutdown().await.unwrap();
        tls_peer.shutdown().await.unwrap();
        while plain.probe() == Probe::Quiet || tls.probe() == Probe::Quiet {
            tokio::task::yield_now().await;
        }
        assert_eq!((plain.probe(), tls.probe()), (Probe::Closed, Probe::Closed));
    }

    #[actix_rt::test]
    async fn byte_on_an_idle_connection_is_surplus_with_and_without_tls() {
        let ((mut plain, mut plain_peer), (mut tls, mut tls_peer)) = (tcp_pair().await, tls_pair().await);
        tls_peer.get_ref().0.set_nodelay(true).unwrap();
        // Session tickets are read together with the first response.
        tls_peer.write_all(b"x").await.unwrap();
        tls.io.read_exact(&mut [0]).await.unwrap();
        plain_peer.write_all(b"x").await.unwrap();
        tls_peer.write_all(b"x").await.unwrap();
        tls_peer.flush().await.unwrap();
        assert_eq!((plain.probe(), tls.probe()), (Probe::Surplus, Probe::Surplus));
    }
}
