//! Overload: goodput, rejections and memory when there are more requests than Admin Control has capacity for.
//!
//! `cargo bench --bench overload` offers 1, 2, 3, 5 and 10 times the capacity of a stub. Each request is for another room, so
//! that each is a call. `-- --smoke` is a short run of a few seconds.

#![expect(clippy::print_stdout, reason = "prints its results")]
#![expect(clippy::cast_precision_loss, reason = "printed with one decimal")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod fixture;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fixture::{CACHE_OFF, Client, Server, Stub, heading, percentile, probe, smoke};

/// The calls that the stub processes at a time, and the duration of each.
const CONCURRENCY: usize = 32;
const CALL: Duration = Duration::from_millis(20);
/// A later response does not count as goodput.
const DEADLINE: Duration = Duration::from_secs(1);
const SLICE: Duration = Duration::from_secs(5);

/// The result of one request.
struct Outcome {
    status: u16,
    at: Duration,
    took: Duration,
}

/// Sends requests at a rate over a number of connections. A connection that is more than a second late skips requests.
async fn offer(
    server: &Arc<Server>,
    connections: usize,
    rate: f64,
    time: Duration,
    rooms: &Arc<AtomicUsize>,
) -> Vec<Outcome> {
    let started = Instant::now();
    let tasks = (0..connections).map(|number| {
        let (server, rooms) = (Arc::clone(server), Arc::clone(rooms));
        tokio::spawn(async move {
            let (mut outcomes, mut client) = (Vec::new(), None);
            let period = Duration::from_secs_f64(connections as f64 / rate);
            let mut next = started + period.mul_f64(number as f64 / connections as f64);
            while started.elapsed() < time {
                tokio::time::sleep_until(next.into()).await;
                next = (next + period).max(Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or(next));
                let sent = Instant::now();
                let room = rooms.fetch_add(1, Ordering::Relaxed);
                let status = request(&server, &mut client, room).await.unwrap_or(0);
                outcomes.push(Outcome { status, at: started.elapsed(), took: sent.elapsed() });
            }
            outcomes
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await.unwrap_or_default());
    }
    all
}

async fn request(server: &Server, client: &mut Option<Client>, room: usize) -> io::Result<u16> {
    let mut open = match client.take() {
        Some(open) => open,
        None => Client::open(server.address).await?,
    };
    let response = open.request(&server.get(&format!("/callCatchUp/r{room}"))).await?;
    if !response.close {
        *client = Some(open);
    }
    Ok(response.status)
}

fn row(times: usize, rate: f64, time: Duration, outcomes: &[Outcome], health: f64, memory: (f64, f64)) -> (f64, String) {
    let good = |outcome: &&Outcome| outcome.status == 200 && outcome.took <= DEADLINE;
    let goodput = outcomes.iter().filter(good).count() as f64 / time.as_secs_f64();
    let slices = (time.as_secs_f64() / SLICE.as_secs_f64()).floor().max(1.0);
    let slice = time.div_f64(slices);
    let of_slice = |number: u32| {
        let within = slice * number..slice * (number + 1);
        outcomes.iter().filter(|outcome| within.contains(&outcome.at)).filter(good).count() as f64 / slice.as_secs_f64()
    };
    let worst = (0..1_000_u32).take_while(|number| f64::from(*number) < slices).map(of_slice).fold(f64::INFINITY, f64::min);
    let rejected: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.status == 503).collect();
    let mut rejections: Vec<Duration> = rejected.iter().map(|outcome| outcome.took).collect();
    let mut responses: Vec<Duration> = outcomes.iter().filter(good).map(|outcome| outcome.took).collect();
    let other = outcomes.iter().filter(|outcome| outcome.status != 503 && !good(outcome)).count();
    let text = format!(
        "{times:>4}× {rate:>9.0} {:>9.0} {goodput:>9.0} {worst:>9.0} {:>8.0} {:>9.0} {:>8.0} {other:>6} {health:>9.1} {:>8.0} {:>+7.0}",
        outcomes.len() as f64 / time.as_secs_f64(),
        percentile(&mut responses, 99),
        rejected.len() as f64 / time.as_secs_f64(),
        percentile(&mut rejections, 99),
        memory.1,
        memory.1 - memory.0,
    );
    (goodput, text)
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let capacity = CONCURRENCY as f64 / CALL.as_secs_f64();
    let (time, connections, all): (_, _, &[usize]) =
        if smoke() { (Duration::from_secs(2), 200, &[1, 3]) } else { (Duration::from_secs(30), 2_000, &[1, 2, 3, 5, 10]) };
    println!("{}", heading("Overload: a stub with a capacity of 1,600 calls a second, each request a call"));
    println!("offered, 1/s     sent/s  200 in 1s worst 5s  p99, ms  503, 1/s  p99, ms  other health p99  RSS MiB  added");
    let stub = Stub::start(CONCURRENCY, CALL, 0).await?;
    let server = Arc::new(Server::start(&stub.base_url, &CACHE_OFF).await?);
    let rooms = Arc::new(AtomicUsize::new(0));
    // A warm-up, so that memory that stays allocated does not count.
    offer(&server, connections, capacity / 2.0, Duration::from_secs(2), &rooms).await;
    let before = server.memory();
    let (mut peak, mut last) = (0.0_f64, 0.0);
    for &times in all {
        let stop = Arc::new(AtomicUsize::new(0));
        let health = tokio::spawn(probe(server.address, Arc::clone(&stop)));
        let rate = capacity * times as f64;
        let outcomes = offer(&server, connections, rate, time, &rooms).await;
        stop.store(1, Ordering::Relaxed);
        let health = health.await.unwrap_or(f64::NAN);
        let (goodput, text) = row(times, rate, time, &outcomes, health, (before, server.memory()));
        println!("{text}");
        (peak, last) = (peak.max(goodput), goodput);
    }
    println!("\nGoodput at the highest rate ÷ its peak: {:.2} (target: 0.80)", last / peak);
    Ok(())
}
