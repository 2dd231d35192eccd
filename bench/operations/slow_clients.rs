//! Slow clients: their memory, and when their connections are closed.
//!
//! `cargo bench --bench slow_clients` opens thousands of connections of each kind in turn, each against a new server.
//! `-- --smoke` opens a few and does not wait for the longest deadlines. Both ends of ten thousand connections need file
//! descriptors: `ulimit -n 20000`.

#![expect(clippy::print_stdout, reason = "prints its results")]
#![expect(clippy::cast_precision_loss, reason = "printed with one decimal")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod fixture;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fixture::{CACHE_OFF, Client, Server, Stub, heading, probe, smoke};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Idle,
    Heads,
    Bodies,
    Readers,
    ClosedWindows,
    Pipelines,
    Ahead,
}

struct Case {
    kind: Kind,
    name: &'static str,
    clients: usize,
    /// The deadline for closing all of them; for clients that may stay, the duration of the observation.
    closed_within: Duration,
}

const fn case(kind: Kind, name: &'static str, clients: usize, seconds: u64) -> Case {
    Case { kind, name, clients, closed_within: Duration::from_secs(seconds) }
}

const FULL: [Case; 7] = [
    case(Kind::Idle, "idle, after one request", 8_000, 78),
    case(Kind::Heads, "a header line per second", 4_000, 6),
    case(Kind::Bodies, "a body of one byte per second (10 s)", 4_000, 12),
    case(Kind::Readers, "reads 32 bytes per second of 1 MB", 500, 35),
    case(Kind::ClosedWindows, "a closed receive window", 100, 35),
    case(Kind::Pipelines, "64 requests for 4 MB, without reading", 100, 35),
    // Not more, because the kernel buffers all of it.
    case(Kind::Ahead, "a stream, and 128 KiB of input", 2_000, 5),
];
const SMOKE: [Case; 4] = [
    case(Kind::Idle, "idle, after one request", 200, 3),
    case(Kind::Heads, "a header line per second", 50, 6),
    case(Kind::Bodies, "a body of one byte per second (1 s)", 50, 3),
    case(Kind::Ahead, "a stream, and 128 KiB of input", 50, 1),
];

async fn open(server: &Server, kind: Kind) -> io::Result<Client> {
    let mut client = match kind {
        Kind::Idle | Kind::Heads | Kind::Bodies | Kind::Ahead => Client::open(server.address).await?,
        _ => Client::narrow(server.address).await?,
    };
    match kind {
        Kind::Idle => {
            client.request(&server.get("/callConfig")).await?;
        }
        Kind::Heads => client.send(b"GET /callConfig HTTP/1.1\r\nHost: bench\r\n").await?,
        Kind::Bodies => {
            let head =
                "POST /auth/login HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
            client.send(head.as_bytes()).await?;
        }
        Kind::Readers | Kind::ClosedWindows => client.send(&server.get("/callCatchUp/large")).await?,
        Kind::Pipelines => client.send(&server.get("/callCatchUp/large").repeat(64)).await?,
        Kind::Ahead => {
            client.send(&server.get("/callCatchUp/r1/live")).await?;
            client.read(4096).await?;
            client.send(&b"GET / HTTP/1.1\r\nHost:t\r\n\r\n".repeat(5_000)).await?;
        }
    }
    Ok(client)
}

/// Acts as the client does once a second; returns whether its connection is closed.
async fn step(client: &mut Client, kind: Kind) -> bool {
    if client.is_reset() {
        return true;
    }
    match kind {
        Kind::Heads => client.send(b"X: y\r\n").await.is_err() || discard_input(client).await,
        Kind::Bodies => client.send(b" ").await.is_err() || discard_input(client).await,
        Kind::Idle | Kind::Ahead => discard_input(client).await,
        Kind::Readers => !matches!(client.read(32).await, Ok(1..)),
        Kind::ClosedWindows | Kind::Pipelines => false,
    }
}

/// Discards available input; returns whether the connection is closed.
async fn discard_input(client: &mut Client) -> bool {
    match tokio::time::timeout(Duration::ZERO, client.read(4096)).await {
        Ok(Ok(read)) => read == 0,
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

async fn measure(case: &Case, base_url: &str) -> io::Result<String> {
    let (request_timeout, keep_alive) = if smoke() { ("1s", "1s") } else { ("10s", "75s") };
    let timeouts = [("APP_SERVER__REQUEST_TIMEOUT", request_timeout), ("APP_SERVER__KEEP_ALIVE", keep_alive)];
    let server = Server::start(base_url, &[CACHE_OFF, timeouts].concat()).await?;
    // The first connections of a process allocate more than others.
    for _ in 0..50 {
        drop(open(&server, Kind::Idle).await?);
    }
    let (before, descriptors) = (server.memory(), server.descriptors());
    let stop = Arc::new(AtomicUsize::new(0));
    let health = tokio::spawn(probe(server.address, Arc::clone(&stop)));
    let started = Instant::now();
    let mut clients = Vec::with_capacity(case.clients);
    for _ in 0..case.clients {
        clients.push(open(&server, case.kind).await?);
    }
    let opened = started.elapsed();
    let (mut most, mut closed_after) = (server.memory(), None);
    let (processor, observed_since) = (server.processor(), Instant::now());
    while started.elapsed() < opened + case.closed_within + Duration::from_secs(5) {
        let mut closed = 0;
        for client in &mut clients {
            closed += usize::from(step(client, case.kind).await);
        }
        most = most.max(server.memory());
        // The server's end counts: a slow client may have unread bytes for hours.
        if server.descriptors() <= descriptors + 8 || closed == case.clients {
            closed_after = Some(started.elapsed());
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let busy = (server.processor() - processor) / observed_since.elapsed().as_secs_f64() * 100.0;
    stop.store(1, Ordering::Relaxed);
    let added = most - before;
    Ok(format!(
        "{:<38}{:>8}{:>10.0}{:>11.1}{:>12}{:>10}{:>8.1}{:>11.1}",
        case.name,
        case.clients,
        added,
        added * 1024.0 / case.clients as f64,
        closed_after.map_or("not".to_owned(), |time| format!("{:.1} s", time.as_secs_f64())),
        if case.kind == Kind::Ahead {
            "–".to_owned()
        } else {
            format!("≤ {} s", (case.closed_within + opened).as_secs())
        },
        busy,
        health.await.unwrap_or(f64::NAN),
    ))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    println!("{}", heading("Slow clients: memory, and when the last connection is closed"));
    println!(
        "{:<38}{:>8}{:>10}{:>11}{:>12}{:>10}{:>8}{:>11}",
        "", "clients", "MiB", "KiB each", "closed", "target", "CPU %", "health p99"
    );
    let large = Stub::start(10_000, Duration::from_millis(1), 1 << 20).await?;
    let larger = Stub::start(10_000, Duration::from_millis(1), 4_000_000).await?;
    let cases: &[Case] = if smoke() { &SMOKE } else { &FULL };
    for case in cases {
        let stub = if case.kind == Kind::Pipelines { &larger } else { &large };
        println!("{}", measure(case, &stub.base_url).await?);
    }
    Ok(())
}
