//! More requests than Admin Control can carry: what is still answered, how fast the rest is turned away, and what it costs.
//!
//! `cargo bench --bench overload` offers 1, 2, 3, 5 and 10 times the capacity of a stub, each for its own room, so that every
//! answer is a call. `-- --smoke` does a little of it in a few seconds.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::cast_precision_loss, reason = "counts, shown with one decimal")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod rig;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rig::{Client, Server, heading, percentile, probe, smoke, stub};

/// The stub works on so many calls at a time, each for so long.
const AT_A_TIME: usize = 32;
const EACH: Duration = Duration::from_millis(20);
/// An answer after this is of no use to anybody.
const IN_TIME: Duration = Duration::from_secs(1);
const SLICE: Duration = Duration::from_secs(5);

/// How one request ended, when, and after how long.
struct Outcome {
    status: u16,
    at: Duration,
    took: Duration,
}

/// Offers so many requests a second over so many connections. A connection that is late by more than a second skips what it
/// missed.
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
                let asked = Instant::now();
                let room = rooms.fetch_add(1, Ordering::Relaxed);
                let status = ask(&server, &mut client, room).await.unwrap_or(0);
                outcomes.push(Outcome { status, at: started.elapsed(), took: asked.elapsed() });
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

async fn ask(server: &Server, client: &mut Option<Client>, room: usize) -> io::Result<u16> {
    let mut open = match client.take() {
        Some(open) => open,
        None => Client::open(server.address).await?,
    };
    let answer = open.ask(&server.get(&format!("/callCatchUp/r{room}"))).await?;
    if !answer.close {
        *client = Some(open);
    }
    Ok(answer.status)
}

fn row(times: usize, rate: f64, time: Duration, outcomes: &[Outcome], health: f64, memory: (f64, f64)) -> (f64, String) {
    let good = |outcome: &&Outcome| outcome.status == 200 && outcome.took <= IN_TIME;
    let goodput = outcomes.iter().filter(good).count() as f64 / time.as_secs_f64();
    let slices = (time.as_secs_f64() / SLICE.as_secs_f64()).floor().max(1.0);
    let slice = time.div_f64(slices);
    let of_slice = |number: u32| {
        let within = slice * number..slice * (number + 1);
        outcomes.iter().filter(|outcome| within.contains(&outcome.at)).filter(good).count() as f64 / slice.as_secs_f64()
    };
    let worst = (0..1_000_u32).take_while(|number| f64::from(*number) < slices).map(of_slice).fold(f64::INFINITY, f64::min);
    let refused: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.status == 503).collect();
    let mut refusals: Vec<Duration> = refused.iter().map(|outcome| outcome.took).collect();
    let mut answers: Vec<Duration> = outcomes.iter().filter(good).map(|outcome| outcome.took).collect();
    let other = outcomes.iter().filter(|outcome| outcome.status != 503 && !good(outcome)).count();
    let text = format!(
        "{times:>4}× {rate:>9.0} {:>9.0} {goodput:>9.0} {worst:>9.0} {:>8.0} {:>9.0} {:>8.0} {other:>6} {health:>9.1} {:>8.0} {:>+7.0}",
        outcomes.len() as f64 / time.as_secs_f64(),
        percentile(&mut answers, 99),
        refused.len() as f64 / time.as_secs_f64(),
        percentile(&mut refusals, 99),
        memory.1,
        memory.1 - memory.0,
    );
    (goodput, text)
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let capacity = AT_A_TIME as f64 / EACH.as_secs_f64();
    let (time, connections, all): (_, _, &[usize]) =
        if smoke() { (Duration::from_secs(2), 200, &[1, 3]) } else { (Duration::from_secs(30), 2_000, &[1, 2, 3, 5, 10]) };
    println!("{}", heading("Overload: a stub that can carry 1,600 calls a second, every request a call"));
    println!("offered, 1/s     sent/s  200 in 1s worst 5s  p99, ms  503, 1/s  p99, ms  other health p99  RSS MiB  added");
    let server = Arc::new(Server::start(&stub(AT_A_TIME, EACH, 0).await?, &[]).await?);
    let rooms = Arc::new(AtomicUsize::new(0));
    // Warm, so that memory is compared with memory in use.
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
    println!("\nGoodput at the highest offer ÷ its peak: {:.2} (bar: 0.80)", last / peak);
    Ok(())
}
