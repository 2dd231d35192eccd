//! The shared cache while Redis is slow, loading, full, gone or holds foreign values.
//!
//! Each replica then uses its local cache only, and requests are still served.

use std::cell::Cell;
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::{Reply, Script};

use crate::support::client::{Client, Connection, request};
use crate::support::fake_upstream::FakeUpstream;
use crate::support::process::ServerProcess;
use crate::support::redis::Redis;
use crate::support::redis_proxy::RedisProxy;
use crate::support::replicas::{
    REDIS_TIMEOUT, Replicas, TOLERANCE, WRITING, assert_rooms_served, get, metric, settings_of, wait_until_stored,
};
use crate::support::tls::Authority;
use crate::support::{SandboxServer, TestServer, tokens, wait_until};

/// The longest time between two polls of a follower.
const LONGEST_POLL: Duration = Duration::from_millis(250);
const SHARED: &str = "proconf_cache_shared{cache=\"call-catchup\"}";

/// Waits until one call serves all replicas again.
#[track_caller]
fn wait_until_shared(replicas: &Replicas) {
    let rooms = Cell::new(0);
    wait_until("one call serves all replicas", || {
        let (room, before) = (format!("again{}", rooms.replace(rooms.get() + 1)), replicas.calls());
        for server in &replicas.servers {
            get(server.client(), &room).assert_success(&format!("\"{room}\""));
        }
        replicas.calls() == before + 1
    });
}

/// Counts the `SET` commands of all replicas: polls, responses and probes.
fn polls(redis: &Redis) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]);
    let calls = stats.split("cmdstat_set:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

/// Requests `room` on `connections` connections, spread over the replicas, without reading.
fn send_to_all(replicas: &Replicas, room: &str, connections: usize) -> Vec<Connection> {
    let servers = replicas.servers.len();
    let mut connections: Vec<_> = (0..connections).map(|number| replicas.client(number % servers).connect()).collect();
    for connection in &mut connections {
        connection.send(&request("GET", format!("/callCatchUp/{room}").as_bytes(), Some(&tokens::user())));
    }
    connections
}

#[test]
fn replicas_without_redis_call_each_and_share_once_it_is_there() {
    let mut redis = Redis::start();
    redis.kill();
    let replicas = Replicas::start(2, &redis.url());
    let alone = TestServer::start();
    for server in &replicas.servers {
        assert_rooms_served(server.client(), alone.client(), "a");
    }
    assert_eq!(replicas.calls(), 40);
    redis.restart();
    wait_until_shared(&replicas);
}

#[test]
fn redis_killed_restarted_or_stopped_costs_no_response() {
    let mut redis = Redis::start();
    let replicas = Replicas::start(2, &redis.url());
    let alone = TestServer::start();
    let check_all = |name: &str| {
        for server in &replicas.servers {
            assert_rooms_served(server.client(), alone.client(), name);
        }
    };
    check_all("well");
    redis.kill();
    check_all("killed");
    redis.restart();
    check_all("restarted");
    wait_until_shared(&replicas);
    redis.signal("STOP");
    check_all("stopped");
    redis.signal("CONT");
    check_all("continued");
    wait_until_shared(&replicas);
}

#[test]
fn redis_lost_under_followers_makes_each_replica_call_once() {
    for signal in ["KILL", "STOP"] {
        let mut redis = Redis::start();
        let replicas = Replicas::start(3, &redis.url());
        replicas.script.catch_up("r1", Reply::data(r#""written""#).after(WRITING));
        let polled = polls(&redis);
        let mut connections = send_to_all(&replicas, "r1", 30);
        wait_until("one replica calls and two follow", || replicas.calls() == 1 && polls(&redis) >= polled + 10);
        redis.signal(signal);
        let lost = Instant::now();
        wait_until("each replica calls", || replicas.calls() == 3);
        // A follower polls, waits for the timeout, then calls; the rest allows for a busy machine.
        assert!(lost.elapsed() < LONGEST_POLL + REDIS_TIMEOUT + 4 * TOLERANCE, "{signal}: {:?}", lost.elapsed());
        for connection in &mut connections {
            connection.read().expect("a response").assert_success(r#""written""#);
        }
        assert_eq!(replicas.calls(), 3, "{signal}: one call each");
        match signal {
            "KILL" => redis.restart(),
            _ => redis.signal("CONT"),
        }
        wait_until_shared(&replicas);
    }
}

#[test]
fn full_or_read_only_redis_is_not_used() {
    let redis = Redis::with(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    let replicas = Replicas::start(2, &redis.url());
    let alone = TestServer::start();
    for number in 0..200 {
        redis.command(&["SET", &format!("filler{number}"), &"x".repeat(20_000)]);
    }
    for server in &replicas.servers {
        assert_rooms_served(server.client(), alone.client(), "full");
    }
    redis.command(&["FLUSHALL"]);
    wait_until_shared(&replicas);
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    for server in &replicas.servers {
        assert_rooms_served(server.client(), alone.client(), "readonly");
    }
}

#[test]
fn server_that_is_not_redis_is_not_used() {
    use std::io::{Read as _, Write as _};
    for response in ["HTTP/1.1 400 Bad Request\r\n\r\n", "+OK\r\n", "$5\r\n", "*1000000000\r\n", "\0\0\0", ""] {
        let other = FakeUpstream::serving(move |mut stream, _| {
            while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                if stream.write_all(response.as_bytes()).is_err() {
                    break;
                }
            }
        });
        let (replicas, alone) = (Replicas::start(1, &format!("redis://127.0.0.1:{}", other.port)), TestServer::start());
        assert_rooms_served(replicas.client(0), alone.client(), "r");
        assert_eq!(replicas.calls(), 20, "{response:?}");
    }
}

#[test]
fn slow_redis_costs_each_replica_one_timeout() {
    for delay in [30, 400, 5_000].map(Duration::from_millis) {
        let redis = Redis::start();
        let proxy = RedisProxy::to(redis.port);
        let (replicas, alone) = (Replicas::start(2, &proxy.url()), TestServer::start());
        proxy.delay(delay);
        for server in &replicas.servers {
            assert_rooms_served(server.client(), alone.client(), "late");
        }
        let new = Replicas::start(2, &proxy.url());
        assert_rooms_served(new.client(0), alone.client(), "new");
        proxy.delay(Duration::ZERO);
        wait_until_shared(&replicas);
        wait_until_shared(&new);
    }
}

#[test]
fn slow_redis_does_not_hold_up_the_start() {
    let redis = Redis::start();
    let proxy = RedisProxy::to(redis.port);
    let usual = Instant::now();
    drop(Replicas::start(1, &proxy.url()));
    let usual = usual.elapsed();
    proxy.delay(Duration::from_millis(900));
    let started = Instant::now();
    drop(Replicas::start(1, &proxy.url()));
    assert!(started.elapsed() < usual + Duration::from_millis(2_500), "{:?}, usually {usual:?}", started.elapsed());
}

#[test]
fn redis_that_rejects_every_command_is_not_used() {
    for error in
        ["-LOADING Redis is loading the dataset in memory", "-BUSY a script is running", "-NOAUTH Authentication required."]
    {
        let redis = Redis::start();
        let proxy = RedisProxy::to(redis.port);
        let (replicas, alone) = (Replicas::start(2, &proxy.url()), TestServer::start());
        proxy.reply_with(error);
        for server in &replicas.servers {
            assert_rooms_served(server.client(), alone.client(), "no");
        }
        let new = Replicas::start(2, &proxy.url());
        assert_rooms_served(new.client(0), alone.client(), "new");
        proxy.pass_through();
        wait_until_shared(&replicas);
        wait_until_shared(&new);
    }
}

#[test]
fn lease_is_renewed_for_as_long_as_the_call_takes() {
    let redis = Redis::start();
    redis.user("proconf", "canary", "");
    // With the documented permissions only.
    let replicas = Replicas::start(2, &format!("redis://proconf:canary@127.0.0.1:{}", redis.port));
    // Longer than a lease (2 s).
    replicas.script.catch_up("r1", Reply::data(r#""written""#).after(Duration::from_secs(3)));
    for connection in &mut send_to_all(&replicas, "r1", 4) {
        connection.read().expect("a response").assert_success(r#""written""#);
    }
    let shared = replicas.servers.iter().map(|server| metric(server.management_client(), SHARED)).sum::<u64>();
    assert_eq!((replicas.calls(), shared), (1, 2), "one call, no command rejected");
}

#[test]
fn values_that_no_replica_wrote_are_replaced() {
    let redis = Redis::start();
    let replicas = Replicas::with(3, &redis.url(), &[("APP_CATCH_UP__FRESH_FOR", "1s")]);
    get(replicas.client(0), "r1").assert_success(r#""r1""#);
    wait_until_stored(&redis, 1);
    let response = redis.keys("*:response").remove(0);
    let failure = response.replace(":response", ":failure");
    let faults: [(&str, &dyn Fn()); 3] = [
        ("an invalid response", &|| drop(redis.command(&["SET", &response, "pcr10000030000", "PX", "20000"]))),
        ("an invalid failure", &|| drop(redis.command(&["SET", &failure, "failed", "PX", "20000"]))),
        ("a response without expiry", &|| drop(redis.command(&["PERSIST", &response]))),
    ];
    for (what, fault) in faults {
        // The local entries expire after 1 s.
        std::thread::park_timeout(Duration::from_millis(1_100));
        fault();
        let before = replicas.calls();
        get(replicas.client(0), "r1").assert_success(r#""r1""#);
        wait_until(what, || redis.keys("*:lease").is_empty() && redis.command(&["PTTL", &response]) != ":-1\r\n");
        for number in [1, 2] {
            get(replicas.client(number), "r1").assert_success(r#""r1""#);
        }
        assert_eq!(replicas.calls(), before + 1, "{what}: shared again");
    }
}

#[test]
fn stale_response_of_another_replica_is_served_after_a_failure() {
    let redis = Redis::start();
    let settings = [("APP_CATCH_UP__FRESH_FOR", "100ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "3s")];
    let replicas = Replicas::with(3, &redis.url(), &settings);
    let first = get(replicas.client(0), "r1");
    let stored = Instant::now();
    wait_until_stored(&redis, 1);
    replicas.script.catch_up("r1", Reply::body(500, "internal detail"));
    wait_until("the stale response is a second old", || {
        let other = get(replicas.client(1), "r1");
        other.assert_success(r#""r1""#);
        assert_eq!(other.header("etag"), first.header("etag"));
        other.header("age") > Some("0")
    });
    wait_until("the stale response expires", || get(replicas.client(1), "r1").status == 500);
    assert!(stored.elapsed() >= Duration::from_secs(3), "{:?}", stored.elapsed());
    get(replicas.client(2), "r1").assert_error(500, "Internal server error", "expired for each replica");
}

#[test]
fn response_is_not_served_after_a_404_of_another_replica() {
    let redis = Redis::start();
    let settings = [("APP_CATCH_UP__FRESH_FOR", "100ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "60s")];
    let replicas = Replicas::with(2, &redis.url(), &settings);
    get(replicas.client(0), "r2").assert_success(r#""r2""#);
    wait_until_stored(&redis, 1);
    replicas.script.catch_up("r2", Reply::not_found());
    wait_until("the room is gone", || get(replicas.client(0), "r2").status == 404);
    wait_until("the response is removed", || redis.keys("*:response").is_empty());
    replicas.script.catch_up("r2", Reply::body(500, "internal detail"));
    get(replicas.client(1), "r2").assert_error(500, "Internal server error", "removed by the 404");
}

#[test]
fn redis_error_is_logged_once_with_its_cause() {
    let redis = Redis::start();
    let sandbox = SandboxServer::start(Script::echo());
    let url = redis.url();
    let server = ServerProcess::start(&sandbox.base_url, &settings_of(&sandbox.base_url, &url));
    let management = Client::new(server.management);
    assert_eq!(metric(management, SHARED), 1);
    let starts_with =
        |line: &serde_json::Value, start: &str| line["message"].as_str().is_some_and(|text| text.starts_with(start));
    for (fault, repair, cause) in [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"], "OOM"),
        (["REPLICAOF", "127.0.0.1", "1", ""], ["REPLICAOF", "NO", "ONE", ""], "READONLY"),
    ] {
        let command = |command: [&str; 4]| redis.command(command.as_slice().strip_suffix(&[""]).unwrap_or(&command));
        let from = server.logged();
        assert_eq!(command(fault), "+OK\r\n");
        for number in 0..10 {
            get(server.client(), &format!("{}{number}", fault[0])).assert_success(&format!("\"{}{number}\"", fault[0]));
        }
        let line = server.line(from, |line| starts_with(line, "Redis unavailable"));
        assert_eq!(line["level"], "WARN", "{line}");
        assert!(line["cause"].as_str().unwrap().to_uppercase().contains(cause), "{line}");
        assert_eq!(metric(management, SHARED), 0);
        command(repair);
        server.line(from, |line| starts_with(line, "Redis available"));
        wait_until("the cache is shared again", || metric(management, SHARED) == 1);
        assert_eq!(server.lines(from, |line| starts_with(line, "Redis ")).len(), 2, "one line each");
    }
}

#[test]
fn wrong_password_of_redis_is_logged_without_the_password() {
    let redis = Redis::start();
    redis.command(&["CONFIG", "SET", "requirepass", "the-right-one"]);
    let sandbox = SandboxServer::start(Script::echo());
    let url = format!("redis://:canary-password@127.0.0.1:{}", redis.port);
    let server = ServerProcess::start(&sandbox.base_url, &settings_of(&sandbox.base_url, &url));
    let line = server.line(0, |line| line["message"].as_str().is_some_and(|text| text.starts_with("Redis unavailable")));
    assert!(line["cause"].as_str().unwrap().contains("WRONGPASS"), "{line}");
    get(server.client(), "r1").assert_success(r#""r1""#);
    assert!(server.lines(0, |line| line.to_string().contains("canary-password")).is_empty());
}

#[test]
fn redis_is_reached_by_tls_with_a_trusted_certificate_only() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.sign(&["localhost"]).pem();
    let [certificate, key] = [("certificate.pem", certificate), ("key.pem", key)].map(|(name, pem)| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    });
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let options = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let _redis = Redis::with(&[&options[..], &["--tls-ca-cert-file", &certificate, "--tls-auth-clients", "no"]].concat());
    let sandbox = SandboxServer::start(Script::echo());
    let url = format!("rediss://localhost:{port}");
    for (trusted, shared) in [(authority.file(), 1), (Authority::new().file(), 0)] {
        let settings = [&settings_of(&sandbox.base_url, &url)[..], &[("SSL_CERT_FILE", &trusted)]].concat();
        let server = ServerProcess::start(&sandbox.base_url, &settings);
        get(server.client(), "r1").assert_success(r#""r1""#);
        assert_eq!(metric(Client::new(server.management), SHARED), shared);
    }
}

#[test]
fn follower_of_a_leader_that_never_ends_fails_and_is_counted() {
    let redis = Redis::start();
    let sandbox = SandboxServer::start(Script::echo());
    let url = redis.url();
    let own =
        [("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "0s"), ("APP_ADMIN_CONTROL__TIMEOUT", "1s")];
    let settings = [&settings_of(&sandbox.base_url, &url)[..], &own].concat();
    let server = ServerProcess::start(&sandbox.base_url, &settings);
    get(server.client(), "r1").assert_success(r#""r1""#);
    wait_until_stored(&redis, 1);
    wait_until("the lease is released", || redis.keys("*:lease").is_empty());
    let lease = redis.keys("*:response").remove(0).replace(":response", ":lease");
    // The local entry expires after 1 ms.
    std::thread::park_timeout(Duration::from_millis(5));
    redis.command(&["SET", &lease, "0123456789012345678901", "PX", "60000"]);
    get(server.client(), "r1").assert_error(500, "Internal server error", "the leader never ends");
    let line = server.line(0, |line| line["message"] == "shared read failed");
    assert_eq!([&line["reason"], &line["room"], &line["level"]], ["leader-late", "r1", "WARN"]);
    let failures = "proconf_cache_failures_total{cache=\"call-catchup\",reason=\"leader-late\"}";
    assert_eq!(metric(Client::new(server.management), failures), 1);
}
