//! A blocking HTTP client, just enough for questions without a body, and the numbers made of its answers.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::set_up::get;

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(40)))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    pub(crate) fn send(&mut self, target: &str, token: &str) -> io::Result<()> {
        self.stream.write_all(get(target, token).as_bytes())
    }

    /// The status of the next answer, once it has been read to its end.
    pub(crate) fn read(&mut self) -> io::Result<u16> {
        loop {
            if let Some(status) = self.whole_answer() {
                return Ok(status);
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.unread.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            }
        }
    }

    /// The status of an answer that is there already.
    pub(crate) fn arrived(&mut self) -> io::Result<Option<u16>> {
        self.stream.set_nonblocking(true)?;
        let status = self.read();
        self.stream.set_nonblocking(false)?;
        match status {
            Ok(status) => Ok(Some(status)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn whole_answer(&mut self) -> Option<u16> {
        let end = self.unread.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(self.unread.get(..end)?).ok()?.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
        self.unread.get(end..end + length)?;
        self.unread.drain(..end + length);
        head.split(' ').nth(1)?.parse().ok()
    }

    pub(crate) fn reset(self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }
}

/// Asks so many times, one after the other: how long each took, and how many answers were no 200.
pub(crate) fn probe(address: SocketAddr, target: &str, token: &str, times: usize) -> io::Result<(Vec<Duration>, usize)> {
    let mut connection = Connection::open(address)?;
    let (mut took, mut bad) = (Vec::with_capacity(times), 0);
    for _ in 0..times {
        let started = Instant::now();
        connection.send(target, token)?;
        bad += usize::from(connection.read()? != 200);
        took.push(started.elapsed());
    }
    Ok((took, bad))
}

/// The value below which so many of a hundred are.
pub(crate) fn percentile(mut took: Vec<Duration>, percent: usize) -> Duration {
    took.sort_unstable();
    took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
}
