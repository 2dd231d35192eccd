//! Fake upstreams: raw sockets in place of Admin Control and other servers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A successful envelope, and its `data`.
pub const GOOD_ENVELOPE: &str = r#"{"error":null,"data":"good"}"#;
pub const GOOD_DATA: &str = r#""good""#;

/// A listener that counts connections and handles them as the test says.
pub struct FakeUpstream {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

impl FakeUpstream {
    /// Runs `serve` on a thread for each connection, with its number from 0. The listener ends with the process.
    pub fn serving(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        Self::serving_on("127.0.0.1:0", serve)
    }

    /// The same, listening on `address`.
    pub fn serving_on(address: &str, serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, serve) = (Arc::clone(&connections), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream, number));
            }
        });
        Self { port, connections }
    }

    /// Responds to the first request of each connection with `bytes` and closes it.
    pub fn with_response(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::serving(move |mut stream, _| {
            read_head(&mut stream);
            // The client may close before the end.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0; 1024]);
        })
    }

    /// An upstream that must get no connection.
    pub fn canary() -> Self {
        Self::serving(|stream, _| drop(stream))
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/api", self.port)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads to the end of a request's head; `None` if the connection ends first.
pub fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

/// Sends `piece` every 100 ms until the connection ends.
pub fn drip(stream: &mut TcpStream, piece: &[u8]) {
    while stream.write_all(piece).is_ok() {
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Builds a well-formed JSON response.
pub fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
