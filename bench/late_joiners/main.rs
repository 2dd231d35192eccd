//! Late joiners: calls to Admin Control, waiting times, and the effect of a hanging room on others.
//!
//! `cargo bench --bench late_joiners` starts the server and a sandbox Admin Control on loopback and prints a table;
//! `-- --smoke` is a short run of a few seconds. Responses and calls are asserted, times are not.

#![expect(clippy::print_stdout, reason = "prints its results")]

mod client;
#[expect(dead_code, reason = "each benchmark uses a part of it")]
#[path = "../set_up.rs"]
mod set_up;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use client::{Connection, percentile, probe};
use proconf_app_server::sandbox::{Reply, Script};
use set_up::Process;

/// How long Admin Control takes to write a catch-up.
const WRITING: Duration = Duration::from_millis(1_500);

/// The default of `APP_ADMIN_CONTROL__MAX_IN_FLIGHT`.
const IN_FLIGHT: usize = 512;

/// The size of the benchmark.
#[derive(Clone, Copy)]
struct Size {
    joiners: usize,
    hanging: usize,
    hanging_rooms: usize,
    probes: usize,
    rounds: usize,
    rooms: usize,
}

const FULL: Size = Size { joiners: 2_000, hanging: 500, hanging_rooms: 2_000, probes: 2_000, rounds: 5, rooms: 10_000 };
const SMOKE: Size = Size { joiners: 100, hanging: 20, hanging_rooms: 600, probes: 50, rounds: 1, rooms: 200 };

/// The server as a process, and its Admin Control.
struct TestBed {
    address: SocketAddr,
    script: Script,
    token: String,
    server: Process,
    _folder: tempfile::TempDir,
}

impl TestBed {
    fn start(settings: &[(&str, &str)]) -> io::Result<Self> {
        let script = Script::echo();
        let (address, folder) = (set_up::free_address()?, tempfile::tempdir()?);
        let server = set_up::start(address, &set_up::sandbox(script.clone())?, folder.path(), settings)?;
        set_up::wait_for(address)?;
        Ok(Self { address, script, token: set_up::token(), server, _folder: folder })
    }

    /// Connects clients, sends all requests at once, and returns the statuses and the longest wait.
    fn request_at_once(&self, clients: usize, room: impl Fn(usize) -> String) -> io::Result<(Vec<u16>, Duration)> {
        let mut connections = self.connect(clients)?;
        let started = Instant::now();
        self.send(&mut connections, room)?;
        let statuses = connections.iter_mut().map(Connection::read).collect::<io::Result<_>>()?;
        Ok((statuses, started.elapsed()))
    }

    fn connect(&self, clients: usize) -> io::Result<Vec<Connection>> {
        (0..clients).map(|_| Connection::open(self.address)).collect()
    }

    fn send(&self, connections: &mut [Connection], room: impl Fn(usize) -> String) -> io::Result<()> {
        for (number, connection) in connections.iter_mut().enumerate() {
            connection.send(&format!("/callCatchUp/{}", room(number)), &self.token)?;
        }
        Ok(())
    }

    fn calls(&self, endpoint: &str) -> usize {
        self.script.requests().iter().filter(|request| request.target.contains(endpoint)).count()
    }
}

fn row(what: &str, figures: &str) {
    println!("| {what} | {figures} |");
}

fn all_are(statuses: &[u16], expected: u16) {
    let others = statuses.iter().filter(|status| **status != expected).count();
    assert_eq!(others, 0, "{others} of {} responses are not {expected}", statuses.len());
}

/// Measures one room with a slow catch-up, and many rooms.
fn joiners(size: Size) -> io::Result<()> {
    let bed = TestBed::start(&[])?;
    bed.script.catch_up("r1", Reply::data(r#""written""#).after(WRITING));
    let (statuses, took) = bed.request_at_once(size.joiners, |_| "r1".to_owned())?;
    all_are(&statuses, 200);
    assert_eq!(bed.calls("/r1"), 1);
    row(
        &format!("{} clients of one room, 1.5 s to write", size.joiners),
        &format!("1 call, the last response after {took:.3?}"),
    );

    let rooms = size.joiners / 20;
    let (statuses, took) = bed.request_at_once(size.joiners / 2, |number| format!("many{}", number % rooms))?;
    all_are(&statuses, 200);
    assert_eq!(bed.calls("/many"), rooms);
    row(
        &format!("{} clients of {rooms} rooms", size.joiners / 2),
        &format!("{rooms} calls, the last response after {took:.3?}"),
    );

    bed.script.catch_up("r2", Reply::data(r#""written""#).after(WRITING));
    let mut first = Connection::open(bed.address)?;
    first.send("/callCatchUp/r2", &bed.token)?;
    while bed.calls("/r2") == 0 {
        std::thread::yield_now();
    }
    let mut others = bed.connect(200)?;
    bed.send(&mut others, |_| "r2".to_owned())?;
    first.reset()?;
    let statuses = others.iter_mut().map(Connection::read).collect::<io::Result<Vec<_>>>()?;
    all_are(&statuses, 200);
    assert_eq!(bed.calls("/r2"), 1);
    row("200 wait, the first one resets its connection", "200 responses, 1 call");

    bed.script.catch_up("r3", Reply::body(500, "{}").after(Duration::from_millis(300)));
    let (statuses, _) = bed.request_at_once(200, |_| "r3".to_owned())?;
    all_are(&statuses, 500);
    row("200 wait, Admin Control fails", &format!("500 for all 200, {} call", bed.calls("/r3")));
    Ok(())
}

/// Measures a fast room without a cache while another room hangs.
fn slow_room(size: Size) -> io::Result<()> {
    let bed = TestBed::start(&[("APP_CATCH_UP__FRESH_FOR", "0s")])?;
    bed.script.catch_up("hangs", Reply::hang());
    let (mut quiet, mut loaded) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let (took, bad) = probe(bed.address, "/callCatchUp/fast", &bed.token, size.probes)?;
        assert_eq!(bad, 0);
        quiet.push(percentile(took, 99));
        let mut waiting = bed.connect(size.hanging)?;
        bed.send(&mut waiting, |_| "hangs".to_owned())?;
        let (took, bad) = probe(bed.address, "/callCatchUp/fast", &bed.token, size.probes)?;
        assert_eq!(bad, 0);
        loaded.push(percentile(took, 99));
    }
    let (quiet, loaded) = (percentile(quiet, 50), percentile(loaded, 50));
    let ratio = loaded.as_secs_f64() / quiet.as_secs_f64();
    let figures = format!("p99 {quiet:.2?} when quiet, {loaded:.2?} then: × {ratio:.2}");
    row(&format!("a fast room, while {} clients wait for one that hangs", size.hanging), &figures);
    Ok(())
}

/// Measures more hanging rooms than calls may be in flight.
fn bulkhead(size: Size) -> io::Result<()> {
    let bed = TestBed::start(&[("APP_CATCH_UP__FRESH_FOR", "0s")])?;
    for number in 0..size.hanging_rooms {
        bed.script.catch_up(&format!("hangs{number}"), Reply::hang());
    }
    let mut waiting = bed.connect(size.hanging_rooms)?;
    let started = Instant::now();
    bed.send(&mut waiting, |number| format!("hangs{number}"))?;
    // Requests beyond the limit on calls in flight are rejected at once.
    let mut rejected = Vec::new();
    while rejected.len() < size.hanging_rooms - IN_FLIGHT && started.elapsed() < Duration::from_secs(10) {
        for connection in &mut waiting {
            rejected.extend(connection.arrived()?);
        }
    }
    let took = started.elapsed();
    all_are(&rejected, 503);
    assert_eq!(rejected.len(), size.hanging_rooms - IN_FLIGHT);
    row(
        &format!("{} rooms that hang", size.hanging_rooms),
        &format!("503 for {}, the last after {took:.2?}", rejected.len()),
    );
    for target in ["/callConfig", "/callStatus/r1", "/meetings"] {
        let (took, bad) = probe(bed.address, target, &bed.token, size.probes)?;
        assert_eq!(bad, 0, "{target}");
        row(&format!("{target} meanwhile"), &format!("0 errors, p99 {:.2?}", percentile(took, 99)));
    }
    Ok(())
}

/// Measures the memory of many rooms that are requested once.
fn memory(size: Size) -> io::Result<()> {
    const MAX: u64 = 16 << 20;
    let bed = TestBed::start(&[("APP_CATCH_UP__MAX_BYTES", &MAX.to_string())])?;
    let text = format!("{:?}", "what was said. ".repeat(400));
    // Warm-up: buffers, threads and tables that stay.
    let (_, bad) = probe(bed.address, "/callCatchUp/warm", &bed.token, size.probes)?;
    assert_eq!(bad, 0);
    let before = bed.server.memory();
    let mut connection = Connection::open(bed.address)?;
    for number in 0..size.rooms {
        let room = format!("room{number}");
        bed.script.catch_up(&room, Reply::data(&text));
        connection.send(&format!("/callCatchUp/{room}"), &bed.token)?;
        assert_eq!(connection.read()?, 200);
    }
    let grown = bed.server.memory().saturating_sub(before);
    let requested = size.rooms * text.len() / 1024;
    let figures = format!("{grown} KiB more, of {requested} KiB of text; the bound is {} KiB", MAX / 1024);
    row(&format!("{} rooms requested once", size.rooms), &figures);
    Ok(())
}

fn main() -> io::Result<()> {
    let size = if std::env::args().any(|argument| argument == "--smoke") { SMOKE } else { FULL };
    println!("| what | figures |\n|---|---|");
    joiners(size)?;
    slow_room(size)?;
    bulkhead(size)?;
    memory(size)
}
