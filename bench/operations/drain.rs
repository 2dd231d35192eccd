//! A stop under load: how many requests are lost, with everybody there who would hold it up.
//!
//! `cargo bench --bench drain` runs 64 clients without pause against a load balancer's model: half with a connection for each
//! request, a quarter on a call of a second and a half, no new connection once readiness is gone. Beside them heads and
//! answers that go nowhere, and idle connections. After a while the server gets SIGTERM. `-- --smoke` does a little of it.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod rig;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rig::{Client, Server, heading, smoke, stub};

struct Size {
    clients: usize,
    slow_heads: usize,
    slow_readers: usize,
    idle: usize,
    /// Requests before the signal.
    requests: usize,
    drain_for: &'static str,
}

const FULL: Size =
    Size { clients: 64, slow_heads: 4_000, slow_readers: 500, idle: 2_000, requests: 50_000, drain_for: "5s" };
const SMOKE: Size = Size { clients: 16, slow_heads: 50, slow_readers: 10, idle: 20, requests: 2_000, drain_for: "1s" };

#[derive(Default)]
struct Count {
    answered: AtomicUsize,
    lost: AtomicUsize,
    not_200: AtomicUsize,
    /// Answers after readiness was gone that did not say that they are the last.
    not_the_last: AtomicUsize,
    not_ready: AtomicBool,
}

async fn ask_on_and_on(address: SocketAddr, request: Vec<u8>, keep_alive: bool, count: Arc<Count>) {
    let mut kept: Option<Client> = None;
    loop {
        let not_ready = count.not_ready.load(Ordering::SeqCst);
        if kept.is_none() && not_ready {
            return;
        }
        let open = match kept.take() {
            Some(open) => Ok(open),
            None => Client::open(address).await,
        };
        let outcome = match open {
            Ok(mut open) => open.ask(&request).await.map(|answer| (answer, open)),
            Err(error) => Err(error),
        };
        match outcome {
            Err(_) => drop(count.lost.fetch_add(1, Ordering::SeqCst)),
            Ok((answer, open)) => {
                count.answered.fetch_add(1, Ordering::SeqCst);
                count.not_200.fetch_add(usize::from(answer.status != 200), Ordering::SeqCst);
                count.not_the_last.fetch_add(usize::from(not_ready && !answer.close), Ordering::SeqCst);
                if keep_alive && !answer.close {
                    kept = Some(open);
                }
            }
        }
    }
}

/// Asks for readiness every 100 ms; gives when it was gone.
async fn balance(address: SocketAddr, count: Arc<Count>) -> Instant {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let answer = async {
            let mut client = Client::open(address).await?;
            client.ask(b"GET /health/ready HTTP/1.1\r\nHost: bench\r\n\r\n").await
        };
        if !answer.await.is_ok_and(|answer| answer.status == 200) {
            count.not_ready.store(true, Ordering::SeqCst);
            return Instant::now();
        }
    }
}

/// Connections that would hold a stop up; they come again as often as they are ended, until the stop.
async fn hold_up(server: &Server, size: &Size) -> Vec<Client> {
    let mut held = Vec::new();
    for _ in 0..size.slow_readers {
        if let Ok(mut client) = Client::narrow(server.address).await {
            let _ = client.send(&server.get("/callCatchUp/large")).await;
            held.push(client);
        }
    }
    for _ in 0..size.idle {
        if let Ok(mut client) = Client::open(server.address).await {
            let _ = client.ask(&server.get("/callConfig")).await;
            held.push(client);
        }
    }
    held
}

async fn slow_heads(address: SocketAddr, how_many: usize) {
    let mut held = Vec::new();
    loop {
        while held.len() < how_many {
            let Ok(mut client) = Client::open(address).await else {
                return;
            };
            let _ = client.send(b"GET /callConfig HTTP/1.1\r\n").await;
            held.push(client);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for client in &mut held {
            let _ = client.send(b"X: y\r\n").await;
        }
        held.retain(|client| !client.is_broken());
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let size = if smoke() { SMOKE } else { FULL };
    println!("{}", heading("Drain: SIGTERM under load"));
    let base_url = stub(10_000, Duration::from_millis(1), 1 << 20).await?;
    let mut server = Server::start(&base_url, &[("APP_SERVER__DRAIN_FOR", size.drain_for)]).await?;
    let count = Arc::new(Count::default());
    let held = hold_up(&server, &size).await;
    let slow = tokio::spawn(slow_heads(server.address, size.slow_heads));
    let clients: Vec<_> = (0..size.clients)
        .map(|number| {
            let room = if number % 4 == 3 { "slow-1500" } else { "r1" };
            let request = server.get(&format!("/callCatchUp/{room}"));
            tokio::spawn(ask_on_and_on(server.address, request, number % 2 == 0, Arc::clone(&count)))
        })
        .collect();
    let balancer = tokio::spawn(balance(server.address, Arc::clone(&count)));
    while count.answered.load(Ordering::SeqCst) < size.requests {
        if balancer.is_finished() {
            return Err(io::Error::other("the server was never ready"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = Instant::now();
    server.signal("TERM");
    let not_ready = balancer.await.map_err(io::Error::other)?;
    for client in clients {
        client.await.map_err(io::Error::other)?;
    }
    let ended = server.ended().await?;
    let took = told.elapsed();
    slow.abort();
    let of = |number: &AtomicUsize| number.load(Ordering::SeqCst);
    println!("{:<52}{:>12}", "requests answered", of(&count.answered));
    println!("{:<52}{:>12}", "lost (reset, refused, cut off)", of(&count.lost));
    println!("{:<52}{:>12}", "answered with another status than 200", of(&count.not_200));
    println!("{:<52}{:>12}", "answers since not ready without Connection: close", of(&count.not_the_last));
    println!("{:<52}{:>9} ms", "readiness gone after", (not_ready - told).as_millis());
    println!("{:<52}{:>10.1} s", "process gone after", took.as_secs_f64());
    println!("{:<52}{:>12}", "exit code", ended);
    println!("{:<52}{:>12}", "slow readers and idle connections there", held.len());
    Ok(())
}
