//! Many askers at once: connects all of them, says `ready`, waits for a line, sends all requests, and waits for the answers.
//!
//!     askers PORT TARGET COUNT      with TOKEN in the environment
//!
//! Prints one line of JSON: milliseconds from the first byte sent to the last byte of the first, middle and last answer.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const PATIENCE: Duration = Duration::from_secs(30);

struct RequestContext {
    stream: TcpStream,
    answer: Vec<u8>,
    done: bool,
}

impl RequestContext {
    /// Reads what is there; whether the answer is whole now.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.answer.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(self.is_whole()),
                Err(error) => return Err(error),
            }
        }
    }

    fn is_whole(&self) -> bool {
        let Some(end) = self.answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
        let head = String::from_utf8_lossy(&self.answer[..end]).to_ascii_lowercase();
        let length: Option<usize> = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        match length {
            Some(length) => self.answer.len() - (end + 4) == length,
            // Chunked: nginx sends a kept answer whole, a passed one as it comes.
            None => self.answer.ends_with(b"0\r\n\r\n"),
        }
    }
}

fn connect(port: u16, count: usize, poll: &Poll) -> io::Result<Vec<RequestContext>> {
    (0..count)
        .map(|number| {
            let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            Ok(RequestContext { stream, answer: Vec::new(), done: false })
        })
        .collect()
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, target, count] = &arguments[..] else { panic!("usage: askers PORT TARGET COUNT") };
    let port: u16 = port.parse().expect("a port");
    let count: usize = count.parse().expect("a count");
    let token = proconf_bench_peers::from_env("TOKEN");
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n");

    let mut poll = Poll::new()?;
    let mut askers = connect(port, count, &poll)?;
    println!("ready");
    io::stdin().read_line(&mut String::new())?;

    let started = Instant::now();
    for asker in &mut askers {
        asker.stream.write_all(request.as_bytes())?;
    }
    let sent = started.elapsed();
    let (mut arrived, mut broken) = (Vec::with_capacity(count), 0);
    let mut events = Events::with_capacity(4096);
    while arrived.len() + broken < count && started.elapsed() < PATIENCE {
        poll.poll(&mut events, Some(Duration::from_secs(1)))?;
        for event in &events {
            let asker = &mut askers[event.token().0];
            if asker.done {
                continue;
            }
            match asker.read() {
                Ok(false) => {}
                Ok(true) => {
                    asker.done = true;
                    arrived.push(started.elapsed());
                }
                Err(_) => {
                    asker.done = true;
                    broken += 1;
                }
            }
        }
    }
    let good = askers.iter().filter(|asker| asker.answer.starts_with(b"HTTP/1.1 200")).count();
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
