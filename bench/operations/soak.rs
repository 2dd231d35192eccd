//! Hours in minutes: good clients and every kind of bad one, mixed, two hundred a second, for as long as is asked. What must not grow
//! is shown each minute: memory and open files.
//!
//! `cargo bench --bench soak -- --soak 30` takes thirty minutes, which is the default; `-- --smoke` a few seconds. The slope of the
//! memory is that of the second half. It ends with 1 if an answer was not one of those that its kind may get.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::cast_precision_loss, reason = "counts, shown with a decimal or two")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod rig;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rig::{Client, Server, heading, probe, smoke, stub};

const A_SECOND: u32 = 200;
/// Rooms, so many that the window has some to forget and so few that it is soon full.
const ROOMS: usize = 2_000;

/// What a client does with its connection.
#[derive(Clone, Copy)]
enum Then {
    /// Reads one answer, with one of these statuses; 0 stands for an end without one.
    Answer(&'static [u16]),
    /// Says this over and over, half a second apart, until its connection ends.
    Drip(&'static [u8]),
    /// Takes 32 bytes a second until its connection ends.
    Sip,
    /// Leaves in the middle with a reset.
    Leave,
    /// Reads for so many milliseconds, and leaves.
    Watch(u64),
}

struct Kind {
    name: &'static str,
    /// How many of a hundred.
    share: usize,
    then: Then,
}

const fn kind(name: &'static str, share: usize, then: Then) -> Kind {
    Kind { name, share, then }
}

const KINDS: [Kind; 16] = [
    kind("catch-up", 40, Then::Answer(&[200])),
    kind("configuration", 12, Then::Answer(&[200])),
    kind("no token", 5, Then::Answer(&[401])),
    kind("unknown URL", 4, Then::Answer(&[404])),
    kind("wrong password", 2, Then::Answer(&[401, 429, 503])),
    kind("watches live for a while", 4, Then::Watch(2_000)),
    kind("sends ahead", 4, Then::Answer(&[200])),
    kind("head too long", 3, Then::Answer(&[400])),
    kind("bad chunk", 3, Then::Answer(&[400])),
    kind("no HTTP", 4, Then::Answer(&[400])),
    kind("body too large", 3, Then::Answer(&[413])),
    kind("upgrade", 3, Then::Answer(&[401])),
    kind("slow head", 4, Then::Drip(b"X: y\r\n")),
    kind("slow body", 4, Then::Drip(b" ")),
    kind("slow reader", 1, Then::Sip),
    kind("leaves in the middle", 4, Then::Leave),
];

#[derive(Default)]
struct Count {
    done: AtomicUsize,
    under_way: AtomicUsize,
    unexpected: AtomicUsize,
}

fn request(server: &Server, kind: &Kind, number: usize) -> Vec<u8> {
    let post = |target: &str, rest: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{rest}").into_bytes()
    };
    let catch_up = server.get(&format!("/callCatchUp/r{}", number % ROOMS));
    match kind.name {
        "catch-up" | "leaves in the middle" => catch_up,
        "sends ahead" => catch_up.repeat(50),
        "no token" => b"GET /meetings HTTP/1.1\r\nHost: bench\r\n\r\n".to_vec(),
        "unknown URL" => server.get("/nowhere"),
        "wrong password" => {
            let body = format!(r#"{{"email":"a{}@example.com","password":"wrong"}}"#, number % 50);
            post("/auth/login", &format!("Content-Length: {}\r\n\r\n{body}", body.len()))
        }
        "watches live for a while" => server.get(&format!("/callCatchUp/r{}/live", number % ROOMS)),
        "head too long" => format!("GET /callConfig HTTP/1.1\r\nHost: bench\r\nX: {}\r\n\r\n", "x".repeat(20_000)).into(),
        "bad chunk" => post("/auth/logout", "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n"),
        "no HTTP" => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        "body too large" => post("/auth/logout", "Content-Length: 1000000\r\n\r\n"),
        "upgrade" => b"GET /meetings HTTP/1.1\r\nHost: bench\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(),
        "slow head" => b"GET /callConfig HTTP/1.1\r\nHost: bench\r\n".to_vec(),
        "slow body" => post("/auth/login", "Content-Length: 1000\r\n\r\n"),
        "slow reader" => server.get("/callCatchUp/large"),
        _ => server.get("/callConfig"),
    }
}

/// What became of one client; an error is what its kind must not see.
async fn be(server: &Server, kind: &Kind, number: usize) -> io::Result<()> {
    let mut client = if matches!(kind.then, Then::Sip) {
        Client::narrow(server.address).await?
    } else {
        Client::open(server.address).await?
    };
    let bytes = request(server, kind, number);
    // It may be refused before it is all there.
    let sent = client.send(&bytes).await;
    match kind.then {
        Then::Answer(statuses) => {
            let answer = client.ask(b"").await?;
            sent.or_else(|error| if answer.status >= 400 { Ok(()) } else { Err(error) })?;
            let expected = statuses.contains(&answer.status);
            if expected { Ok(()) } else { Err(io::Error::other(format!("status {}", answer.status))) }
        }
        Then::Drip(bytes) => {
            while client.send(bytes).await.is_ok() && !is_over(&mut client, Duration::from_millis(500)).await {}
            Ok(())
        }
        Then::Sip => {
            while matches!(client.read(32).await, Ok(1..)) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        Then::Leave => client.reset(),
        Then::Watch(milliseconds) => {
            let until = Instant::now() + Duration::from_millis(milliseconds);
            while Instant::now() < until {
                if is_over(&mut client, Duration::from_millis(200)).await {
                    return Err(io::Error::other("the stream ended"));
                }
            }
            Ok(())
        }
    }
}

/// Reads for so long, and says whether that was the end.
async fn is_over(client: &mut Client, time: Duration) -> bool {
    let until = Instant::now() + time;
    while let Ok(read) = tokio::time::timeout_at(until.into(), client.read(4096)).await {
        if !matches!(read, Ok(1..)) {
            return true;
        }
    }
    false
}

/// One client after the other until the time is over, each kind by its share.
async fn mix(server: Arc<Server>, count: Arc<Count>, time: Duration) {
    let turns: Vec<usize> = KINDS.iter().enumerate().flat_map(|(at, kind)| vec![at; kind.share]).collect();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / A_SECOND);
    let started = Instant::now();
    let mut number = 0;
    while started.elapsed() < time {
        ticks.tick().await;
        number += 1;
        // 37 has no divisor in common with 100: the kinds come mixed.
        let Some(kind) = turns.get(number * 37 % turns.len()).and_then(|at| KINDS.get(*at)) else { continue };
        let (server, count) = (Arc::clone(&server), Arc::clone(&count));
        tokio::spawn(async move {
            count.under_way.fetch_add(1, Ordering::SeqCst);
            if let Err(error) = be(&server, kind, number).await {
                println!("unexpected, {}: {error}", kind.name);
                count.unexpected.fetch_add(1, Ordering::SeqCst);
            }
            count.under_way.fetch_sub(1, Ordering::SeqCst);
            count.done.fetch_add(1, Ordering::SeqCst);
        });
    }
}

/// By how much y grows with each x: the line of least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
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
    println!("{}", heading("Soak: good clients and bad ones, 200 a second"));
    let base_url = stub(10_000, Duration::from_millis(1), 1 << 20).await?;
    let settings =
        [("APP_CATCH_UP__FRESH_FOR", "2s"), ("APP_SERVER__REQUEST_TIMEOUT", "10s"), ("APP_ADMIN_CONTROL__TIMEOUT", "5s")];
    let server = Arc::new(Server::start(&base_url, &settings).await?);
    let (count, stop) = (Arc::new(Count::default()), Arc::new(AtomicUsize::new(0)));
    let health = tokio::spawn(probe(server.address, Arc::clone(&stop)));
    let mixing = tokio::spawn(mix(Arc::clone(&server), Arc::clone(&count), time));
    let (started, mut seen) = (Instant::now(), Vec::new());
    println!("{:>9}{:>10}{:>12}{:>11}{:>9}{:>12}", "minute", "done", "under way", "MiB", "files", "unexpected");
    while !mixing.is_finished() {
        tokio::time::sleep(every).await;
        let of = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        let (minute, memory, files) = (started.elapsed().as_secs_f64() / 60.0, server.memory(), server.descriptors());
        println!(
            "{minute:>9.2}{:>10}{:>12}{memory:>11.1}{files:>9}{:>12}",
            of(&count.done),
            of(&count.under_way),
            of(&count.unexpected)
        );
        seen.push((minute, memory, files as f64));
    }
    stop.store(1, Ordering::Relaxed);
    let half = seen.get(seen.len() / 2..).unwrap_or_default();
    let of_half = |value: fn(&(f64, f64, f64)) -> f64| slope(&half.iter().map(|at| (at.0, value(at))).collect::<Vec<_>>());
    println!(
        "\nIn the second half: {:+.2} MiB a minute (bar: 1), {:+.1} files a minute",
        of_half(|at| at.1),
        of_half(|at| at.2)
    );
    println!("Health: the 99th percentile {:.1} ms", health.await.unwrap_or(f64::NAN));
    let unexpected = count.unexpected.load(Ordering::SeqCst);
    println!("Unexpected answers: {unexpected}");
    Ok(if unexpected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
