//! A proxy in front of PostgreSQL, which changes or withholds what clients send.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What becomes of the bytes of clients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    PassThrough,
    /// `COMMIT` becomes `BEGIN`: the client commits, and its transaction stays open.
    BeginForCommit,
    /// From the next `BEGIN` on, a connection takes bytes and responds to none.
    BlackHole,
}

/// The proxy. Its threads end with the test process.
pub struct PostgresqlProxy {
    port: u16,
    mode: Arc<AtomicU8>,
}

impl PostgresqlProxy {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self { port: listener.local_addr().unwrap().port(), mode: Arc::default() };
        let mode = Arc::clone(&this.mode);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (to_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let mode = Arc::clone(&mode);
                std::thread::spawn(move || forward(client, server, |bytes| change(bytes, &mode)));
                std::thread::spawn(move || forward(from_server, to_client, |_| true));
            }
        });
        this
    }

    /// Returns the URL of the database at `url` through the proxy.
    pub fn url(&self, url: &str) -> String {
        let (server, name) = url.rsplit_once('/').unwrap();
        format!("{}:{}/{name}", server.rsplit_once(':').unwrap().0, self.port)
    }

    pub fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }
}

/// Forwards until one side closes. From the first `false` of `change` on the bytes are dropped.
fn forward(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&mut [u8]) -> bool) {
    let (mut buffer, mut is_open) = (vec![0; 64 * 1024], true);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        is_open &= change(&mut buffer[..read]);
        if is_open && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Changes the bytes of a client; returns whether they are forwarded.
fn change(bytes: &mut [u8], mode: &AtomicU8) -> bool {
    let find = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).position(|found| found == text);
    let mode = mode.load(Ordering::SeqCst);
    if mode == Mode::BeginForCommit as u8
        && let Some(at) = find(bytes, b"COMMIT")
    {
        bytes[at..at + 6].copy_from_slice(b"BEGIN ");
    }
    mode != Mode::BlackHole as u8 || find(bytes, b"BEGIN").is_none()
}
