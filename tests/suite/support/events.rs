//! Reads a stream of server-sent events from the socket.

use super::{TEST_TIMEOUT, secrets};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// One event, comment or other block of lines.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: Option<String>,
    pub id: Option<String>,
    pub retry: Option<u64>,
    pub data: Option<String>,
}

/// An open stream.
pub struct Events {
    stream: TcpStream,
    /// The head of the response.
    pub head: String,
    unread: Vec<u8>,
    text: String,
    has_ended: bool,
}

impl Events {
    /// Opens `target` with these header lines; fails unless the status is 200.
    pub fn open(address: SocketAddr, target: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: t\r\n{headers}\r\n");
        secrets::register_request(request.as_bytes());
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = Self { stream, head: String::new(), unread: Vec::new(), text: String::new(), has_ended: false };
        let end = loop {
            if let Some(end) = find(&events.unread, b"\r\n\r\n") {
                break end;
            }
            assert!(events.read_more(), "the connection ends in the head");
        };
        events.head = String::from_utf8(events.unread.drain(..end + 4).collect()).unwrap();
        assert!(events.head.starts_with("HTTP/1.1 200 "), "{}", events.head);
        events
    }

    /// Opens the live stream of `room` with a token.
    pub fn subscribe(address: SocketAddr, room: &str, token: &str) -> Self {
        Self::open(address, &format!("/callCatchUp/{room}/live"), &format!("Authorization: Bearer {token}\r\n"))
    }

    /// The next event that has data, without its `retry`; `None` at the end of the stream.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.next_block()?;
            if let Some(data) = &event.data {
                secrets::register_response(data.as_bytes());
                return Some(Event { retry: None, ..event });
            }
        }
    }

    /// The next event, a comment between events, or the lines before the end; `None` at the end of the stream.
    pub fn next_block(&mut self) -> Option<Event> {
        loop {
            let end = self.text.find("\n\n").map(|end| end + 2).or((self.text == ":\n").then_some(2));
            if let Some(end) = end {
                let block: String = self.text.drain(..end).collect();
                return Some(parse(&block));
            }
            if self.has_ended || !self.next_chunk() {
                self.has_ended = true;
                return (!self.text.is_empty()).then(|| parse(&std::mem::take(&mut self.text)));
            }
        }
    }

    /// Reads one chunk; `false` at the final one. A truncated stream panics.
    fn next_chunk(&mut self) -> bool {
        loop {
            if let Some(line) = find(&self.unread, b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&self.unread[..line]).unwrap(), 16).unwrap();
                if self.unread.len() >= line + 2 + size + 2 {
                    let chunk: Vec<u8> = self.unread.drain(..line + 2 + size + 2).collect();
                    self.text.push_str(std::str::from_utf8(&chunk[line + 2..line + 2 + size]).unwrap());
                    return size > 0;
                }
            }
            assert!(self.read_more(), "the stream is cut off");
        }
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer).expect("something comes");
        self.unread.extend_from_slice(&buffer[..read]);
        read > 0
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.name = Some(value.to_owned()),
            "id" => event.id = Some(value.to_owned()),
            "retry" => event.retry = Some(value.parse().unwrap()),
            "data" => match &mut event.data {
                Some(data) => *data = format!("{data}\n{value}"),
                None => event.data = Some(value.to_owned()),
            },
            _ => assert_eq!(field, "", "{block}"),
        }
    }
    event
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
