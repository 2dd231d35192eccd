//! Draining under load: how many requests are lost while slow clients and idle connections are open.
//!
//! `cargo bench --bench drain` runs 64 clients without pause, which act as a load readiness: half with a connection for each
//! request, a quarter with a call of 1.5 s, and no new connection once the server is not ready. Slow heads, slow readers and
//! idle connections are open meanwhile. Then the server gets SIGTERM. `-- --smoke` is a short run.

#![expect(clippy::print_stdout, reason = "prints its results")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod fixture;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fixture::{CACHE_OFF, Client, Count, Server, Stub, heading, print, send_requests, smoke};

struct Size {
    clients: usize,
    slow_heads: usize,
    slow_readers: usize,
    idle: usize,
    /// Number of requests before the signal.
    requests: usize,
    drain_for: &'static str,
}

const FULL: Size =
    Size { clients: 64, slow_heads: 4_000, slow_readers: 500, idle: 2_000, requests: 50_000, drain_for: "5s" };
const SMOKE: Size = Size { clients: 16, slow_heads: 50, slow_readers: 10, idle: 20, requests: 2_000, drain_for: "1s" };

/// Requests readiness every 100 ms; returns when it was lost.
async fn wait_until_not_ready(address: SocketAddr, count: Arc<Count>) -> Instant {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let response = async {
            let mut client = Client::open(address).await?;
            client.request(b"GET /health/ready HTTP/1.1\r\nHost: bench\r\n\r\n").await
        };
        if !response.await.is_ok_and(|response| response.status == 200) {
            count.not_ready.store(true, Ordering::SeqCst);
            return Instant::now();
        }
    }
}

/// Opens slow readers and idle connections.
async fn open_slow_clients(server: &Server, size: &Size) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..size.slow_readers {
        if let Ok(mut client) = Client::narrow(server.address).await {
            let _ = client.send(&server.get("/callCatchUp/large")).await;
            clients.push(client);
        }
    }
    for _ in 0..size.idle {
        if let Ok(mut client) = Client::open(server.address).await {
            let _ = client.request(&server.get("/callConfig")).await;
            clients.push(client);
        }
    }
    clients
}

/// Sends heads that never end, and replaces closed connections.
async fn slow_heads(address: SocketAddr, number: usize) {
    let mut clients = Vec::new();
    loop {
        while clients.len() < number {
            let Ok(mut client) = Client::open(address).await else {
                return;
            };
            let _ = client.send(b"GET /callConfig HTTP/1.1\r\n").await;
            clients.push(client);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for client in &mut clients {
            let _ = client.send(b"X: y\r\n").await;
        }
        clients.retain(|client| !client.is_reset());
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let size = if smoke() { SMOKE } else { FULL };
    println!("{}", heading("Drain: SIGTERM under load"));
    let stub = Stub::start(10_000, Duration::from_millis(1), 1 << 20).await?;
    let settings = [&CACHE_OFF[..], &[("APP_SERVER__DRAIN_FOR", size.drain_for)]].concat();
    let mut server = Server::start(&stub.base_url, &settings).await?;
    let count = Arc::new(Count::default());
    let slow_clients = open_slow_clients(&server, &size).await;
    let slow = tokio::spawn(slow_heads(server.address, size.slow_heads));
    let clients: Vec<_> = (0..size.clients)
        .map(|number| {
            let room = if number % 4 == 3 { "slow-1500" } else { "r1" };
            let request = server.get(&format!("/callCatchUp/{room}"));
            tokio::spawn(send_requests(server.address, request, number % 2 == 0, Arc::clone(&count)))
        })
        .collect();
    let readiness = tokio::spawn(wait_until_not_ready(server.address, Arc::clone(&count)));
    while count.responses.load(Ordering::SeqCst) < size.requests {
        if readiness.is_finished() {
            return Err(io::Error::other("the server was never ready"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let signalled = Instant::now();
    server.signal("TERM");
    let not_ready = readiness.await.map_err(io::Error::other)?;
    for client in clients {
        client.await.map_err(io::Error::other)?;
    }
    let ended = server.wait().await?;
    let took = signalled.elapsed();
    slow.abort();
    count.print();
    print("not ready after", format!("{} ms", (not_ready - signalled).as_millis()));
    print("process ended after", format!("{:.1} s", took.as_secs_f64()));
    print("exit code", ended);
    print("slow readers and idle connections", slow_clients.len());
    Ok(())
}
