//! Replicas and streams, measured: memory of idle watchers, how fast news reach the last one, what the shared window costs
//! against the local one, the CPU of a request on one, two and three replicas, and what waiting for another replica costs.
//!
//! `cargo bench --bench replicas` starts servers, a sandbox Admin Control and a Redis on loopback and prints a table, in some two
//! minutes once it is built; `-- --smoke` does a little of everything in a few seconds, `-- --watchers 5000` does with fewer.
//! Answers are asserted and so is the bound on memory, times are only shown. It raises its own limit on open files, and says so
//! where the machine does not let it.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[expect(clippy::unwrap_used, clippy::expect_used, reason = "without it there is nothing to measure")]
#[expect(dead_code, unreachable_pub, reason = "the suite's, which uses all of it")]
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

const PATIENCE: Duration = Duration::from_mins(1);

/// How much of everything.
#[derive(Clone, Copy)]
struct Size {
    watchers: u32,
    rooms: u32,
    requests: u32,
    /// How long a call takes that others wait for.
    takes: Duration,
    /// How often Redis stands still.
    losses: usize,
}

const FULL: Size = Size { watchers: 10_000, rooms: 2_000, requests: 60_000, takes: Duration::from_secs(3), losses: 10 };
const SMOKE: Size = Size { watchers: 200, rooms: 50, requests: 600, takes: Duration::from_secs(1), losses: 1 };

/// The bound on the memory of 10,000 watchers, in KiB, for each of them.
const MOST_EACH: u64 = 200 * 1024 / 10_000;
/// Open files that a server needs beside those of its watchers; of all it has, it gives clients three of four, and each worker its
/// share of these.
const OTHER_FILES: u32 = 500;

/// Servers on one SQLite file and one Admin Control.
struct Stage {
    servers: Vec<(SocketAddr, Process)>,
    script: Script,
    token: String,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn set(number: usize, settings: &[(&str, &str)]) -> io::Result<Self> {
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
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads until `wanted` has come.
fn read_until(stream: &mut TcpStream, wanted: &str) -> io::Result<()> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while !seen.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
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

/// Many watchers of one room: what they take while nothing happens, and when news reach the last.
fn watchers(size: Size) -> io::Result<()> {
    let stage = Stage::set(1, &[("APP_LIVE__POLL_INTERVAL", "1s"), ("APP_CATCH_UP__FRESH_FOR", "1ms")])?;
    let Some((address, server)) = stage.servers.first() else { return Ok(()) };
    let before = server.memory();
    let mut watching = Vec::new();
    for _ in 0..size.watchers {
        let mut stream = connect(*address)?;
        stream.write_all(stage.request("/callCatchUp/r1/live").as_bytes())?;
        watching.push(stream);
    }
    for stream in &mut watching {
        read_until(stream, "\"r1\"}")?;
    }
    let grown = server.memory().saturating_sub(before);
    let each = grown.checked_div(u64::from(size.watchers)).unwrap_or(0);
    row(&format!("memory of {} idle watchers", size.watchers), &format!("{} MiB, {each} KiB each", grown / 1024));
    // A few hundred say more about the server's first requests than about watchers.
    if size.watchers >= 5_000 && each > MOST_EACH {
        return Err(io::Error::other(format!("more than {MOST_EACH} KiB for a watcher")));
    }
    let asked = || stage.script.asked().iter().filter(|asked| asked.target.contains("/call-catchup/")).count();
    let calls = asked();
    stage.script.catch_up("r1", Reply::data("\"news\""));
    while asked() == calls {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let (cpu, started) = (server.cpu(), Instant::now());
    for stream in &mut watching {
        read_until(stream, "\"news\"}")?;
    }
    let took = started.elapsed();
    row("from Admin Control's new text to the last of them", &format!("{took:.0?}, {:.2} s of CPU", server.cpu() - cpu));
    Ok(())
}

/// Rooms that nobody asked for yet, one after the other: the middle and the slow end of the times, in milliseconds.
fn first_asks(settings: &[(&str, &str)], size: Size) -> io::Result<(f64, f64, f64)> {
    let stage = Stage::set(1, settings)?;
    let Some((address, server)) = stage.servers.first() else { return Ok((0.0, 0.0, 0.0)) };
    let mut stream = connect(*address)?;
    let (cpu, mut took) = (server.cpu(), Vec::new());
    for number in 0..size.rooms {
        let started = Instant::now();
        stream.write_all(stage.request(&format!("/callCatchUp/room{number}")).as_bytes())?;
        read_until(&mut stream, &format!("\"room{number}\"}}"))?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(0.0);
    Ok((at(50), at(99), (server.cpu() - cpu) * 1e6 / f64::from(size.rooms)))
}

/// CPU of a request that the window answers, over all servers, in microseconds.
fn cpu_of_a_request(number: u32, settings: &[(&str, &str)], size: Size) -> io::Result<f64> {
    let stage = Stage::set(number as usize, settings)?;
    let mut streams = stage.servers.iter().map(|(address, _)| connect(*address)).collect::<io::Result<Vec<_>>>()?;
    let cpu = || stage.servers.iter().map(|(_, server)| server.cpu()).sum::<f64>();
    let request = stage.request("/callCatchUp/r1");
    let before = cpu();
    for _ in 0..size.requests / number {
        for stream in &mut streams {
            stream.write_all(request.as_bytes())?;
            read_until(stream, "\"r1\"}")?;
        }
    }
    Ok((cpu() - before) * 1e6 / f64::from(size.requests))
}

/// Starts this program again with as many open files as it needs, where it may have fewer now but could have more.
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
            "{needed} open files are needed, and the hard limit is {most} (ulimit -Hn): raise it, or ask for fewer (-- --watchers {fewer})"
        )));
    }
    // The servers that are started from here inherit it.
    let script = r#"ulimit -Sn "$0" && exec "$@""#;
    Err(Command::new("sh").args(["-c", script, &needed.to_string()]).args(std::env::args_os()).exec())
}

/// What was asked for on the command line.
fn size() -> io::Result<Size> {
    let arguments: Vec<String> = std::env::args().collect();
    let mut size = if arguments.iter().any(|argument| argument == "--smoke") { SMOKE } else { FULL };
    if let Some(at) = arguments.iter().position(|argument| argument == "--watchers") {
        let number = arguments.get(at + 1).and_then(|number| number.parse().ok());
        size.watchers = number.ok_or_else(|| io::Error::other("--watchers needs a number"))?;
    }
    Ok(size)
}

fn main() -> io::Result<()> {
    let size = size()?;
    allow_open_files(size.watchers / 2 * 3 + OTHER_FILES)?;
    println!("| what | figures |\n|---|---|");
    watchers(size)?;
    let redis = redis::Redis::start();
    let url = redis.url();
    let shared = [("APP_CACHE__REDIS_URL", url.as_str())];
    for (what, settings) in [("local", &[] as &[(&str, &str)]), ("shared", &shared)] {
        let (middle, slow, cpu) = first_asks(settings, size)?;
        row(
            &format!("a room's first ask, {what} window"),
            &format!("p50 {middle:.2} ms, p99 {slow:.2} ms, {cpu:.0} µs of CPU"),
        );
    }
    for number in 1..=3 {
        let cpu = cpu_of_a_request(number, &shared, size)?;
        row(&format!("a request that the window answers, {number} replicas"), &format!("{cpu:.0} µs of CPU"));
    }
    waiting::show(&redis, size.takes, size.losses)
}
