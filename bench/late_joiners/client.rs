//! A minimal blocking HTTP client for requests without a body, and percentiles of its durations.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::set_up::get;

/// A persistent connection.
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

    /// Reads the next response to its end, and returns its status.
    pub(crate) fn read(&mut self) -> io::Result<u16> {
        loop {
            if let Some(status) = self.take_response() {
                return Ok(status);
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.unread.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            }
        }
    }

    /// Returns the status of a response that has already arrived.
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

    fn take_response(&mut self) -> Option<u16> {
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

/// Sends requests in turn; returns their durations, and how many responses were not 200.
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

/// Returns a percentile.
pub(crate) fn percentile(mut took: Vec<Duration>, percent: usize) -> Duration {
    took.sort_unstable();
    took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
}
