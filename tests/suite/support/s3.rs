//! An S3 server over a folder, in process. It verifies the signature of each request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::server::ServerThread;

pub const BUCKET: &str = "summaries";
pub const ACCESS_KEY: &str = "the-access-key";
pub const SECRET_KEY: &str = "the-secret-key";

/// The server, with one bucket; stopped when it is dropped.
pub struct S3 {
    pub endpoint: String,
    folder: TempDir,
    _thread: ServerThread,
}

impl S3 {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts it on this address, without TLS.
    pub fn start_on(address: &'static str) -> Self {
        Self::serve(address, None)
    }

    /// Starts it with TLS, if `tls` has a certificate for 127.0.0.1.
    pub fn start_with(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::serve("127.0.0.1:0", tls)
    }

    fn serve(address: &'static str, tls: Option<Arc<ServerConfig>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let root: PathBuf = folder.path().to_owned();
        let (endpoint, thread) = ServerThread::start(move |started, stopped| async move {
            let mut service = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
            service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
            let service = service.build();
            let listener = TcpListener::bind(address).await.unwrap();
            let (tls, address) = (tls.map(TlsAcceptor::from), listener.local_addr().unwrap());
            let scheme = if tls.is_some() { "https" } else { "http" };
            started.send(format!("{scheme}://{address}")).unwrap();
            let serve = async {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let (server, service, tls) = (Builder::new(TokioExecutor::new()), service.clone(), tls.clone());
                    tokio::spawn(async move {
                        let Some(tls) = tls else {
                            return drop(server.serve_connection(TokioIo::new(socket), service).await);
                        };
                        if let Ok(socket) = tls.accept(socket).await {
                            drop(server.serve_connection(TokioIo::new(socket), service).await);
                        }
                    });
                }
            };
            tokio::select! {
                () = serve => {}
                _ = stopped => {}
            }
        });
        Self { endpoint, folder, _thread: thread }
    }

    /// Puts a file into the bucket.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        write(&self.folder.path().join(BUCKET), key, bytes);
    }
}

/// Writes a file below a folder.
pub fn write(folder: &Path, key: &str, bytes: &[u8]) {
    let path = folder.join(key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}
