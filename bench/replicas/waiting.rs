//! The cost of a followed call for Redis, and how soon followers call for themselves when Redis is suspended.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Reply;

use super::redis::Redis;
use super::{TIMEOUT, TestBed, connect, read_until, row};

/// The time between two rounds, for the servers to recover.
const RECOVERY: Duration = Duration::from_secs(3);

/// Measures three replicas: one leader and two followers.
pub(super) fn measure(redis: &Redis, call: Duration, rounds: usize) -> io::Result<()> {
    let bed = TestBed::start(3, &[("APP_CACHE__REDIS_URL", &redis.url())])?;
    let calls = || bed.script.requests().iter().filter(|request| request.target.contains("/call-catchup/")).count();
    let request = |room: &str| -> io::Result<Vec<TcpStream>> {
        bed.script.catch_up(room, Reply::data("\"written\"").after(call));
        let streams = bed.servers.iter().map(|(address, _)| {
            let mut stream = connect(*address)?;
            stream.write_all(bed.request(&format!("/callCatchUp/{room}")).as_bytes())?;
            Ok(stream)
        });
        streams.collect()
    };
    let read_all =
        |streams: &mut Vec<TcpStream>| streams.iter_mut().try_for_each(|stream| read_until(stream, "\"written\"}"));

    let commands = || (command_count(redis, "eval"), command_count(redis, "get"));
    let before = commands();
    read_all(&mut request("followed")?)?;
    // The result is stored after the response.
    std::thread::park_timeout(Duration::from_millis(100));
    let after = commands();
    row(
        &format!("commands for a call of {call:?} with two followers"),
        &format!("{} scripts, {} `GET`s", after.0 - before.0, after.1 - before.1),
    );

    let mut took = Vec::new();
    for round in 0..rounds {
        let before = calls();
        let mut streams = request(&format!("lost{round}"))?;
        std::thread::park_timeout(call / 2);
        if calls() != before + 1 {
            return Err(io::Error::other("more than one replica calls"));
        }
        redis.signal("STOP");
        let started = Instant::now();
        while calls() < before + 3 {
            if started.elapsed() > TIMEOUT {
                return Err(io::Error::other("the followers did not call"));
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        took.push(started.elapsed());
        read_all(&mut streams)?;
        redis.signal("CONT");
        std::thread::park_timeout(RECOVERY);
    }
    took.sort_unstable();
    if let (Some(middle), Some(longest)) = (took.get(rounds / 2), took.last()) {
        let figures = format!("p50 {middle:.0?}, at most {longest:.0?}, of {rounds}");
        row("from the suspension of Redis to the calls of both followers", &figures);
    }
    Ok(())
}

/// Returns how often Redis ran a command.
fn command_count(redis: &Redis, command: &str) -> u64 {
    let text = redis.command(&["INFO", "commandstats"]);
    let calls = text.split(&format!("cmdstat_{command}:calls=")).nth(1).and_then(|rest| rest.split(',').next());
    calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
}
