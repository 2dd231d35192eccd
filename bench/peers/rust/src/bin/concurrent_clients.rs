//! Many concurrent clients: connects all of them, prints `ready`, waits for a line, sends all requests, and waits for the responses.
//!
//!     concurrent_clients PORT TARGET COUNT      with TOKEN in the environment
//!
//! Prints one line of JSON: milliseconds from the first byte sent to the last byte of the first, middle and last response.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const TIMEOUT: Duration = Duration::from_secs(30);

struct Client {
    stream: TcpStream,
    response: Vec<u8>,
    done: bool,
}

impl Client {
    /// Reads available bytes; returns whether the response is complete.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.response.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(self.is_complete()),
                Err(error) => return Err(error),
            }
        }
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

fn connect(port: u16, count: usize, poll: &Poll) -> io::Result<Vec<Client>> {
    (0..count)
        .map(|number| {
            let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            Ok(Client { stream, response: Vec::new(), done: false })
        })
        .collect()
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, target, count] = &arguments[..] else { panic!("usage: concurrent_clients PORT TARGET COUNT") };
    let port: u16 = port.parse().expect("a port");
    let count: usize = count.parse().expect("a count");
    let token = proconf_bench_peers::from_env("TOKEN");
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n");

    let mut poll = Poll::new()?;
    let mut clients = connect(port, count, &poll)?;
    println!("ready");
    io::stdin().read_line(&mut String::new())?;

    let started = Instant::now();
    for client in &mut clients {
        client.stream.write_all(request.as_bytes())?;
    }
    let sent = started.elapsed();
    let (mut arrived, mut failed) = (Vec::with_capacity(count), 0);
    let mut events = Events::with_capacity(4096);
    while arrived.len() + failed < count && started.elapsed() < TIMEOUT {
        poll.poll(&mut events, Some(Duration::from_secs(1)))?;
        for event in &events {
            let client = &mut clients[event.token().0];
            if client.done {
                continue;
            }
            match client.read() {
                Ok(false) => {}
                Ok(true) => {
                    client.done = true;
                    arrived.push(started.elapsed());
                }
                Err(_) => {
                    client.done = true;
                    failed += 1;
                }
            }
        }
    }
    let good = clients.iter().filter(|client| client.response.starts_with(b"HTTP/1.1 200")).count();
    let milliseconds = |time: Option<&Duration>| time.map_or(-1.0, |time| time.as_secs_f64() * 1000.0);
    println!(
        r#"{{"good": {good}, "sent_ms": {:.1}, "first_ms": {:.1}, "middle_ms": {:.1}, "last_ms": {:.1}}}"#,
        milliseconds(Some(&sent)),
        milliseconds(arrived.first()),
        milliseconds(arrived.get(arrived.len() / 2)),
        milliseconds(arrived.last()),
    );
    Ok(())
}
