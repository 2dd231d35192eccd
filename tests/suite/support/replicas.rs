//! Several servers on one database, one Admin Control and one Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Script;

use super::client::Client;
use super::database::TestDatabase;
use super::redis::Redis;
use super::response::Response;
use super::{SandboxServer, TestClock, TestServer, tokens, wait_until};

/// The duration of a call.
pub const WRITING: Duration = Duration::from_millis(1_500);
/// Extra time that a request may take without Redis, besides one timeout.
pub const TOLERANCE: Duration = Duration::from_millis(50);
/// The timeout of a Redis command.
pub const REDIS_TIMEOUT: Duration = Duration::from_millis(250);
/// The timeout of a call in these tests.
const DEADLINE: (&str, &str) = ("APP_ADMIN_CONTROL__TIMEOUT", "5s");

/// The servers.
pub struct Replicas {
    pub servers: Vec<TestServer>,
    pub script: Script,
    pub sandbox: SandboxServer,
}

impl Replicas {
    pub fn start(number: usize, redis: &str) -> Self {
        Self::with(number, redis, &[])
    }

    pub fn with(number: usize, redis: &str, settings: &[(&str, &str)]) -> Self {
        let script = Script::echo();
        let sandbox = SandboxServer::start(script.clone());
        let database = Arc::new(TestDatabase::new());
        let settings = [&settings_of(&sandbox.base_url, redis)[..], settings].concat();
        let servers = (0..number).map(|_| TestServer::on(Arc::clone(&database), TestClock::default(), &settings)).collect();
        Self { servers, script, sandbox }
    }

    pub fn client(&self, number: usize) -> Client {
        self.servers[number].client()
    }

    pub fn calls(&self) -> usize {
        calls_of(&self.script)
    }
}

/// Counts the catch-up calls.
pub fn calls_of(script: &Script) -> usize {
    script.requests().iter().filter(|call| call.target.contains("/call-catchup/")).count()
}

pub fn settings_of<'a>(base_url: &'a str, redis: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("APP_ADMIN_CONTROL__BASE_URL", base_url),
        ("APP_CACHE__REDIS_URL", redis),
        ("APP_CATCH_UP__FRESH_FOR", "30s"),
        ("APP_CATCH_UP__STALE_IF_ERROR", "60s"),
        DEADLINE,
    ]
}

pub fn get(client: Client, room: &str) -> Response {
    client.get(&format!("/callCatchUp/{room}"), Some(&tokens::user()))
}

/// Reads a metric from the management listener.
#[track_caller]
pub fn metric(management: Client, series: &str) -> u64 {
    let page = management.get("/metrics", None);
    let line = page.text().lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("no {series}")).trim().parse().unwrap()
}

/// Waits until responses for this many rooms are in Redis.
pub fn wait_until_stored(redis: &Redis, rooms: usize) {
    wait_until("it is stored", || redis.keys("*:response").len() == rooms);
}

/// Requests new rooms from `client` and, for comparison, from a server without Redis.
/// At most one response may wait for Redis.
#[track_caller]
pub fn assert_rooms_served(client: Client, alone: Client, name: &str) {
    let fetch = |client: Client, room: &str| {
        let started = Instant::now();
        get(client, room).assert_success(&format!("\"{room}\""));
        started.elapsed()
    };
    let rooms = (0..20).map(|number| format!("{name}{number}"));
    let (mut took, mut usual): (Vec<_>, Vec<_>) = rooms.map(|room| (fetch(client, &room), fetch(alone, &room))).unzip();
    took.sort_unstable();
    usual.sort_unstable();
    // Multiples, because on a busy machine both vary by their size.
    assert!(took[10] < 4 * usual[10] + TOLERANCE, "the median: {took:?}, usually {usual:?}");
    // One waits for the timeout.
    assert!(took[19] < 4 * usual[19] + REDIS_TIMEOUT + 4 * TOLERANCE, "the slowest: {took:?}, usually {usual:?}");
}
