//! A rolling restart: two servers behind a load balancer's model, one after the other stopped and started again, under load. What is
//! lost is counted.
//!
//! `cargo bench --bench rolling` does ten rounds with 200,000 requests at least: 64 clients without pause, half of them with a
//! connection for each request, a quarter on a call of a third of a second. `-- --smoke` does a little of it. It ends with 1 if a
//! request was lost.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[expect(unreachable_pub, reason = "the suite's, which has it in a module of its own")]
#[path = "../../tests/suite/support/balancing.rs"]
mod balancing;
#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod rig;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rig::{Client, Server, heading, smoke, stub};
use tokio::net::TcpListener;

struct Size {
    clients: usize,
    rounds: usize,
    /// In all, at least.
    requests: usize,
    drain_for: &'static str,
}

const FULL: Size = Size { clients: 64, rounds: 10, requests: 200_000, drain_for: "2s" };
const SMOKE: Size = Size { clients: 16, rounds: 1, requests: 1_000, drain_for: "1s" };

#[derive(Default)]
struct Count {
    answered: AtomicUsize,
    lost: AtomicUsize,
    not_200: AtomicUsize,
    over: AtomicBool,
}

impl Count {
    fn of(number: &AtomicUsize) -> usize {
        number.load(Ordering::SeqCst)
    }
}

/// Asks without pause, over a connection that is kept as long as the server keeps it, or each time over another one.
async fn ask_on_and_on(address: SocketAddr, request: Vec<u8>, keep_alive: bool, count: Arc<Count>) {
    let mut kept: Option<Client> = None;
    while !count.over.load(Ordering::SeqCst) {
        let asked = async {
            let mut client = match kept.take() {
                Some(client) => client,
                None => Client::open(address).await?,
            };
            let answer = client.ask(&request).await?;
            Ok::<_, io::Error>((client, answer))
        };
        match asked.await {
            Err(error) => {
                println!("lost: {error}");
                count.lost.fetch_add(1, Ordering::SeqCst);
            }
            Ok((client, answer)) => {
                count.answered.fetch_add(1, Ordering::SeqCst);
                count.not_200.fetch_add(usize::from(answer.status != 200), Ordering::SeqCst);
                kept = Some(client).filter(|_| keep_alive && !answer.close);
            }
        }
    }
}

/// Stops the server and starts another one in its place; gives how long nobody was there.
async fn restart(server: &mut Server, base_url: &str, settings: &[(&str, &str)]) -> io::Result<Duration> {
    server.signal("TERM");
    let code = server.ended().await?;
    if code != 0 {
        return Err(io::Error::other(format!("the server ended with {code}")));
    }
    let gone = Instant::now();
    *server = Server::start_at(server.address, base_url, settings).await?;
    let took = gone.elapsed();
    // As whoever rolls does: the other one's turn comes when the balancer knows this one again.
    tokio::time::sleep(3 * balancing::CHECKS).await;
    Ok(took)
}

#[tokio::main]
async fn main() -> io::Result<ExitCode> {
    let size = if smoke() { SMOKE } else { FULL };
    println!("{}", heading("Rolling restart: two servers behind a load balancer's model, under load"));
    let base_url = stub(10_000, Duration::from_millis(1), 0).await?;
    let settings = [("APP_SERVER__DRAIN_FOR", size.drain_for)];
    let mut servers = [Server::start(&base_url, &settings).await?, Server::start(&base_url, &settings).await?];
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let balancer = tokio::spawn(balancing::balance(listener, servers.iter().map(|server| server.address).collect()));
    let count = Arc::new(Count::default());
    let clients: Vec<_> = (0..size.clients)
        .map(|number| {
            let room = if number % 4 == 3 { "slow-333" } else { "r1" };
            let [server, ..] = &servers;
            let request = server.get(&format!("/callCatchUp/{room}"));
            tokio::spawn(ask_on_and_on(address, request, number % 2 == 0, Arc::clone(&count)))
        })
        .collect();
    let (started, restarts) = (Instant::now(), size.rounds * servers.len());
    let mut longest = Duration::ZERO;
    for number in 0..restarts {
        // Spread over the whole, so that each of them meets its share of requests.
        while Count::of(&count.answered) < size.requests * number / restarts {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let [one, other] = &mut servers;
        let server = if number % 2 == 0 { one } else { other };
        longest = longest.max(restart(server, &base_url, &settings).await?);
    }
    while Count::of(&count.answered) < size.requests {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    count.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.map_err(io::Error::other)?;
    }
    balancer.abort();
    let (lost, not_200) = (Count::of(&count.lost), Count::of(&count.not_200));
    println!("{:<52}{:>12}", "restarts", restarts);
    println!("{:<52}{:>12}", "requests answered", Count::of(&count.answered));
    println!("{:<52}{:>12}", "lost (reset, refused, cut off)", lost);
    println!("{:<52}{:>12}", "answered with another status than 200", not_200);
    println!("{:<52}{:>9} ms", "from the end of a server to the next one's start, at most", longest.as_millis());
    println!("{:<52}{:>10.1} s", "in all", started.elapsed().as_secs_f64());
    Ok(if lost + not_200 == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
