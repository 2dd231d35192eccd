//! Set-up of the benchmarks: the server as a process, a sandbox Admin Control, and a token.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use proconf_app_server::auth::token::{TokenConfig, Tokens};
use proconf_app_server::clock::Clock;
use proconf_app_server::room::NameComparison;
use proconf_app_server::sandbox::{Sandbox, Script};
use proconf_app_server::secret::Secret;

const SECRET: &str = "a bench secret: kX9vQ2mZ7rT4wY8uB1nC5pL0";
/// Clock ticks per second in `/proc/PID/stat`.
const TICKS: f64 = 100.0;

/// A process that is killed when it is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Returns the resident memory, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Returns the processor time used so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        // User and system time.
        let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        ticks.sum::<f64>() / TICKS
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the server with its database in `folder`. It does not listen yet.
pub(crate) fn start(address: SocketAddr, base_url: &str, folder: &Path, settings: &[(&str, &str)]) -> io::Result<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
    command.arg("serve").current_dir(folder).env_clear().envs([
        ("APP_SERVER__LISTEN", address.to_string().as_str()),
        ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0"),
        ("APP_ADMIN_CONTROL__BASE_URL", base_url),
        ("APP_AUTH__JWT_SECRET", SECRET),
        // All streams have one token.
        ("APP_LIVE__MAX_PER_CALLER", "1000000"),
        // One line per request would dominate the measurement.
        ("RUST_LOG", "warn"),
    ]);
    let child = command.envs(settings.iter().copied()).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(Process(child))
}

/// Returns an address that is free, most likely.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Waits until the address accepts connections.
pub(crate) fn wait_for(address: SocketAddr) -> io::Result<()> {
    let started = Instant::now();
    while let Err(error) = TcpStream::connect(address) {
        if started.elapsed() > Duration::from_secs(20) {
            return Err(error);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

/// Starts a sandbox that responds by `script`, and returns its base URL. It ends with this process.
pub(crate) fn sandbox(script: Script) -> io::Result<String> {
    let (started, start) = mpsc::channel();
    std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let sandbox = Sandbox::bind(SocketAddr::from(([127, 0, 0, 1], 0)), script)?;
            let _ = started.send(sandbox.base_url());
            sandbox.run().await
        })
    });
    start.recv().map_err(io::Error::other)
}

/// Returns a user's token, valid for an hour.
pub(crate) fn token() -> String {
    let name = || "proconf-app-server".to_owned();
    let (user_ttl, secret) = (Duration::from_hours(1), Secret::new(SECRET));
    let config = TokenConfig {
        secret,
        previous_secrets: Vec::new(),
        issuer: name(),
        audience: name(),
        user_ttl,
        guest_ttl: None,
        room_names: NameComparison::Exact,
    };
    Tokens::new(config, Clock::system()).issue_user_token("u1", "s1")
}

/// Returns a GET request with that token.
pub(crate) fn get(target: &str, token: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n")
}
