//! Where in a client's bytes the heads and bodies of its requests begin and end.
//!
//! The HTTP parser behind it stays the judge of what a request is; this only keeps count beside it, so that a connection can
//! have deadlines and limits that the parser does not know. It therefore reads bytes exactly as that parser does: HTTP/1.1
//! alone has `Transfer-Encoding`, `chunked` goes before a length, `CONNECT` has no end. It knows no socket and no clock.

mod host;
mod trailer;

use memchr::memchr;

/// The longest request line, in bytes.
const MAX_REQUEST_LINE: usize = 8 * 1024;
/// The longest head; the trailers of a body, and the line before a chunk, may be as long by themselves.
const MAX_HEAD: usize = 16 * 1024;
/// More digits than a size has.
const MAX_SIZE_DIGITS: usize = 16;

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request: nothing has come yet, or the last one is complete.
    Between,
    /// A head that has begun.
    Head,
    /// A body that is not complete.
    Body,
    /// Nobody knows, up to the end of the connection.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RequestLine,
    HeaderLine,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    Trailer,
    Unknown,
}

/// What one head has said so far.
#[derive(Debug, Default)]
struct Head {
    /// Bytes of it, and of trailers.
    bytes: usize,
    /// HTTP/1.1; others have no chunks.
    current: bool,
    connect: bool,
    length: Option<u64>,
    chunked: bool,
    /// What its chunks have announced, all together.
    announced: u64,
    /// The host in its target, which `Host` must say too.
    host: Option<Vec<u8>>,
}

/// Headers that mean something to the two ends of a connection, which the parser would act on by itself.
const HOP_HEADERS: [&[u8]; 2] = [b"expect:", b"upgrade:"];

/// Bytes that must not reach the parser, from this place in what was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) usize);

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    head: Head,
    /// The line that is not complete yet, where it began in an earlier read.
    line: Vec<u8>,
    /// How many requests have begun.
    begun: u32,
    /// The last one asks whether its body is wanted.
    asks: bool,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { state: State::RequestLine, head: Head::default(), line: Vec::new(), begun: 0, asks: false }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::RequestLine if self.head.bytes == 0 => Phase::Between,
            State::RequestLine | State::HeaderLine => Phase::Head,
            State::Body(_) | State::ChunkSize | State::ChunkData(_) | State::Trailer => Phase::Body,
            State::Unknown => Phase::Unknown,
        }
    }

    /// How many requests have begun; it wraps.
    pub(super) fn begun(&self) -> u32 {
        self.begun
    }

    /// Whether the client waits for a word before it sends the body that is next; said once.
    pub(super) fn asks(&mut self) -> bool {
        self.phase() == Phase::Body && std::mem::take(&mut self.asks)
    }

    /// How many bytes certainly belong to the request that is being read.
    pub(super) fn missing(&self) -> usize {
        match self.state {
            State::Body(left) | State::ChunkData(left) => usize::try_from(left).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// How many bytes the chunks of the body that is being read have come to, by what was said of them.
    pub(super) fn announced(&self) -> u64 {
        self.head.announced
    }

    /// Takes what was read, up to the end of one request, gives how much that is, and makes the values of two headers into ones
    /// that nobody knows. After an `Upgrade` the parser would take whatever follows for a body without end; a server may ignore
    /// that header (RFC 9110 section 7.8). To an `Expect` it would say `100 Continue` before anybody has decided that the body
    /// is wanted.
    ///
    /// # Errors
    ///
    /// [`Refused`] if a limit is passed, a line of a head or a trailer does not end in CR LF, or a `Host` names no one host, or
    /// another than the target does.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Refused> {
        let mut at = 0;
        while at < bytes.len() {
            at = match self.state {
                State::Unknown => return Ok(bytes.len()),
                State::Body(left) => {
                    let taken = take(left, bytes.len() - at);
                    if left == taken as u64 {
                        self.next_request();
                    } else {
                        self.state = State::Body(left - taken as u64);
                    }
                    at + taken
                }
                State::ChunkData(left) => {
                    let taken = take(left, bytes.len() - at);
                    self.state = if left == taken as u64 { State::ChunkSize } else { State::ChunkData(left - taken as u64) };
                    at + taken
                }
                State::RequestLine | State::HeaderLine | State::ChunkSize | State::Trailer => self.read_line(bytes, at)?,
            };
            if self.phase() == Phase::Between {
                break;
            }
        }
        Ok(at)
    }

    fn next_request(&mut self) {
        self.state = State::RequestLine;
        self.head = Head::default();
        self.asks = false;
    }

    /// Takes the line that begins, or goes on, at `at`, as far as it is there; gives the place behind it.
    fn read_line(&mut self, bytes: &mut [u8], at: usize) -> Result<usize, Refused> {
        let Some(rest) = bytes.get_mut(at..) else {
            return Ok(bytes.len());
        };
        if self.phase() == Phase::Between {
            self.begun = self.begun.wrapping_add(1);
        }
        let (length, complete) = memchr(b'\n', rest).map_or((rest.len(), false), |end| (end + 1, true));
        self.head.bytes += length;
        let too_long = self.state == State::RequestLine && self.line.len() + length > MAX_REQUEST_LINE;
        if too_long || self.head.bytes > MAX_HEAD {
            return Err(Refused(at));
        }
        let part = rest.get_mut(..length).unwrap_or_default();
        let armed = self.armed_from(part);
        if !complete {
            self.line.extend_from_slice(part);
        } else if self.line.is_empty() {
            // The usual case: the whole line is here.
            self.take_line(part, at)?;
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(part);
            self.take_line(&line, at)?;
        }
        for byte in armed.and_then(|from| part.get_mut(from..)).unwrap_or_default() {
            if byte.is_ascii_alphanumeric() {
                *byte = b'-';
            }
        }
        Ok(at + length)
    }

    /// Where in this part of a header's line the value begins, or goes on, that the parser would act on.
    fn armed_from(&self, part: &[u8]) -> Option<usize> {
        let first = self.line.first().or(part.first())?;
        if self.state != State::HeaderLine || !matches!(first, b'e' | b'E' | b'u' | b'U') {
            return None;
        }
        let line = || self.line.iter().chain(part).map(u8::to_ascii_lowercase);
        let name = HOP_HEADERS.iter().find(|name| line().take(name.len()).eq(name.iter().copied()))?;
        Some(name.len().saturating_sub(self.line.len()))
    }

    /// Takes a whole line with its end.
    fn take_line(&mut self, line: &[u8], at: usize) -> Result<(), Refused> {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(Refused(at));
        };
        match self.state {
            // Empty lines before a request are none of it (RFC 9112 section 2.2), but count.
            State::RequestLine if line.is_empty() => {}
            State::RequestLine => {
                self.head.current = line.ends_with(b" HTTP/1.1");
                self.head.connect = line.starts_with(b"CONNECT ");
                self.head.host = host::in_target(line).map(<[u8]>::to_vec);
                self.state = State::HeaderLine;
            }
            State::HeaderLine if line.is_empty() => self.head_read(),
            State::HeaderLine => {
                if !self.header(line) {
                    return Err(Refused(at));
                }
            }
            State::ChunkSize => {
                if !self.chunk_size(line) {
                    return Err(Refused(at));
                }
            }
            State::Trailer if line.is_empty() => self.next_request(),
            State::Trailer if !trailer::is_field(line) => return Err(Refused(at)),
            State::Trailer | State::Body(_) | State::ChunkData(_) | State::Unknown => {}
        }
        Ok(())
    }

    /// `false` if this header must go no further.
    fn header(&mut self, line: &[u8]) -> bool {
        let Some(colon) = memchr(b':', line) else {
            return true;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let is_another = |host: &[u8]| !host.eq_ignore_ascii_case(value);
                return host::is_one_host(value) && !self.head.host.as_deref().is_some_and(is_another);
            }
            // Others, beside it or alone, are ignored.
            6 if self.head.current && name.eq_ignore_ascii_case(b"expect") => {
                self.asks |=
                    value.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"100-continue"));
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.head.length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.head.chunked = self.head.current && value.eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
        true
    }

    fn head_read(&mut self) {
        self.head.bytes = 0;
        match self.head.length {
            _ if self.head.chunked => self.state = State::ChunkSize,
            Some(length) if length > 0 => self.state = State::Body(length),
            _ if self.head.connect => self.state = State::Unknown,
            _ => self.next_request(),
        }
    }

    /// The line before a chunk; behind a chunk stands an empty one. `false` if it says a size that another reader could take for
    /// another one: more digits than a size has, of which the parser reads all, or anything but an extension right behind them.
    fn chunk_size(&mut self, line: &[u8]) -> bool {
        self.head.bytes = 0;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = line.get(digits..).unwrap_or_default();
        let is_plain = extension.is_empty() || (extension.starts_with(b";") && extension.len() > 1);
        if digits > MAX_SIZE_DIGITS || !is_plain {
            return false;
        }
        let size = line.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(Ok(size)) = size.map(|size| u64::from_str_radix(size, 16)) {
            self.head.announced = self.head.announced.saturating_add(size);
            self.state = if size == 0 { State::Trailer } else { State::ChunkData(size) };
        }
        true
    }
}

/// How many of `there` bytes belong to what has `left` bytes left.
fn take(left: u64, there: usize) -> usize {
    usize::try_from(left).map_or(there, |left| left.min(there))
}

#[cfg(test)]
mod tests;
