//! Replicas and streams: memory of idle streams, delay of an update, cost of the shared and of the local cache, processor time
//! of a request on one to three replicas, and cost of following another replica's call.
//!
//! `cargo bench --bench replicas` starts servers, a sandbox Admin Control and a Redis on loopback and prints a table, in about
//! two minutes. `-- --smoke` is a short run of a few seconds, `-- --streams 5000` opens fewer streams. Responses and the bound
//! on memory are asserted, times are not. It raises its limit on open files, or prints that it cannot.

#![expect(clippy::print_stdout, reason = "prints its results")]

#[expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark cannot continue without it")]
#[expect(dead_code, unreachable_pub, reason = "shared with the suite, which uses all of it")]
#[path = "../../tests/suite/support/redis.rs"]
mod redis;
#[path = "../set_up.rs"]
mod set_up;

mod waiting;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::{Reply, Script};
use set_up::{Process, free_address, sandbox, token, wait_for};

const TIMEOUT: Duration = Duration::from_mins(1);

/// The size of the benchmark.
#[derive(Clone, Copy)]
struct Size {
    streams: u32,
    rooms: u32,
    requests: u32,
    /// The duration of a call that followers wait for.
    call: Duration,
    /// How often Redis is suspended.
    losses: usize,
}

const FULL: Size = Size { streams: 10_000, rooms: 2_000, requests: 60_000, call: Duration::from_secs(3), losses: 10 };
const SMOKE: Size = Size { streams: 200, rooms: 50, requests: 600, call: Duration::from_secs(1), losses: 1 };

/// The bound on the memory of a stream, in KiB.
const MAX_EACH: u64 = 200 * 1024 / 10_000;
/// Open files that a server needs besides its streams. Clients get three quarters of all, divided by the workers.
const OTHER_FILES: u32 = 500;

/// Servers with one SQLite file and one Admin Control.
struct TestBed {
    servers: Vec<(SocketAddr, Process)>,
    script: Script,
    token: String,
    _folder: tempfile::TempDir,
}

impl TestBed {
    fn start(number: usize, settings: &[(&str, &str)]) -> io::Result<Self> {
        let script = Script::echo();
        let base_url = sandbox(script.clone())?;
        let folder = tempfile::tempdir()?;
        let server = || {
            let address = free_address()?;
            let process = set_up::start(address, &base_url, folder.path(), settings)?;
            wait_for(address)?;
            Ok((address, process))
        };
        let servers = (0..number).map(|_| server()).collect::<io::Result<_>>()?;
        Ok(Self { servers, script, token: token(), _folder: folder })
    }

    fn request(&self, target: &str) -> String {
        set_up::get(target, &self.token)
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads until `wanted` has arrived.
fn read_until(stream: &mut TcpStream, wanted: &str) -> io::Result<()> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while !seen.windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes()) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => seen.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(())
}

fn row(what: &str, figures: &str) {
    println!("| {what} | {figures} |");
}

/// Measures many streams of one room: memory while idle, and the delay of an update.
fn streams(size: Size) -> io::Result<()> {
    let bed = TestBed::start(1, &[("APP_LIVE__POLL_INTERVAL", "1s"), ("APP_CATCH_UP__FRESH_FOR", "1ms")])?;
    let Some((address, server)) = bed.servers.first() else { return Ok(()) };
    let before = server.memory();
    let mut open = Vec::new();
    for _ in 0..size.streams {
        let mut stream = connect(*address)?;
        stream.write_all(bed.request("/callCatchUp/r1/live").as_bytes())?;
        open.push(stream);
    }
    for stream in &mut open {
        read_until(stream, "\"r1\"}")?;
    }
    let grown = server.memory().saturating_sub(before);
    let each = grown.checked_div(u64::from(size.streams)).unwrap_or(0);
    row(&format!("memory of {} idle streams", size.streams), &format!("{} MiB, {each} KiB each", grown / 1024));
    // With a few hundred streams the server's first requests dominate.
    if size.streams >= 5_000 && each > MAX_EACH {
        return Err(io::Error::other(format!("more than {MAX_EACH} KiB for a stream")));
    }
    let calls = || bed.script.requests().iter().filter(|request| request.target.contains("/call-catchup/")).count();
    let before = calls();
    bed.script.catch_up("r1", Reply::data("\"update\""));
    while calls() == before {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let (cpu, started) = (server.cpu(), Instant::now());
    for stream in &mut open {
        read_until(stream, "\"update\"}")?;
    }
    let took = started.elapsed();
    row("from Admin Control's new text to the last stream", &format!("{took:.0?}, {:.2} s of CPU", server.cpu() - cpu));
    Ok(())
}

/// Measures the first request for rooms, in turn: p50 and p99 in milliseconds, and the processor time in microseconds.
fn first_requests(settings: &[(&str, &str)], size: Size) -> io::Result<(f64, f64, f64)> {
    let bed = TestBed::start(1, settings)?;
    let Some((address, server)) = bed.servers.first() else { return Ok((0.0, 0.0, 0.0)) };
    let mut stream = connect(*address)?;
    let (cpu, mut took) = (server.cpu(), Vec::new());
    for number in 0..size.rooms {
        let started = Instant::now();
        stream.write_all(bed.request(&format!("/callCatchUp/room{number}")).as_bytes())?;
        read_until(&mut stream, &format!("\"room{number}\"}}"))?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(0.0);
    Ok((at(50), at(99), (server.cpu() - cpu) * 1e6 / f64::from(size.rooms)))
}

/// Measures the processor time of a cache hit over all servers, in microseconds.
fn cpu_of_a_request(number: u32, settings: &[(&str, &str)], size: Size) -> io::Result<f64> {
    let bed = TestBed::start(number as usize, settings)?;
    let mut streams = bed.servers.iter().map(|(address, _)| connect(*address)).collect::<io::Result<Vec<_>>>()?;
    let cpu = || bed.servers.iter().map(|(_, server)| server.cpu()).sum::<f64>();
    let request = bed.request("/callCatchUp/r1");
    let before = cpu();
    for _ in 0..size.requests / number {
        for stream in &mut streams {
            stream.write_all(request.as_bytes())?;
            read_until(stream, "\"r1\"}")?;
        }
    }
    Ok((cpu() - before) * 1e6 / f64::from(size.requests))
}

/// Restarts this program with a higher limit on open files, if it is needed and possible.
fn allow_open_files(needed: u32) -> io::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let mut limits = line.split_whitespace().map(|limit| limit.parse().unwrap_or(u32::MAX));
    let (now, most) = (limits.next().unwrap_or(0), limits.next().unwrap_or(0));
    if now >= needed {
        return Ok(());
    }
    if most < needed {
        let fewer = most.saturating_sub(OTHER_FILES) / 3 * 2;
        return Err(io::Error::other(format!(
            "{needed} open files are needed, and the hard limit is {most} (ulimit -Hn): raise it, or open fewer streams (-- --streams {fewer})"
        )));
    }
    // The servers inherit it.
    let script = r#"ulimit -Sn "$0" && exec "$@""#;
    Err(Command::new("sh").args(["-c", script, &needed.to_string()]).args(std::env::args_os()).exec())
}

/// Returns the size from the command line.
fn size() -> io::Result<Size> {
    let arguments: Vec<String> = std::env::args().collect();
    let mut size = if arguments.iter().any(|argument| argument == "--smoke") { SMOKE } else { FULL };
    if let Some(at) = arguments.iter().position(|argument| argument == "--streams") {
        let number = arguments.get(at + 1).and_then(|number| number.parse().ok());
        size.streams = number.ok_or_else(|| io::Error::other("--streams needs a number"))?;
    }
    Ok(size)
}

fn main() -> io::Result<()> {
    let size = size()?;
    allow_open_files(size.streams / 2 * 3 + OTHER_FILES)?;
    println!("| what | figures |\n|---|---|");
    streams(size)?;
    let redis = redis::Redis::start();
    let url = redis.url();
    let shared = [("APP_CACHE__REDIS_URL", url.as_str())];
    for (what, settings) in [("local", &[] as &[(&str, &str)]), ("shared", &shared)] {
        let (middle, slow, cpu) = first_requests(settings, size)?;
        row(
            &format!("a room's first request, {what} cache"),
            &format!("p50 {middle:.2} ms, p99 {slow:.2} ms, {cpu:.0} µs of CPU"),
        );
    }
    for number in 1..=3 {
        let cpu = cpu_of_a_request(number, &shared, size)?;
        row(&format!("a cache hit, {number} replicas"), &format!("{cpu:.0} µs of CPU"));
    }
    waiting::measure(&redis, size.call, size.losses)
}
