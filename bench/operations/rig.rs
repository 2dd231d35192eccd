//! Shared parts of the operations benchmarks: the server as a process, a stub of Admin Control with a fixed capacity, and a
//! minimal HTTP client.

#[path = "../set_up.rs"]
mod set_up;

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use set_up::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Each request is a call.
const CACHE_OFF: [(&str, &str); 2] = [("APP_CATCH_UP__FRESH_FOR", "0s"), ("APP_CATCH_UP__STALE_IF_ERROR", "0s")];

/// The server as a process, killed on drop.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Process,
    token: String,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start(base_url: &str, settings: &[(&str, &str)]) -> io::Result<Self> {
        Self::start_at(set_up::free_address()?, base_url, settings).await
    }

    /// Starts a server at the address of an earlier one.
    pub(crate) async fn start_at(address: SocketAddr, base_url: &str, settings: &[(&str, &str)]) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let process = set_up::start(address, base_url, folder.path(), &[&CACHE_OFF[..], settings].concat())?;
        tokio::task::spawn_blocking(move || set_up::wait_for(address)).await??;
        Ok(Self { address, process, token: set_up::token(), _folder: folder })
    }

    pub(crate) fn get(&self, target: &str) -> Vec<u8> {
        set_up::get(target, &self.token).into_bytes()
    }

    /// Returns the resident memory, in MiB.
    #[expect(clippy::cast_precision_loss, reason = "printed with one or two decimals")]
    pub(crate) fn memory(&self) -> f64 {
        self.process.memory() as f64 / 1024.0
    }

    /// Returns the processor time used, in seconds.
    pub(crate) fn processor(&self) -> f64 {
        self.process.cpu()
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.0.id())).map_or(0, Iterator::count)
    }

    /// Waits for its end, and returns its exit code.
    pub(crate) async fn wait(&mut self) -> io::Result<i32> {
        loop {
            if let Some(status) = self.process.0.try_wait()? {
                return Ok(status.code().unwrap_or(-1));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let _ = Command::new("kill").args(["-s", name, &self.process.0.id().to_string()]).status();
    }
}

/// Starts a stub that processes some calls at a time; a room's name may set the duration of its call.
pub(crate) async fn stub(concurrency: usize, usual: Duration, large: usize) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}/api", listener.local_addr()?);
    let (permits, large) = (Arc::new(Semaphore::new(concurrency)), Arc::new("x".repeat(large)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(respond(stream, Arc::clone(&permits), usual, Arc::clone(&large)));
        }
    });
    Ok(base_url)
}

async fn respond(mut stream: TcpStream, permits: Arc<Semaphore>, usual: Duration, large: Arc<String>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::new();
    loop {
        while !read.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        let target = String::from_utf8_lossy(&read).split(' ').nth(1).unwrap_or_default().to_owned();
        read.clear();
        let data = if target.ends_with("large") { large.as_str() } else { "text" };
        if let Some(slow) = target.rsplit_once("slow-").and_then(|(_, time)| time.parse().ok()) {
            tokio::time::sleep(Duration::from_millis(slow)).await;
        } else if !target.ends_with("large") {
            let _permit = permits.acquire().await;
            tokio::time::sleep(usual).await;
        }
        let body = format!(r#"{{"error":null,"data":"{data}"}}"#);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    }
}

/// A persistent connection.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// The status of a response, and whether its connection is closed after it.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) close: bool,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    pub(crate) async fn request(&mut self, request: &[u8]) -> io::Result<Response> {
        self.send(request).await?;
        loop {
            if let Some(response) = self.take_response() {
                return Ok(response);
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads at most `most` bytes; returns 0 at the end.
    pub(crate) async fn read(&mut self, most: usize) -> io::Result<usize> {
        let mut buffer = vec![0; most];
        self.stream.read(&mut buffer).await
    }

    /// Opens a connection with the smallest receive buffer.
    pub(crate) async fn narrow(address: SocketAddr) -> io::Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(1)?;
        Ok(Self { stream: socket.connect(address).await?, unread: Vec::new() })
    }

    /// Resets the connection.
    pub(crate) fn reset(self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Whether the peer has reset the connection.
    pub(crate) fn is_reset(&self) -> bool {
        !matches!(socket2::SockRef::from(&self.stream).take_error(), Ok(None))
    }

    fn take_response(&mut self) -> Option<Response> {
        let end = self.unread.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(self.unread.get(..end)?).ok()?.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
        self.unread.get(end..end + length)?;
        self.unread.drain(..end + length);
        Some(Response { status: head.split(' ').nth(1)?.parse().ok()?, close: head.contains("\r\nconnection: close\r\n") })
    }
}

/// Requests health twenty times a second until `stop` is set; returns the 99th percentile, in milliseconds.
pub(crate) async fn probe(address: SocketAddr, stop: Arc<AtomicUsize>) -> f64 {
    let (mut took, mut client) = (Vec::new(), None);
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while stop.load(Ordering::Relaxed) == 0 {
        ticks.tick().await;
        let started = Instant::now();
        let mut open = match client.take() {
            Some(open) => open,
            None => match Client::open(address).await {
                Ok(open) => open,
                Err(_) => continue,
            },
        };
        if open.request(b"GET /health/live HTTP/1.1\r\nHost: bench\r\n\r\n").await.is_ok_and(|response| !response.close) {
            client = Some(open);
        }
        took.push(started.elapsed());
    }
    percentile(&mut took, 99)
}

/// Returns a percentile, in milliseconds.
pub(crate) fn percentile(took: &mut [Duration], percent: usize) -> f64 {
    took.sort_unstable();
    let at = (took.len() * percent / 100).min(took.len().saturating_sub(1));
    took.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

/// Returns the heading of the results: benchmark, time, commit and machine.
pub(crate) fn heading(what: &str) -> String {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!(
        "{what}\n{}, commit {}, {} cores of {}, Linux {}\n",
        output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        output("git", &["rev-parse", "--short", "HEAD"]),
        std::thread::available_parallelism().map_or(1, usize::from),
        processor.trim_start_matches([' ', '\t', ':']),
        output("uname", &["-r"]),
    )
}

/// Whether this is the short run (`--smoke`).
pub(crate) fn smoke() -> bool {
    std::env::args().any(|argument| argument == "--smoke")
}
