//! Late joiners, measured: what they cost Admin Control, how long they wait, and what a room that hangs does to the others.
//!
//! `cargo bench --bench late_joiners` starts the server and a sandbox Admin Control on loopback and prints a table;
//! `-- --smoke` does a little of everything in a few seconds. Answers and calls are asserted, times are only shown.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

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

/// How long a catch-up takes to be written.
const WRITING: Duration = Duration::from_millis(1_500);

/// The default of `APP_ADMIN_CONTROL__MAX_IN_FLIGHT`.
const IN_FLIGHT: usize = 512;

/// How much of everything.
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

/// The server, as a process of its own, and the Admin Control behind it.
struct Stage {
    address: SocketAddr,
    script: Script,
    token: String,
    server: Process,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn set(settings: &[(&str, &str)]) -> io::Result<Self> {
        let script = Script::echo();
        let (address, folder) = (set_up::free_address()?, tempfile::tempdir()?);
        let server = set_up::start(address, &set_up::sandbox(script.clone())?, folder.path(), settings)?;
        set_up::wait_for(address)?;
        Ok(Self { address, script, token: set_up::token(), server, _folder: folder })
    }

    /// Connects so many, sends all their questions, and gives the statuses and how long the last one waited.
    fn ask_at_once(&self, askers: usize, room: impl Fn(usize) -> String) -> io::Result<(Vec<u16>, Duration)> {
        let mut connections = self.connect(askers)?;
        let started = Instant::now();
        self.send(&mut connections, room)?;
        let statuses = connections.iter_mut().map(Connection::read).collect::<io::Result<_>>()?;
        Ok((statuses, started.elapsed()))
    }

    fn connect(&self, askers: usize) -> io::Result<Vec<Connection>> {
        (0..askers).map(|_| Connection::open(self.address)).collect()
    }

    fn send(&self, connections: &mut [Connection], room: impl Fn(usize) -> String) -> io::Result<()> {
        for (number, connection) in connections.iter_mut().enumerate() {
            connection.send(&format!("/callCatchUp/{}", room(number)), &self.token)?;
        }
        Ok(())
    }

    fn calls(&self, endpoint: &str) -> usize {
        self.script.asked().iter().filter(|asked| asked.target.contains(endpoint)).count()
    }
}

fn row(what: &str, figures: &str) {
    println!("| {what} | {figures} |");
}

fn all_are(statuses: &[u16], expected: u16) {
    let others = statuses.iter().filter(|status| **status != expected).count();
    assert_eq!(others, 0, "{others} of {} answers are no {expected}", statuses.len());
}

/// One room, a catch-up that takes its time; and many rooms.
fn joiners(size: Size) -> io::Result<()> {
    let stage = Stage::set(&[])?;
    stage.script.catch_up("r1", Reply::data(r#""written""#).after(WRITING));
    let (statuses, took) = stage.ask_at_once(size.joiners, |_| "r1".to_owned())?;
    all_are(&statuses, 200);
    assert_eq!(stage.calls("/r1"), 1);
    row(
        &format!("{} askers of one room, 1.5 s to write", size.joiners),
        &format!("1 call, the last answer after {took:.3?}"),
    );

    let rooms = size.joiners / 20;
    let (statuses, took) = stage.ask_at_once(size.joiners / 2, |number| format!("many{}", number % rooms))?;
    all_are(&statuses, 200);
    assert_eq!(stage.calls("/many"), rooms);
    row(
        &format!("{} askers of {rooms} rooms", size.joiners / 2),
        &format!("{rooms} calls, the last answer after {took:.3?}"),
    );

    stage.script.catch_up("r2", Reply::data(r#""written""#).after(WRITING));
    let mut first = Connection::open(stage.address)?;
    first.send("/callCatchUp/r2", &stage.token)?;
    while stage.calls("/r2") == 0 {
        std::thread::yield_now();
    }
    let mut others = stage.connect(200)?;
    stage.send(&mut others, |_| "r2".to_owned())?;
    first.reset()?;
    let statuses = others.iter_mut().map(Connection::read).collect::<io::Result<Vec<_>>>()?;
    all_are(&statuses, 200);
    assert_eq!(stage.calls("/r2"), 1);
    row("200 wait, the first one resets its connection", "200 answers, 1 call");

    stage.script.catch_up("r3", Reply::body(500, "{}").after(Duration::from_millis(300)));
    let (statuses, _) = stage.ask_at_once(200, |_| "r3".to_owned())?;
    all_are(&statuses, 500);
    row("200 wait, Admin Control fails", &format!("200 times 500, {} call", stage.calls("/r3")));
    Ok(())
}

/// A room that hangs, and another one that does not, asked through to Admin Control each time.
fn slow_room(size: Size) -> io::Result<()> {
    let stage = Stage::set(&[("APP_CATCH_UP__FRESH_FOR", "0s")])?;
    stage.script.catch_up("hangs", Reply::silence());
    let (mut quiet, mut besides) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let (took, bad) = probe(stage.address, "/callCatchUp/fast", &stage.token, size.probes)?;
        assert_eq!(bad, 0);
        quiet.push(percentile(took, 99));
        let mut waiting = stage.connect(size.hanging)?;
        stage.send(&mut waiting, |_| "hangs".to_owned())?;
        let (took, bad) = probe(stage.address, "/callCatchUp/fast", &stage.token, size.probes)?;
        assert_eq!(bad, 0);
        besides.push(percentile(took, 99));
    }
    let (quiet, besides) = (percentile(quiet, 50), percentile(besides, 50));
    let ratio = besides.as_secs_f64() / quiet.as_secs_f64();
    let figures = format!("p99 {quiet:.2?} in quiet times, {besides:.2?} besides: × {ratio:.2}");
    row(&format!("a fast room, while {} wait for one that hangs", size.hanging), &figures);
    Ok(())
}

/// Many rooms that hang: more than may be in flight.
fn bulkhead(size: Size) -> io::Result<()> {
    let stage = Stage::set(&[("APP_CATCH_UP__FRESH_FOR", "0s")])?;
    for number in 0..size.hanging_rooms {
        stage.script.catch_up(&format!("hangs{number}"), Reply::silence());
    }
    let mut waiting = stage.connect(size.hanging_rooms)?;
    let started = Instant::now();
    stage.send(&mut waiting, |number| format!("hangs{number}"))?;
    // As many wait as may be in flight; what is more is refused at once.
    let mut refused = Vec::new();
    while refused.len() < size.hanging_rooms - IN_FLIGHT && started.elapsed() < Duration::from_secs(10) {
        for connection in &mut waiting {
            refused.extend(connection.arrived()?);
        }
    }
    let took = started.elapsed();
    all_are(&refused, 503);
    assert_eq!(refused.len(), size.hanging_rooms - IN_FLIGHT);
    row(
        &format!("{} rooms that hang", size.hanging_rooms),
        &format!("{} times 503, the last after {took:.2?}", refused.len()),
    );
    for target in ["/callConfig", "/callStatus/r1", "/meetings"] {
        let (took, bad) = probe(stage.address, target, &stage.token, size.probes)?;
        assert_eq!(bad, 0, "{target}");
        row(&format!("{target} besides"), &format!("0 errors, p99 {:.2?}", percentile(took, 99)));
    }
    Ok(())
}

/// Many rooms, each asked for once: what they leave behind.
fn memory(size: Size) -> io::Result<()> {
    const MAX: u64 = 16 << 20;
    let stage = Stage::set(&[("APP_CATCH_UP__MAX_BYTES", &MAX.to_string())])?;
    let text = format!("{:?}", "what was said. ".repeat(400));
    // Warm: buffers, threads and tables that stay.
    let (_, bad) = probe(stage.address, "/callCatchUp/warm", &stage.token, size.probes)?;
    assert_eq!(bad, 0);
    let before = stage.server.memory();
    let mut connection = Connection::open(stage.address)?;
    for number in 0..size.rooms {
        let room = format!("room{number}");
        stage.script.catch_up(&room, Reply::data(&text));
        connection.send(&format!("/callCatchUp/{room}"), &stage.token)?;
        assert_eq!(connection.read()?, 200);
    }
    let grown = stage.server.memory().saturating_sub(before);
    let asked_for = size.rooms * text.len() / 1024;
    let figures = format!("{grown} KiB more, of {asked_for} KiB of text; the bound is {} KiB", MAX / 1024);
    row(&format!("{} rooms asked for once", size.rooms), &figures);
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
