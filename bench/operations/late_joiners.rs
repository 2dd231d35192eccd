//! Late joiners: calls to Admin Control and waiting times of many clients, and the effect of hanging rooms on others.
//!
//! `cargo bench --bench late_joiners` starts the server and a stub of Admin Control on loopback; `-- --smoke` is a short run of
//! a few seconds. Responses and calls are asserted, times are not.

#![expect(clippy::print_stdout, reason = "prints its results")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod fixture;

use std::io;
use std::time::{Duration, Instant};

use fixture::{CACHE_OFF, Client, Server, Stub, heading, percentile, print, smoke};
use tokio::task::JoinSet;

/// The default of `APP_ADMIN_CONTROL__MAX_IN_FLIGHT`.
const IN_FLIGHT: usize = 512;

struct Size {
    joiners: usize,
    hanging: usize,
    hanging_rooms: usize,
    requests: usize,
    rounds: usize,
}

const FULL: Size = Size { joiners: 2_000, hanging: 500, hanging_rooms: 2_000, requests: 2_000, rounds: 5 };
const SMOKE: Size = Size { joiners: 100, hanging: 20, hanging_rooms: 600, requests: 50, rounds: 1 };

/// Connects clients, and sends all their requests at once. The responses are the statuses.
async fn send_at_once(
    server: &Server,
    clients: usize,
    room: impl Fn(usize) -> String,
) -> io::Result<JoinSet<io::Result<u16>>> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Client::open(server.address).await?);
    }
    let mut responses = JoinSet::new();
    for (number, mut client) in connected.into_iter().enumerate() {
        client.send(&server.get(&format!("/callCatchUp/{}", room(number)))).await?;
        responses.spawn(async move { Ok(client.request(b"").await?.status) });
    }
    Ok(responses)
}

/// Waits for some of the responses, and asserts their status.
async fn expect(responses: &mut JoinSet<io::Result<u16>>, number: usize, status: u16) -> io::Result<()> {
    for _ in 0..number {
        let next = tokio::time::timeout(Duration::from_secs(40), responses.join_next()).await?;
        let response = next.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::other)??;
        assert_eq!(response, status);
    }
    Ok(())
}

/// Requests `target` in turn; returns the 99th percentile, in milliseconds.
async fn request_in_turn(server: &Server, target: &str, times: usize) -> io::Result<f64> {
    let (mut client, mut took) = (Client::open(server.address).await?, Vec::with_capacity(times));
    for _ in 0..times {
        let started = Instant::now();
        assert_eq!(client.request(&server.get(target)).await?.status, 200, "{target}");
        took.push(started.elapsed());
    }
    Ok(percentile(&mut took, 99))
}

/// Measures one room with a slow catch-up, and many rooms.
async fn joiners(stub: &Stub, size: &Size) -> io::Result<()> {
    let server = Server::start(&stub.base_url, &[]).await?;
    for (rooms, clients) in [(1, size.joiners), (size.joiners / 20, size.joiners / 2)] {
        let (calls, started) = (stub.calls(), Instant::now());
        let mut responses =
            send_at_once(&server, clients, |number| format!("of-{rooms}-{}-slow-1500", number % rooms)).await?;
        expect(&mut responses, clients, 200).await?;
        assert_eq!(stub.calls() - calls, rooms);
        let what = format!("{clients} clients, rooms: {rooms}, 1.5 s to write: one call each, last response after");
        print(&what, format!("{:.3?}", started.elapsed()));
    }
    Ok(())
}

/// Measures a fast room without a cache while another room hangs.
async fn slow_room(stub: &Stub, size: &Size) -> io::Result<()> {
    let server = Server::start(&stub.base_url, &CACHE_OFF).await?;
    for _ in 0..size.rounds {
        let quiet = request_in_turn(&server, "/callCatchUp/fast", size.requests).await?;
        let waiting = send_at_once(&server, size.hanging, |_| "slow-60000".to_owned()).await?;
        let loaded = request_in_turn(&server, "/callCatchUp/fast", size.requests).await?;
        drop(waiting);
        let what = format!("p99 of a room, quiet, and while {} clients wait for one that hangs", size.hanging);
        print(&what, format!("{quiet:.2}, {loaded:.2} ms"));
    }
    Ok(())
}

/// Measures more hanging rooms than calls may be in flight.
async fn bulkhead(stub: &Stub, size: &Size) -> io::Result<()> {
    let server = Server::start(&stub.base_url, &CACHE_OFF).await?;
    let started = Instant::now();
    let mut waiting = send_at_once(&server, size.hanging_rooms, |number| format!("{number}-slow-60000")).await?;
    // Requests beyond the limit on calls in flight are rejected at once.
    expect(&mut waiting, size.hanging_rooms - IN_FLIGHT, 503).await?;
    let what = format!("{} rooms that hang: 503 for all but {IN_FLIGHT}, the last after", size.hanging_rooms);
    print(&what, format!("{:.2?}", started.elapsed()));
    for target in ["/callConfig", "/callStatus/r1", "/meetings"] {
        let p99 = request_in_turn(&server, target, size.requests).await?;
        print(&format!("p99 of {target} meanwhile"), format!("{p99:.2} ms"));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let size = if smoke() { SMOKE } else { FULL };
    println!("{}", heading("Late joiners"));
    let stub = Stub::start(10_000, Duration::ZERO, 0).await?;
    joiners(&stub, &size).await?;
    slow_room(&stub, &size).await?;
    bulkhead(&stub, &size).await
}
