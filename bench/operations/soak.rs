//! Soak test: a mix of good and bad clients, 200 per second. Memory and open files, which must not grow, are printed each minute.
//!
//! `cargo bench --bench soak -- --soak 30` takes 30 minutes, the default; `-- --smoke` a few seconds. The growth of memory is
//! that of the second half. The exit code is 1 if a client got an unexpected response.

#![expect(clippy::print_stdout, reason = "prints its results")]
#![expect(clippy::cast_precision_loss, reason = "printed with one or two decimals")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod fixture;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fixture::{Client, Server, Stub, heading, probe, smoke};

const CLIENTS_PER_SECOND: u32 = 200;
/// Enough rooms for evictions, and few enough to fill the cache soon.
const ROOMS: usize = 2_000;

/// What a client does after its request.
#[derive(Clone, Copy)]
enum Action {
    /// Reads one response, with one of these statuses.
    Expect(&'static [u16]),
    /// Sends this twice a second until its connection is closed.
    Drip(&'static [u8]),
    /// Reads 32 bytes per second until its connection is closed.
    ReadSlowly,
    /// Resets the connection during the request.
    Reset,
    /// Reads an open stream for some milliseconds.
    Stream(u64),
}

struct Kind {
    name: &'static str,
    /// Percentage.
    share: usize,
    action: Action,
}

const fn kind(name: &'static str, share: usize, action: Action) -> Kind {
    Kind { name, share, action }
}

const KINDS: [Kind; 16] = [
    kind("catch-up", 40, Action::Expect(&[200])),
    kind("configuration", 12, Action::Expect(&[200])),
    kind("no token", 5, Action::Expect(&[401])),
    kind("unknown URL", 4, Action::Expect(&[404])),
    kind("wrong password", 2, Action::Expect(&[401, 429, 503])),
    kind("event stream", 4, Action::Stream(2_000)),
    kind("pipelined", 4, Action::Expect(&[200])),
    kind("head too long", 3, Action::Expect(&[431])),
    kind("bad chunk", 3, Action::Expect(&[400])),
    kind("not HTTP", 4, Action::Expect(&[400])),
    kind("body too large", 3, Action::Expect(&[413])),
    kind("upgrade", 3, Action::Expect(&[401])),
    kind("slow head", 4, Action::Drip(b"X: y\r\n")),
    kind("slow body", 4, Action::Drip(b" ")),
    kind("slow reader", 1, Action::ReadSlowly),
    kind("reset", 4, Action::Reset),
];

#[derive(Default)]
struct Count {
    done: AtomicUsize,
    in_flight: AtomicUsize,
    unexpected: AtomicUsize,
}

fn request(server: &Server, kind: &Kind, number: usize) -> Vec<u8> {
    let post = |target: &str, rest: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{rest}").into_bytes()
    };
    let catch_up = server.get(&format!("/callCatchUp/r{}", number % ROOMS));
    match kind.name {
        "catch-up" | "reset" => catch_up,
        "pipelined" => catch_up.repeat(50),
        "no token" => b"GET /meetings HTTP/1.1\r\nHost: bench\r\n\r\n".to_vec(),
        "unknown URL" => server.get("/nowhere"),
        "wrong password" => {
            let body = format!(r#"{{"email":"a{}@example.com","password":"wrong"}}"#, number % 50);
            post("/auth/login", &format!("Content-Length: {}\r\n\r\n{body}", body.len()))
        }
        "event stream" => server.get(&format!("/callCatchUp/r{}/live", number % ROOMS)),
        "head too long" => format!("GET /callConfig HTTP/1.1\r\nHost: bench\r\nX: {}\r\n\r\n", "x".repeat(200_000)).into(),
        "bad chunk" => post("/auth/logout", "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n"),
        "not HTTP" => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        "body too large" => post("/auth/logout", "Content-Length: 1000000\r\n\r\n"),
        "upgrade" => b"GET /meetings HTTP/1.1\r\nHost: bench\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(),
        "slow head" => b"GET /callConfig HTTP/1.1\r\nHost: bench\r\n".to_vec(),
        "slow body" => post("/auth/login", "Content-Length: 1000\r\n\r\n"),
        "slow reader" => server.get("/callCatchUp/large"),
        _ => server.get("/callConfig"),
    }
}

/// Runs one client; an error is an unexpected result.
async fn run_client(server: &Server, kind: &Kind, number: usize) -> io::Result<()> {
    let mut client = if matches!(kind.action, Action::ReadSlowly) {
        Client::narrow(server.address).await?
    } else {
        Client::open(server.address).await?
    };
    let bytes = request(server, kind, number);
    // The server may respond before the request is complete.
    let sent = client.send(&bytes).await;
    match kind.action {
        Action::Expect(statuses) => {
            let response = client.request(b"").await?;
            sent.or_else(|error| if response.status >= 400 { Ok(()) } else { Err(error) })?;
            let expected = statuses.contains(&response.status);
            if expected { Ok(()) } else { Err(io::Error::other(format!("status {}", response.status))) }
        }
        Action::Drip(bytes) => {
            while client.send(bytes).await.is_ok() && !reads_end(&mut client, Duration::from_millis(500)).await {}
            Ok(())
        }
        Action::ReadSlowly => {
            while matches!(client.read(32).await, Ok(1..)) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        Action::Reset => client.reset(),
        Action::Stream(milliseconds) => {
            let until = Instant::now() + Duration::from_millis(milliseconds);
            while Instant::now() < until {
                if reads_end(&mut client, Duration::from_millis(200)).await {
                    return Err(io::Error::other("the stream ended"));
                }
            }
            Ok(())
        }
    }
}

/// Reads for some time; returns whether the connection was closed.
async fn reads_end(client: &mut Client, time: Duration) -> bool {
    let until = Instant::now() + time;
    while let Ok(read) = tokio::time::timeout_at(until.into(), client.read(4096)).await {
        if !matches!(read, Ok(1..)) {
            return true;
        }
    }
    false
}

/// Starts clients of all kinds, by their shares, for some time.
async fn start_clients(server: Arc<Server>, count: Arc<Count>, time: Duration) {
    let turns: Vec<usize> = KINDS.iter().enumerate().flat_map(|(at, kind)| vec![at; kind.share]).collect();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / CLIENTS_PER_SECOND);
    let started = Instant::now();
    let mut number = 0;
    while started.elapsed() < time {
        ticks.tick().await;
        number += 1;
        // 37 and 100 have no common divisor, so that the kinds are mixed.
        let Some(kind) = turns.get(number * 37 % turns.len()).and_then(|at| KINDS.get(*at)) else { continue };
        let (server, count) = (Arc::clone(&server), Arc::clone(&count));
        tokio::spawn(async move {
            count.in_flight.fetch_add(1, Ordering::SeqCst);
            if let Err(error) = run_client(&server, kind, number).await {
                println!("unexpected, {}: {error}", kind.name);
                count.unexpected.fetch_add(1, Ordering::SeqCst);
            }
            count.in_flight.fetch_sub(1, Ordering::SeqCst);
            count.done.fetch_add(1, Ordering::SeqCst);
        });
    }
}

/// Returns the slope of the least-squares line.
fn slope(points: &[(f64, f64)]) -> f64 {
    let mean = |column: fn(&(f64, f64)) -> f64| points.iter().map(column).sum::<f64>() / points.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x))
    });
    above / below
}

fn minutes() -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--soak").skip(1);
    arguments.next().and_then(|minutes| minutes.parse().ok()).unwrap_or(30)
}

#[tokio::main]
async fn main() -> io::Result<ExitCode> {
    let (time, every) = if smoke() {
        (Duration::from_secs(8), Duration::from_secs(1))
    } else {
        (Duration::from_mins(minutes()), Duration::from_mins(minutes()) / 60)
    };
    println!("{}", heading("Soak: good and bad clients, 200 per second"));
    let stub = Stub::start(10_000, Duration::from_millis(1), 1 << 20).await?;
    let settings = [
        ("APP_CATCH_UP__FRESH_FOR", "2s"),
        ("APP_CATCH_UP__STALE_IF_ERROR", "0s"),
        ("APP_SERVER__REQUEST_TIMEOUT", "10s"),
        ("APP_ADMIN_CONTROL__TIMEOUT", "5s"),
    ];
    let server = Arc::new(Server::start(&stub.base_url, &settings).await?);
    let (count, stop) = (Arc::new(Count::default()), Arc::new(AtomicUsize::new(0)));
    let health = tokio::spawn(probe(server.address, Arc::clone(&stop)));
    let mixing = tokio::spawn(start_clients(Arc::clone(&server), Arc::clone(&count), time));
    let (started, mut seen) = (Instant::now(), Vec::new());
    println!("{:>9}{:>10}{:>12}{:>11}{:>9}{:>12}", "minute", "done", "in flight", "MiB", "files", "unexpected");
    while !mixing.is_finished() {
        tokio::time::sleep(every).await;
        let load = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        let (minute, memory, files) = (started.elapsed().as_secs_f64() / 60.0, server.memory(), server.descriptors());
        println!(
            "{minute:>9.2}{:>10}{:>12}{memory:>11.1}{files:>9}{:>12}",
            load(&count.done),
            load(&count.in_flight),
            load(&count.unexpected)
        );
        seen.push((minute, memory, files as f64));
    }
    stop.store(1, Ordering::Relaxed);
    let half = seen.get(seen.len() / 2..).unwrap_or_default();
    let of_half = |value: fn(&(f64, f64, f64)) -> f64| slope(&half.iter().map(|at| (at.0, value(at))).collect::<Vec<_>>());
    println!(
        "\nIn the second half: {:+.2} MiB per minute (target: 1), {:+.1} files per minute",
        of_half(|at| at.1),
        of_half(|at| at.2)
    );
    println!("Health: 99th percentile {:.1} ms", health.await.unwrap_or(f64::NAN));
    let unexpected = count.unexpected.load(Ordering::SeqCst);
    println!("Unexpected responses: {unexpected}");
    Ok(if unexpected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
