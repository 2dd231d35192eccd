//! Fixtures: a server under test, a client that sends any bytes, forged tokens, and fake upstreams.

pub mod browser;
pub mod check_config;
pub mod client;
pub mod database;
pub mod events;
pub mod fake_upstream;
pub mod identity_provider;
pub mod openid_provider;
pub mod pgbouncer;
pub mod postgresql_proxy;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod redis_proxy;
pub mod replicas;
pub mod request_framing;
pub mod response;
pub mod s3;
pub mod secrets;
mod server;
pub mod small_disk;
pub mod tls;
pub mod tokens;
pub mod writers;

use std::io::Write as _;
use std::time::{Duration, Instant};

pub use server::{SandboxServer, TestClock, TestServer};

/// The secret that test servers sign with.
pub const SECRET: &str = "a test secret: kX9vQ2mZ7rT4wY8uB1nC5pL0";

/// The account that [`TestServer::with_account`] adds.
pub const EMAIL: &str = "ann@example.com";
/// Its password. "canary" is searched for in logs and output.
pub const PASSWORD: &str = "correct horse canary 🐎";

/// Longer than any deadline in the tests: a server that does not respond fails the test instead of hanging it.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Prints, past the output capture of the test harness, that this machine cannot run a test.
pub fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {what}: {why}\n");
}

/// Returns whether to run at the size of a release check (docs/QA.md).
pub fn full_size() -> bool {
    match std::env::var("TEST_FULL_SIZE").as_deref() {
        Ok("1") => true,
        Ok("0") | Err(_) => false,
        Ok(other) => panic!("TEST_FULL_SIZE is 1 or 0, not {other}"),
    }
}

/// Polls until `condition` holds; panics after [`TEST_TIMEOUT`].
#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < TEST_TIMEOUT, "timed out waiting: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
