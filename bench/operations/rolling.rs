//! Rolling restart: counts the requests that are lost when servers behind nginx are restarted in turn, under load.
//!
//! `cargo bench --bench rolling` restarts two servers ten times during at least 200,000 requests of 64 clients without pause:
//! half with a connection for each request, a quarter with a call of a third of a second. nginx has the configuration of
//! `deploy/compose.replicas.yaml`. With `-- --replicas` three servers
//! share a PostgreSQL and a Redis, started from the installed binaries, and two clients log in repeatedly. `-- --smoke` is a
//! short run. The exit code is 1 if a request was lost.

#![expect(clippy::print_stdout, reason = "prints its results")]

#[expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark cannot continue without it")]
#[expect(dead_code, unreachable_pub, reason = "shared with the suite, which uses all of it")]
#[path = "../../tests/suite/support/database.rs"]
mod database;
#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod fixture;
#[expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark cannot continue without it")]
#[expect(clippy::indexing_slicing, dead_code, unreachable_pub, reason = "shared with the suite, which uses all of it")]
#[path = "../../tests/suite/support/proxy/program.rs"]
mod proxy;
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark cannot continue without it")]
#[expect(dead_code, unreachable_pub, reason = "shared with the suite, which uses all of it")]
#[path = "../../tests/suite/support/redis.rs"]
mod redis;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fixture::{CACHE_OFF, Count, Server, Stub, heading, print, send_requests, smoke};

struct Size {
    clients: usize,
    rounds: usize,
    /// Minimum in all rounds.
    requests: usize,
    drain_for: &'static str,
}

const FULL: Size = Size { clients: 64, rounds: 10, requests: 200_000, drain_for: "2s" };
const SMOKE: Size = Size { clients: 32, rounds: 1, requests: 1_000, drain_for: "1s" };

const LOGIN: &str = r#"{"email":"ann@example.com","password":"correct horse battery staple"}"#;

/// Returns the request of client `number`; with replicas, two of 64 log in.
fn request_of(number: usize, server: &Server, replicated: bool) -> Vec<u8> {
    match number % 32 {
        31 if replicated => format!(
            "POST /auth/login HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{LOGIN}",
            LOGIN.len()
        )
        .into_bytes(),
        place if place % 4 == 3 => server.get("/callCatchUp/slow-333"),
        _ => server.get("/callCatchUp/r1"),
    }
}

/// Adds the account for the logins.
fn add_account(database: &str) -> io::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
    command.args(["user", "add", "--email", "ann@example.com", "--name", "Ann", "--password-stdin"]);
    command.current_dir("/").env_clear().env("APP_DATABASE__URL", database);
    let mut adding = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    if let Some(mut input) = adding.stdin.take() {
        input.write_all(b"correct horse battery staple\n")?;
    }
    if adding.wait()?.success() { Ok(()) } else { Err(io::Error::other("the account was not added")) }
}

/// Restarts a server; returns how long its address was not served.
async fn restart(server: &mut Server, base_url: &str, settings: &[(&str, &str)]) -> io::Result<Duration> {
    server.signal("TERM");
    let code = server.wait().await?;
    if code != 0 {
        return Err(io::Error::other(format!("the server ended with {code}")));
    }
    let ended = Instant::now();
    *server = Server::start_at(server.address, base_url, settings).await?;
    Ok(ended.elapsed())
}

#[tokio::main]
async fn main() -> io::Result<ExitCode> {
    let size = if smoke() { SMOKE } else { FULL };
    let replicated = std::env::args().any(|argument| argument == "--replicas");
    let what = if replicated { "three servers on one PostgreSQL and one Redis" } else { "two servers" };
    println!("{}", heading(&format!("Rolling restart: {what} behind nginx, under load")));
    let stub = Stub::start(10_000, Duration::from_millis(1), 0).await?;
    // Both end with this program.
    let shared = replicated.then(|| (database::Cluster::start(), redis::Redis::start()));
    let urls = shared.as_ref().map(|(cluster, redis)| (cluster.new_database(), redis.url()));
    let mut settings = [&CACHE_OFF[..], &[("APP_SERVER__DRAIN_FOR", size.drain_for)]].concat();
    if let Some((database, redis)) = &urls {
        settings.extend([("APP_DATABASE__URL", database.as_str()), ("APP_CACHE__REDIS_URL", redis)]);
        add_account(database)?;
    }
    let mut servers = Vec::new();
    for _ in 0..if replicated { 3 } else { 2 } {
        servers.push(Server::start(&stub.base_url, &settings).await?);
    }
    let behind: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let proxy = proxy::Program::start(proxy::ProxyKind::ComposeNginx, &behind, ("", ""));
    let address = proxy.address;
    let count = Arc::new(Count::default());
    let clients: Vec<_> = (0..size.clients)
        .filter_map(|number| Some((number, request_of(number, servers.first()?, replicated))))
        .map(|(number, request)| tokio::spawn(send_requests(address, request, number % 8 < 4, Arc::clone(&count))))
        .collect();
    let (started, restarts) = (Instant::now(), size.rounds * servers.len());
    let mut longest = Duration::ZERO;
    for number in 0..restarts {
        // Spreads the restarts over the whole run.
        while count.responses.load(Ordering::SeqCst) < size.requests * number / restarts {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let next = number % servers.len();
        if let Some(server) = servers.get_mut(next) {
            longest = longest.max(restart(server, &stub.base_url, &settings).await?);
        }
    }
    while count.responses.load(Ordering::SeqCst) < size.requests {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    count.is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.map_err(io::Error::other)?;
    }
    drop(proxy);
    print("restarts", restarts);
    let is_lossless = count.print();
    print("from the end of a server to its start, at most", format!("{} ms", longest.as_millis()));
    print("total", format!("{:.1} s", started.elapsed().as_secs_f64()));
    Ok(if is_lossless { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
