//! Many concurrent clients: connects all of them and prints `ready`.
//!
//!     concurrent_clients PORT TARGET COUNT [streams]      with TOKEN in the environment
//!
//! The line `go` sends all requests and waits for the responses. Event streams send theirs when they connect, in turn, because
//! a connection without a request is closed soon; a line waits until it has arrived on all of them. Prints
//! one line of JSON each time: milliseconds to the last byte of the first, 99th of 100 and last response, and the time of the last.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant, SystemTime};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const TIMEOUT: Duration = Duration::from_secs(60);

struct Client {
    stream: TcpStream,
    response: Vec<u8>,
    done: bool,
}

impl Client {
    /// Reads available bytes; returns whether all that is wanted has arrived.
    fn read(&mut self, wanted: &str) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.response.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut windows = self.response.windows(wanted.len());
        Ok(if wanted == "go" { self.is_complete() } else { windows.any(|bytes| bytes == wanted.as_bytes()) })
    }

    fn is_complete(&self) -> bool {
        let Some(end) = self.response.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
        let head = String::from_utf8_lossy(&self.response[..end]).to_ascii_lowercase();
        let length: Option<usize> = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        match length {
            Some(length) => self.response.len() - (end + 4) == length,
            // Chunked: nginx sends a cached response with its length, and others in chunks.
            None => self.response.ends_with(b"0\r\n\r\n"),
        }
    }
}

fn connect(port: u16, count: usize, poll: &Poll, first: &str) -> io::Result<Vec<Client>> {
    (0..count)
        .map(|number| {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
            stream.write_all(first.as_bytes())?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            Ok(Client { stream, response: Vec::new(), done: false })
        })
        .collect()
}

/// Waits until `wanted` has arrived at all clients; prints the times.
fn wait(clients: &mut [Client], poll: &mut Poll, wanted: &str, started: Instant, sent: Duration) -> io::Result<()> {
    let (mut arrived, mut failed) = (Vec::with_capacity(clients.len()), 0);
    let mut events = Events::with_capacity(4096);
    while arrived.len() + failed < clients.len() && started.elapsed() < TIMEOUT {
        poll.poll(&mut events, Some(Duration::from_secs(1)))?;
        for client in events.iter().map(|event| event.token().0).collect::<Vec<_>>() {
            let client = &mut clients[client];
            if client.done {
                continue;
            }
            match client.read(wanted) {
                Ok(false) => continue,
                Ok(true) => arrived.push(started.elapsed()),
                Err(_) => failed += 1,
            }
            client.done = true;
        }
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    let is_good = |client: &&Client| client.done && (wanted != "go" || client.response.starts_with(b"HTTP/1.1 200"));
    let good = clients.iter().filter(is_good).count() - if wanted == "go" { 0 } else { failed };
    let milliseconds = |time: Option<&Duration>| time.map_or(-1.0, |time| time.as_secs_f64() * 1000.0);
    println!(
        r#"{{"good": {good}, "sent_ms": {:.1}, "first_ms": {:.1}, "p99_ms": {:.1}, "last_ms": {:.1}, "last_at_ms": {:.1}}}"#,
        milliseconds(Some(&sent)),
        milliseconds(arrived.first()),
        milliseconds(arrived.get(arrived.len() * 99 / 100)),
        milliseconds(arrived.last()),
        now.as_secs_f64() * 1000.0,
    );
    Ok(())
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, target, count, streams @ ..] = &arguments[..] else {
        panic!("usage: concurrent_clients PORT TARGET COUNT [streams]");
    };
    let token = proconf_bench_peers::from_env("TOKEN");
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut poll = Poll::new()?;
    let first = if streams.is_empty() { "" } else { request.as_str() };
    let mut clients = connect(port.parse().expect("a port"), count.parse().expect("a count"), &poll, first)?;
    println!("ready");
    for wanted in io::stdin().lines() {
        let (wanted, started) = (wanted?, Instant::now());
        for client in &mut clients {
            client.response.clear();
            client.done = false;
            if wanted == "go" {
                client.stream.write_all(request.as_bytes())?;
            }
        }
        let sent = started.elapsed();
        wait(&mut clients, &mut poll, &wanted, started, sent)?;
    }
    Ok(())
}
