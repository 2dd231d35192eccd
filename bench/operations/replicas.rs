//! Replicas: cost of the shared and of the local cache, processor time of a request on one to three replicas, and cost of
//! following another replica's call. `bench/run --only P9` measures streams.
//!
//! `cargo bench --bench replicas` starts servers, a stub of Admin Control and a Redis on loopback. `-- --smoke` is a short run
//! of a few seconds. Calls are asserted, times are not.

#![expect(clippy::print_stdout, reason = "prints its results")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod fixture;
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark cannot continue without it")]
#[expect(dead_code, unreachable_pub, reason = "shared with the suite, which uses all of it")]
#[path = "../../tests/suite/support/redis.rs"]
mod redis;

use std::io;
use std::time::{Duration, Instant};

use fixture::{Client, Server, Stub, heading, percentile, print, smoke};
use redis::Redis;

const TIMEOUT: Duration = Duration::from_mins(1);
/// The time between two rounds, for the servers to recover.
const RECOVERY: Duration = Duration::from_secs(3);

struct Size {
    rooms: u32,
    requests: u32,
    /// The duration of a call that followers wait for, in milliseconds.
    call: u64,
    /// How often Redis is suspended.
    losses: usize,
}

const FULL: Size = Size { rooms: 2_000, requests: 60_000, call: 3_000, losses: 10 };
const SMOKE: Size = Size { rooms: 50, requests: 600, call: 1_000, losses: 1 };

/// Starts replicas with one client each.
async fn start(number: usize, stub: &Stub, settings: &[(&str, &str)]) -> io::Result<Vec<(Server, Client)>> {
    let mut replicas = Vec::new();
    for _ in 0..number {
        let server = Server::start(&stub.base_url, settings).await?;
        let client = Client::open(server.address).await?;
        replicas.push((server, client));
    }
    Ok(replicas)
}

fn processor(replicas: &[(Server, Client)]) -> f64 {
    replicas.iter().map(|(server, _)| server.processor()).sum()
}

/// Measures the first request for rooms, in turn.
async fn first_requests(cache: &str, stub: &Stub, settings: &[(&str, &str)], size: &Size) -> io::Result<()> {
    let mut replicas = start(1, stub, settings).await?;
    let (before, mut took) = (processor(&replicas), Vec::new());
    for number in 0..size.rooms {
        for (server, client) in &mut replicas {
            let started = Instant::now();
            client.request(&server.get(&format!("/callCatchUp/{cache}{number}"))).await?;
            took.push(started.elapsed());
        }
    }
    let cpu = (processor(&replicas) - before) * 1e6 / f64::from(size.rooms);
    let (middle, slow) = (percentile(&mut took, 50), percentile(&mut took, 99));
    print(&format!("a room's first request, {cache} cache: p50, p99"), format!("{middle:.2}, {slow:.2} ms"));
    print(&format!("a room's first request, {cache} cache: CPU"), format!("{cpu:.0} µs"));
    Ok(())
}

/// Measures the processor time of a cache hit over all replicas.
async fn cache_hits(number: u32, stub: &Stub, settings: &[(&str, &str)], size: &Size) -> io::Result<()> {
    let mut replicas = start(number as usize, stub, settings).await?;
    let before = processor(&replicas);
    for _ in 0..size.requests / number {
        for (server, client) in &mut replicas {
            client.request(&server.get("/callCatchUp/r1")).await?;
        }
    }
    let cpu = (processor(&replicas) - before) * 1e6 / f64::from(size.requests);
    print(&format!("a cache hit, replicas: {number}: CPU"), format!("{cpu:.0} µs"));
    Ok(())
}

/// Measures three replicas: one leader and two followers, with Redis and when it is suspended.
async fn following(redis: &Redis, stub: &Stub, settings: &[(&str, &str)], size: &Size) -> io::Result<()> {
    let mut replicas = start(3, stub, settings).await?;
    let (scripts, gets) = (command_count(redis, "eval"), command_count(redis, "get"));
    request_all(&mut replicas, &format!("followed-slow-{}", size.call)).await?;
    read_all(&mut replicas).await?;
    // The result is stored after the response.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let what = format!("scripts and `GET`s for a call of {} ms with two followers", size.call);
    print(&what, format!("{}, {}", command_count(redis, "eval") - scripts, command_count(redis, "get") - gets));
    let mut took = Vec::new();
    for round in 0..size.losses {
        let before = stub.calls();
        request_all(&mut replicas, &format!("lost{round}-slow-{}", size.call)).await?;
        tokio::time::sleep(Duration::from_millis(size.call / 2)).await;
        assert_eq!(stub.calls(), before + 1, "one replica calls");
        redis.signal("STOP");
        let started = Instant::now();
        while stub.calls() < before + 3 {
            assert!(started.elapsed() < TIMEOUT, "the followers call");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.push(started.elapsed());
        read_all(&mut replicas).await?;
        redis.signal("CONT");
        tokio::time::sleep(RECOVERY).await;
    }
    let (middle, longest) = (percentile(&mut took, 50), percentile(&mut took, 100));
    let what = format!("from the suspension of Redis to both followers' calls: p50, most of {}", size.losses);
    print(&what, format!("{middle:.0}, {longest:.0} ms"));
    Ok(())
}

async fn request_all(replicas: &mut [(Server, Client)], room: &str) -> io::Result<()> {
    for (server, client) in replicas {
        client.send(&server.get(&format!("/callCatchUp/{room}"))).await?;
    }
    Ok(())
}

async fn read_all(replicas: &mut [(Server, Client)]) -> io::Result<()> {
    for (_, client) in replicas {
        assert_eq!(client.request(b"").await?.status, 200);
    }
    Ok(())
}

/// Returns how often Redis ran a command.
fn command_count(redis: &Redis, command: &str) -> u64 {
    let text = redis.command(&["INFO", "commandstats"]);
    let calls = text.split(&format!("cmdstat_{command}:calls=")).nth(1).and_then(|rest| rest.split(',').next());
    calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let size = if smoke() { SMOKE } else { FULL };
    println!("{}", heading("Replicas"));
    let (stub, redis) = (Stub::start(10_000, Duration::ZERO, 0).await?, Redis::start());
    let url = redis.url();
    let shared = [("APP_CACHE__REDIS_URL", url.as_str())];
    first_requests("local", &stub, &[], &size).await?;
    first_requests("shared", &stub, &shared, &size).await?;
    for number in 1..=3 {
        cache_hits(number, &stub, &shared, &size).await?;
    }
    following(&redis, &stub, &shared, &size).await
}
