//! Fixture of the benchmarks: the server as a process, a stub of Admin Control with a fixed capacity, and an HTTP client.

use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proconf_app_server::auth::token::{TokenConfig, Tokens};
use proconf_app_server::clock::Clock;
use proconf_app_server::room::NameComparison;
use proconf_app_server::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const SECRET: &str = "a bench secret: kX9vQ2mZ7rT4wY8uB1nC5pL0";
/// Clock ticks per second in `/proc/PID/stat`.
const TICKS: f64 = 100.0;
/// Each request is a call.
pub(crate) const CACHE_OFF: [(&str, &str); 2] = [("APP_CATCH_UP__FRESH_FOR", "0s"), ("APP_CATCH_UP__STALE_IF_ERROR", "0s")];

/// The server as a process, killed on drop.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Child,
    token: String,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start(base_url: &str, settings: &[(&str, &str)]) -> io::Result<Self> {
        let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::start_at(free, base_url, settings).await
    }

    /// Starts a server at the address of an earlier one, and waits until it accepts connections.
    pub(crate) async fn start_at(address: SocketAddr, base_url: &str, settings: &[(&str, &str)]) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
        command.arg("serve").current_dir(folder.path()).env_clear().envs([
            ("APP_SERVER__LISTEN", address.to_string().as_str()),
            ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0"),
            ("APP_ADMIN_CONTROL__BASE_URL", base_url),
            ("APP_AUTH__JWT_SECRET", SECRET),
            // All streams have one token.
            ("APP_LIVE__MAX_PER_CALLER", "1000000"),
            // One line per request would dominate the measurement.
            ("RUST_LOG", "warn"),
        ]);
        let process = command.envs(settings.iter().copied()).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { address, process, token: tokens().issue_user_token("u1", "s1"), _folder: folder };
        let started = Instant::now();
        while let Err(error) = TcpStream::connect(address).await {
            if started.elapsed() > Duration::from_secs(20) {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    pub(crate) fn get(&self, target: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\r\n", self.token).into_bytes()
    }

    /// Returns the resident memory, in MiB.
    pub(crate) fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    /// Returns the user and system time used, in seconds.
    pub(crate) fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).map_or(0, Iterator::count)
    }

    /// Waits for its end, and returns its exit code.
    pub(crate) async fn wait(&mut self) -> io::Result<i32> {
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status.code().unwrap_or(-1));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let _ = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns what issues and verifies tokens, as the server does.
pub(crate) fn tokens() -> Tokens {
    let config = TokenConfig {
        secret: Secret::new(SECRET),
        previous_secrets: Vec::new(),
        issuer: "proconf-app-server".to_owned(),
        audience: "proconf-app-server".to_owned(),
        user_ttl: Duration::from_hours(1),
        guest_ttl: Some(Duration::from_hours(1)),
        room_names: NameComparison::Exact,
    };
    Tokens::new(config, Clock::system())
}

/// A stub of Admin Control. A room `…slow-N` takes N milliseconds; the text of a room `…large` is long.
pub(crate) struct Stub {
    pub(crate) base_url: String,
    calls: Arc<AtomicUsize>,
}

impl Stub {
    /// Starts a stub that processes some calls at a time, each for the usual time.
    pub(crate) async fn start(concurrency: usize, usual: Duration, large: usize) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let stub = Self { base_url: format!("http://{}/api", listener.local_addr()?), calls: Arc::default() };
        let (permits, large) = (Arc::new(Semaphore::new(concurrency)), Arc::new("x".repeat(large)));
        let calls = Arc::clone(&stub.calls);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(respond(stream, Arc::clone(&permits), usual, Arc::clone(&large), Arc::clone(&calls)));
            }
        });
        Ok(stub)
    }

    /// Returns the number of catch-up calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn respond(
    mut stream: TcpStream,
    permits: Arc<Semaphore>,
    usual: Duration,
    large: Arc<String>,
    calls: Arc<AtomicUsize>,
) -> io::Result<()> {
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
        calls.fetch_add(usize::from(target.contains("/call-catchup/")), Ordering::SeqCst);
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

    /// Opens a connection with the smallest receive buffer.
    pub(crate) async fn narrow(address: SocketAddr) -> io::Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(1)?;
        Ok(Self { stream: socket.connect(address).await?, unread: Vec::new() })
    }

    /// Sends these bytes, if any, and reads the next response.
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

/// What happened to the requests of all clients.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) responses: AtomicUsize,
    lost: AtomicUsize,
    not_200: AtomicUsize,
    /// Responses without `Connection: close` after the server was not ready.
    without_close: AtomicUsize,
    /// No client opens another connection.
    pub(crate) not_ready: AtomicBool,
    pub(crate) is_over: AtomicBool,
}

impl Count {
    /// Prints the counts; returns whether nothing was lost.
    pub(crate) fn print(&self) -> bool {
        let load = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        print("responses", load(&self.responses));
        print("lost (reset, refused, cut off)", load(&self.lost));
        print("responses other than 200", load(&self.not_200));
        print("responses without Connection: close when not ready", load(&self.without_close));
        load(&self.lost) + load(&self.not_200) == 0
    }
}

/// Prints one line of results.
#[expect(clippy::print_stdout, reason = "prints the results")]
pub(crate) fn print(what: &str, figure: impl std::fmt::Display) {
    println!("{what:<76}{figure:>14}");
}

/// Sends requests without pause, over a persistent connection or one for each request.
pub(crate) async fn send_requests(address: SocketAddr, request: Vec<u8>, keep_alive: bool, count: Arc<Count>) {
    let mut idle: Option<Client> = None;
    while !count.is_over.load(Ordering::SeqCst) {
        let not_ready = count.not_ready.load(Ordering::SeqCst);
        if idle.is_none() && not_ready {
            return;
        }
        let exchange = async {
            let mut client = match idle.take() {
                Some(client) => client,
                None => Client::open(address).await?,
            };
            let response = client.request(&request).await?;
            Ok::<_, io::Error>((client, response))
        };
        match exchange.await {
            Err(error) => {
                print("lost", error);
                count.lost.fetch_add(1, Ordering::SeqCst);
            }
            Ok((client, response)) => {
                count.responses.fetch_add(1, Ordering::SeqCst);
                count.not_200.fetch_add(usize::from(response.status != 200), Ordering::SeqCst);
                count.without_close.fetch_add(usize::from(not_ready && !response.close), Ordering::SeqCst);
                idle = Some(client).filter(|_| keep_alive && !response.close);
            }
        }
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
