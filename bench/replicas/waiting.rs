//! What a call costs Redis that other replicas wait for, and how soon they help themselves when Redis stands still meanwhile.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Reply;

use super::redis::Redis;
use super::{PATIENCE, Stage, connect, read_until, row};

/// How long what went wrong is left to come right again, between two rounds.
const RECOVERY: Duration = Duration::from_secs(3);

/// Three replicas; each but the one that calls waits for it.
pub(super) fn show(redis: &Redis, takes: Duration, rounds: usize) -> io::Result<()> {
    let stage = Stage::set(3, &[("APP_CACHE__REDIS_URL", &redis.url())])?;
    let calls = || stage.script.asked().iter().filter(|asked| asked.target.contains("/call-catchup/")).count();
    let ask = |room: &str| -> io::Result<Vec<TcpStream>> {
        stage.script.catch_up(room, Reply::data("\"written\"").after(takes));
        let asked = stage.servers.iter().map(|(address, _)| {
            let mut stream = connect(*address)?;
            stream.write_all(stage.request(&format!("/callCatchUp/{room}")).as_bytes())?;
            Ok(stream)
        });
        asked.collect()
    };
    let are_answered = |asked: &mut Vec<TcpStream>| asked.iter_mut().try_for_each(|asked| read_until(asked, "\"written\"}"));

    let commands = || (done(redis, "eval"), done(redis, "get"));
    let before = commands();
    are_answered(&mut ask("waited-for")?)?;
    // What the call gave is told after the answer.
    std::thread::park_timeout(Duration::from_millis(100));
    let after = commands();
    row(
        &format!("what a call of {takes:?} costs Redis, for which two replicas wait"),
        &format!("{} scripts, {} `GET`s", after.0 - before.0, after.1 - before.1),
    );

    let mut took = Vec::new();
    for round in 0..rounds {
        let before = calls();
        let mut asked = ask(&format!("lost{round}"))?;
        std::thread::park_timeout(takes / 2);
        if calls() != before + 1 {
            return Err(io::Error::other("more than one calls"));
        }
        redis.signal("STOP");
        let started = Instant::now();
        while calls() < before + 3 {
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other("they wait on"));
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        took.push(started.elapsed());
        are_answered(&mut asked)?;
        redis.signal("CONT");
        std::thread::park_timeout(RECOVERY);
    }
    took.sort_unstable();
    if let (Some(middle), Some(longest)) = (took.get(rounds / 2), took.last()) {
        let figures = format!("p50 {middle:.0?}, at most {longest:.0?}, of {rounds}");
        row("from Redis's standing still to the calls of both that wait", &figures);
    }
    Ok(())
}

/// How often Redis did that.
fn done(redis: &Redis, command: &str) -> u64 {
    let text = redis.ask(&["INFO", "commandstats"]);
    let calls = text.split(&format!("cmdstat_{command}:calls=")).nth(1).and_then(|rest| rest.split(',').next());
    calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
}
