//! Replicas that share a cache through Redis, and the failure of one of them.
//!
//! `failover` tests replicas behind a proxy, `shared_cache` the failure of Redis; `sessions`, `login_limit` and `database` test the shared database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::{Reply, Script};

use crate::support::client::request;
use crate::support::database::TestDatabase;
use crate::support::process::ServerProcess;
use crate::support::proxy::{Proxy, ProxyKind};
use crate::support::redis::Redis;
use crate::support::replicas::{Replicas, WRITING, calls_of, get, metric, settings_of, wait_until_stored};
use crate::support::response::Response;
use crate::support::{SandboxServer, TestClock, TestServer, tokens, wait_until};

#[test]
fn two_thousand_requests_over_three_replicas_cost_one_call() {
    let redis = Redis::start();
    let replicas = Replicas::start(3, &redis.url());
    let addresses: Vec<_> = replicas.servers.iter().map(|server| server.address).collect();
    let proxy = Proxy::start(ProxyKind::ComposeNginx, &addresses);
    let user = tokens::user();
    let calls_for = |room: &str| {
        replicas.script.catch_up(room, Reply::data(r#""written""#).after(WRITING));
        let before = replicas.calls();
        let mut connections: Vec<_> = (0..2_000)
            .map(|_| {
                let mut connection = proxy.client().connect();
                connection.send(&request("GET", format!("/callCatchUp/{room}").as_bytes(), Some(&user)));
                connection
            })
            .collect();
        for connection in &mut connections {
            connection.read().expect("a response").assert_success(r#""written""#);
        }
        replicas.calls() - before
    };
    assert_eq!(["r1", "r2", "r3"].map(calls_for), [1, 1, 1]);
}

#[test]
fn response_of_one_replica_serves_the_others_with_age_and_etag() {
    let redis = Redis::start();
    let replicas = Replicas::start(3, &redis.url());
    let first = get(replicas.servers[0].client(), "r1");
    wait_until_stored(&redis, 1);
    let age = |response: &Response| response.header("age").unwrap().parse::<u64>().unwrap();
    wait_until("the response is a second old", || age(&get(replicas.client(0), "r1")) >= 1);
    for server in &replicas.servers[1..] {
        let response = get(server.client(), "r1");
        response.assert_success(r#""r1""#);
        assert_eq!(response.header("etag"), first.header("etag"));
        assert!(age(&response) >= 1, "{response:?}");
    }
    assert_eq!(replicas.calls(), 1);
}

#[test]
fn shared_response_is_authorised_by_each_replica() {
    let redis = Redis::start();
    let replicas = Replicas::start(2, &redis.url());
    get(replicas.servers[0].client(), "r1").assert_success(r#""r1""#);
    wait_until_stored(&redis, 1);
    let other = replicas.servers[1].client();
    other.get("/callCatchUp/r1", Some(&tokens::guest("r2"))).assert_error(403, "Forbidden", "a guest of another room");
    other.get("/callCatchUp/r1", None).assert_unauthorized("no token");
    other.get("/callCatchUp/r1", Some(&tokens::guest("r1"))).assert_success(r#""r1""#);
    assert_eq!(replicas.calls(), 1);
}

#[test]
fn followers_share_a_failure_and_404_removes_the_response() {
    let redis = Redis::start();
    let replicas = Replicas::with(2, &redis.url(), &[("APP_CATCH_UP__FRESH_FOR", "1ms")]);
    let get_from_both = || {
        let before = replicas.calls();
        std::thread::scope(|scope| {
            let leader = scope.spawn(|| get(replicas.client(0), "r1"));
            wait_until("the leader calls", || replicas.calls() > before);
            [get(replicas.client(1), "r1"), leader.join().unwrap()]
        })
    };
    replicas.script.catch_up("r1", Reply::body(500, "x").after(WRITING));
    for response in get_from_both() {
        response.assert_error(500, "Internal server error", "both wait for one call");
    }
    assert_eq!(replicas.calls(), 1);
    let of_both =
        |series: &str| replicas.servers.iter().map(|server| metric(server.management_client(), series)).sum::<u64>();
    let failures = "proconf_cache_failures_total{cache=\"call-catchup\",reason=\"leader-failed\"}";
    assert_eq!(of_both(failures), 1, "the follower counts its reason");
    let reads =
        |outcome: &str| of_both(&format!("proconf_cache_reads_total{{cache=\"call-catchup\",outcome=\"{outcome}\"}}"));
    assert_eq!((reads("miss"), reads("shared")), (1, 1));
    replicas.script.catch_up("r1", Reply::data(r#""good""#).after(WRITING));
    for response in get_from_both() {
        response.assert_success(r#""good""#);
    }
    assert_eq!(replicas.calls(), 2);
    assert_eq!((reads("miss"), reads("shared")), (2, 2));
    assert_eq!(of_both("proconf_cache_stale_total{cache=\"call-catchup\"}"), 0, "a shared response is not stale");
    wait_until_stored(&redis, 1);
    replicas.script.catch_up("r1", Reply::not_found().after(WRITING));
    for response in get_from_both() {
        response.assert_error(404, "Not found", "gone");
    }
    assert_eq!(replicas.calls(), 3);
    wait_until("the response is removed", || redis.keys("*:response").is_empty());
}

#[test]
fn killed_leader_costs_one_more_call_within_the_deadline() {
    let redis = Redis::start();
    let script = Script::echo();
    script.catch_up("r1", Reply::data(r#""written""#).after(WRITING));
    let sandbox = SandboxServer::start(script.clone());
    let database = Arc::new(TestDatabase::new());
    let (url, base_url) = (redis.url(), sandbox.base_url.clone());
    let start = || ServerProcess::on(Arc::clone(&database), &base_url, &settings_of(&base_url, &url));
    let (mut leader, others) = (start(), [start(), start()]);
    let mut connection_to_leader = leader.client().connect();
    connection_to_leader.send(&request("GET", b"/callCatchUp/r1", Some(&tokens::user())));
    wait_until("the leader calls", || calls_of(&script) == 1);
    let started = Instant::now();
    let mut waiting: Vec<_> =
        (0..200).map(|number| (number, others[number % 2].client().connect())).map(|(_, connection)| connection).collect();
    for connection in &mut waiting {
        connection.send(&request("GET", b"/callCatchUp/r1", Some(&tokens::user())));
    }
    leader.kill();
    for connection in &mut waiting {
        connection.read().expect("a response").assert_success(r#""written""#);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(calls_of(&script), 2);
}

#[test]
fn leader_without_its_lease_stores_nothing() {
    let redis = Redis::start();
    let script = Script::echo();
    script.catch_up("r1", Reply::data(r#""old""#).after(Duration::from_millis(500)));
    let sandbox = SandboxServer::start(script.clone());
    let database = Arc::new(TestDatabase::new());
    let (url, base_url) = (redis.url(), sandbox.base_url.clone());
    let start = || ServerProcess::on(Arc::clone(&database), &base_url, &settings_of(&base_url, &url));
    let (leader, other, third) = (start(), start(), start());
    let mut connection_to_leader = leader.client().connect();
    connection_to_leader.send(&request("GET", b"/callCatchUp/r1", Some(&tokens::user())));
    wait_until("the leader calls", || calls_of(&script) == 1);
    leader.signal("STOP");
    script.catch_up("r1", Reply::data(r#""new""#));
    get(other.client(), "r1").assert_success(r#""new""#);
    leader.signal("CONT");
    connection_to_leader.read().expect("a response").assert_success(r#""old""#);
    get(third.client(), "r1").assert_success(r#""new""#);
    assert_eq!(calls_of(&script), 2);
}

#[test]
fn redis_holds_no_room_name_no_token_and_no_permanent_key() {
    let redis = Redis::start();
    let replicas = Replicas::start(1, &redis.url());
    let big = format!("\"{}\"", "x".repeat(1_100_000));
    replicas.script.catch_up("big", Reply::data(&big));
    let token = tokens::guest("a-secret-room");
    replicas.servers[0].client().get("/callCatchUp/a-secret-room", Some(&token)).assert_success(r#""a-secret-room""#);
    get(replicas.servers[0].client(), "big").assert_success(&big);
    wait_until_stored(&redis, 2);
    wait_until("the leases are released", || redis.keys("*:lease").is_empty());
    for key in redis.keys("*") {
        assert!(key.starts_with("proconf:") && !key.contains("secret") && key.len() < 200, "{key}");
        let left: i64 = redis.command(&["PTTL", &key]).trim_matches([':', '\r', '\n']).parse().unwrap();
        assert!((1..=90_000).contains(&left), "{key}: {left}");
        let value = redis.command(&["GET", &key]);
        assert!(!value.contains("eyJ") && !value.contains(&token), "no token: {key}");
    }
}

#[test]
fn tampered_redis_never_mixes_rooms_or_deployments() {
    let redis = Redis::start();
    let replicas = Replicas::start(2, &redis.url());
    let (first, second) = (replicas.servers[0].client(), replicas.servers[1].client());
    for room in ["r1", "r2", "r3", "r4"] {
        get(first, room).assert_success(&format!("\"{room}\""));
    }
    wait_until_stored(&redis, 4);
    let keys = redis.keys("*:response");
    // Entries of another room, an invalid entry, and a value of another Redis type.
    for (number, key) in keys.iter().enumerate() {
        let other = &keys[(number + 1) % keys.len()];
        match number {
            0 | 1 => redis.command(&[
                "EVAL",
                "redis.call('SET', KEYS[2], redis.call('GET', KEYS[1]), 'PX', 20000)",
                "2",
                other,
                key,
            ]),
            2 => redis.command(&["SET", key, "pcr10000030000", "PX", "20000"]),
            _ => redis.command(&["EVAL", "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')", "1", key]),
        };
    }
    for room in ["r1", "r2", "r3", "r4"] {
        get(second, room).assert_success(&format!("\"{room}\""));
    }
    // Another deployment on the same Redis differs in its issuer.
    let other = TestServer::on(
        Arc::new(TestDatabase::new()),
        TestClock::default(),
        &[&settings_of(&replicas.sandbox.base_url, &redis.url())[..], &[("APP_AUTH__ISSUER", "another")]].concat(),
    );
    let before = replicas.calls();
    let guest = other.client().get("/auth/joinmember?roomName=r1", None).data();
    other.client().get("/callCatchUp/r1", Some(guest.as_str().unwrap())).assert_success(r#""r1""#);
    assert_eq!(replicas.calls(), before + 1);
}
