//! A fake Admin Control that uses little processor time: one thread, one `epoll`, responses from one buffer.
//!
//! It responds to `GET /api/call-catchup/{room}` with an envelope of exactly 2 KB that begins with the room's name; to a room
//! `slow…` after 1.5 s, to a room `big…` with 1 MB. `GET /calls` returns the number of catch-up calls and of connections. The
//! other endpoints have one short response each.
//!
//! Listens on 127.0.0.1 at `PORT`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const SMALL: usize = 2 * 1024;
const BIG: usize = 1024 * 1024;
const DELAY: Duration = Duration::from_millis(1500);
const SENTENCE: &str = r"Anna: the budget is agreed on.\n";
const LISTENER: Token = Token(0);

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    last: bool,
}

/// A delayed response.
type Later = Reverse<(Instant, usize, String)>;

struct FakeAdminControl {
    connections: HashMap<usize, Connection>,
    later: BinaryHeap<Later>,
    filler: String,
    calls: u64,
    accepted: u64,
}

impl FakeAdminControl {
    fn respond_to(&mut self, token: usize, target: &str, last: bool) {
        let room = target.strip_prefix("/api/call-catchup/");
        if let Some(room) = room {
            self.calls += 1;
            if room.starts_with("slow") {
                self.later.push(Reverse((Instant::now() + DELAY, token, room.to_owned())));
                return;
            }
        }
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.last |= last;
        let out = &mut connection.output;
        match (room, target) {
            (Some(room), _) => catch_up(out, room, &self.filler),
            (None, "/calls") => {
                let counts = format!(r#"{{"calls": {}, "connections": {}}}"#, self.calls, self.accepted);
                respond(out, &[&counts]);
            }
            (None, "/api/configuration") => respond(out, &[r#"{"error":null,"data":{"features":{"audio_call":true}}}"#]),
            (None, "/api/meetings") => respond(out, &[r#"{"error":null,"data":[]}"#]),
            (None, other) if other.starts_with("/api/sessions-status/") => {
                respond(out, &[r#"{"error":null,"data":{"transcript_status":false,"recording_status":false}}"#]);
            }
            _ => out.extend_from_slice(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        }
    }

    /// Sends the delayed responses that are due; returns the time until the next.
    fn send_delayed(&mut self) -> Option<Duration> {
        while let Some(Reverse((due, _, _))) = self.later.peek() {
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Some(wait);
            }
            let Some(Reverse((_, token, room))) = self.later.pop() else { return None };
            if let Some(connection) = self.connections.get_mut(&token) {
                catch_up(&mut connection.output, &room, &self.filler);
            }
            self.flush(token);
        }
        None
    }

    fn ready(&mut self, token: usize) {
        match self.read(token) {
            Ok(()) => self.flush(token),
            Err(_) => drop(self.connections.remove(&token)),
        }
    }

    fn read(&mut self, token: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&token) else { return Ok(()) };
        let mut buffer = [0; 16 * 1024];
        loop {
            match connection.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => connection.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let input = std::mem::take(&mut connection.input);
        let mut rest = &input[..];
        while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&rest[..end]);
            let target = head.split(' ').nth(1).unwrap_or("/");
            let last = head.to_ascii_lowercase().contains("\r\nconnection: close");
            self.respond_to(token, target, last);
            rest = &rest[end + 4..];
        }
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.input.extend_from_slice(rest);
        }
        Ok(())
    }

    fn flush(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        while connection.sent < connection.output.len() {
            match connection.stream.write(&connection.output[connection.sent..]) {
                Ok(n) => connection.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return drop(self.connections.remove(&token)),
            }
        }
        connection.output.clear();
        connection.sent = 0;
        if connection.last {
            self.connections.remove(&token);
        }
    }
}

/// Appends the envelope of a room: its name, dots, then whole sentences, so that the length is exact.
fn catch_up(out: &mut Vec<u8>, room: &str, filler: &str) {
    let (start, end) = (r#"{"error":null,"data":""#, r#""}"#);
    let size = if room.starts_with("big") { BIG } else { SMALL };
    let text = size - start.len() - end.len() - room.len();
    let dots = text % SENTENCE.len();
    respond(out, &[start, room, &".................................. "[..dots], &filler[..text - dots], end]);
}

fn respond(out: &mut Vec<u8>, body: &[&str]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    out.extend_from_slice(head.as_bytes());
    for part in body {
        out.extend_from_slice(part.as_bytes());
    }
}

fn main() -> io::Result<()> {
    let (host, port) = proconf_bench_peers::address();
    let mut listener = TcpListener::bind(format!("{host}:{port}").parse().expect("an address"))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let filler = SENTENCE.repeat(BIG / SENTENCE.len());
    let mut fake = FakeAdminControl { connections: HashMap::new(), later: BinaryHeap::new(), filler, calls: 0, accepted: 0 };
    let mut events = Events::with_capacity(1024);
    let mut next = 1;
    loop {
        let wait = fake.send_delayed();
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() != LISTENER {
                fake.ready(event.token().0);
                continue;
            }
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                poll.registry().register(&mut stream, Token(next), Interest::READABLE | Interest::WRITABLE)?;
                let connection = Connection { stream, input: Vec::new(), output: Vec::new(), sent: 0, last: false };
                fake.connections.insert(next, connection);
                fake.accepted += 1;
                next += 1;
            }
        }
    }
}
