//! Sockets to the place that the base URL names. Knows nothing of HTTP.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use awc::http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Authorities;

/// Where Admin Control is.
pub(super) struct Target {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connect_timeout: Duration,
}

impl Target {
    /// The place that `base_url` names; `None` if it names none.
    pub(super) fn new(base_url: &Uri, connect_timeout: Duration, authorities: &Authorities) -> Option<Self> {
        // Of an IPv6 literal, without its brackets.
        let host = base_url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_https = base_url.scheme_str() == Some("https");
        let port = base_url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let tls = if is_https { Some((tls(authorities)?, ServerName::try_from(host.clone()).ok()?)) } else { None };
        Some(Self { host, port, tls, connect_timeout })
    }

    /// A fresh socket. Its name was looked up, and TLS agreed on, within the time for connecting.
    pub(super) async fn connect(&self) -> io::Result<Socket> {
        timeout(self.connect_timeout, self.open()).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn open(&self) -> io::Result<Socket> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let io = match &self.tls {
            None => Io::Plain(tcp),
            Some((connector, name)) => Io::Tls(Box::new(connector.connect(name.clone(), tcp).await?)),
        };
        Ok(Socket { io, opened: Instant::now() })
    }
}

/// Whether this process, or the whole machine, has as many files open as it may.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    // EMFILE and ENFILE.
    matches!(error.raw_os_error(), Some(24 | 23))
}

/// What TLS has against the other end, if that is what this error is about; and whether it is about its certificate.
pub(super) fn of_tls(error: &io::Error) -> Option<(bool, String)> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let of_a_certificate = matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented);
    Some((of_a_certificate, error.to_string()))
}

fn tls(authorities: &Authorities) -> Option<TlsConnector> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(TlsConnector::from(Arc::new(config.with_root_certificates(authorities.roots()).with_no_client_auth())))
}

/// One socket, with TLS on it where the base URL says so.
pub(super) struct Socket {
    io: Io,
    pub(super) opened: Instant,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What has arrived on a socket that nobody reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// It was closed, or it broke.
    End,
    Something,
}

impl Socket {
    /// What has arrived by now.
    pub(super) fn heard(&mut self) -> Heard {
        let tcp = match &self.io {
            Io::Plain(tcp) => tcp,
            Io::Tls(tls) => tls.get_ref().0,
        };
        // Asked of the kernel: the runtime hears of a byte only in its next round.
        let arrived = match socket2::SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Heard::Nothing,
            Ok(0) | Err(_) => Heard::End,
            Ok(_) => Heard::Something,
        };
        let Io::Tls(tls) = &mut self.io else { return arrived };
        // What the kernel has may be TLS's own business, and what it has not may have been read from it together with an answer.
        let mut byte = [MaybeUninit::uninit()];
        let mut buf = ReadBuf::uninit(&mut byte);
        match Pin::new(tls).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Pending if arrived == Heard::Nothing => Heard::Nothing,
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => Heard::Something,
            Poll::Pending | Poll::Ready(_) => Heard::End,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Io::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Io::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
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

    /// Of `localhost`, signed by itself, and of no use elsewhere.
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

    /// A socket with TLS, and the other end of it.
    async fn tls_pair() -> (Socket, tokio_rustls::server::TlsStream<TcpStream>) {
        let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let client = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            tls: Some((client, ServerName::try_from("localhost").unwrap())),
            connect_timeout: Duration::from_secs(1),
        };
        let accept = async { TlsAcceptor::from(Arc::new(server)).accept(listener.accept().await.unwrap().0).await.unwrap() };
        let (socket, other) = tokio::join!(target.connect(), accept);
        (socket.unwrap(), other)
    }

    #[actix_rt::test]
    async fn bytes_that_tls_has_read_along_with_an_answer_are_heard() {
        let (mut socket, mut other) = tls_pair().await;
        for (sent, heard) in [(&b"answer"[..], Heard::Nothing), (b"answer, and another one", Heard::Something)] {
            other.write_all(sent).await.unwrap();
            other.flush().await.unwrap();
            let mut answer = [0; 6];
            socket.read_exact(&mut answer).await.unwrap();
            assert_eq!(socket.heard(), heard, "{sent:?}");
        }
    }

    #[actix_rt::test]
    async fn the_end_is_told_from_a_byte_with_tls_and_without() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut plain, mut far) = (Socket { io: Io::Plain(near.unwrap()), opened: Instant::now() }, far.unwrap().0);
        let (mut tls, mut tls_far) = tls_pair().await;
        // The first bytes of a session's tickets are read with an answer.
        tls_far.write_all(b"x").await.unwrap();
        tls.read_exact(&mut [0]).await.unwrap();
        assert_eq!((plain.heard(), tls.heard()), (Heard::Nothing, Heard::Nothing));
        far.shutdown().await.unwrap();
        tls_far.shutdown().await.unwrap();
        while plain.heard() == Heard::Nothing || tls.heard() == Heard::Nothing {
            tokio::task::yield_now().await;
        }
        assert_eq!((plain.heard(), tls.heard()), (Heard::End, Heard::End));
    }
}
