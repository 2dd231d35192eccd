//! The window that replicas share, when Redis fails: slow, loading, full, gone, or with something else in it. Each replica is on
//! its own then, and no client notices.

use std::time::{Duration, Instant};

use proconf_app_server::sandbox::{Reply, Script};

use crate::support::client::{Client, request};
use crate::support::peers::Peer;
use crate::support::process::ServerProcess;
use crate::support::redis::Redis;
use crate::support::replicas::{
    EXTRA, Replicas, WRITING, get, metric, rooms_are_answered, settings_of, wait_until, wait_until_stored,
};
use crate::support::way_to_redis::WayToRedis;
use crate::support::{SandboxOnAThread, TestServer, tokens};

/// Waits until one call serves both replicas again.
#[track_caller]
fn shared_again(replicas: &Replicas) {
    let rooms = std::cell::Cell::new(0);
    wait_until("they share", || {
        let (room, before) = (format!("again{}", rooms.replace(rooms.get() + 1)), replicas.calls());
        for server in &replicas.servers {
            get(server.client(), &room).is_success_with(&format!("\"{room}\""));
            std::thread::park_timeout(Duration::from_millis(50));
        }
        replicas.calls() == before + 1
    });
}

/// How often replicas looked for something in Redis: a look asks for a length, and beside it only the proof that Redis is well again.
fn looks(redis: &Redis) -> u64 {
    let stats = redis.ask(&["INFO", "commandstats"]);
    let calls = stats.split("cmdstat_strlen:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[test]
fn without_redis_each_replica_is_on_its_own_from_the_start_and_later_not() {
    let mut redis = Redis::start();
    redis.kill();
    let replicas = Replicas::start(2, &redis.url());
    let alone = TestServer::start();
    for server in &replicas.servers {
        rooms_are_answered(server.client(), alone.client(), "a");
    }
    assert_eq!(replicas.calls(), 40);
    redis.start_again();
    let shares = |name: &str| {
        let before = replicas.calls();
        for server in &replicas.servers {
            get(server.client(), name);
            std::thread::park_timeout(Duration::from_millis(50));
        }
        replicas.calls() == before + 1
    };
    let rooms = std::cell::Cell::new(0);
    wait_until("they share", || shares(&format!("b{}", rooms.replace(rooms.get() + 1))));
}

#[test]
fn redis_killed_restarted_and_standing_still_costs_calls_and_no_answer() {
    let mut redis = Redis::start();
    let replicas = Replicas::start(2, &redis.url());
    let alone = TestServer::start();
    let answered = |name: &str| {
        for server in &replicas.servers {
            rooms_are_answered(server.client(), alone.client(), name);
        }
    };
    answered("well");
    redis.kill();
    answered("killed");
    redis.start_again();
    answered("restarted");
    redis.signal("STOP");
    answered("still");
    redis.signal("CONT");
    answered("on");
}

#[test]
fn redis_lost_while_others_wait_has_each_call_for_itself_at_once() {
    for way in ["KILL", "STOP"] {
        let mut redis = Redis::start();
        let replicas = Replicas::start(3, &redis.url());
        let mut took: Vec<_> = (0..5)
            .map(|round| {
                let (room, before, looked) = (format!("r{round}"), replicas.calls(), looks(&redis));
                replicas.script.catch_up(&room, Reply::data(r#""written""#).after(WRITING));
                let mut connections: Vec<_> = (0..30).map(|number| replicas.client(number % 3).connect()).collect();
                for connection in &mut connections {
                    connection.send(&request("GET", format!("/callCatchUp/{room}").as_bytes(), Some(&tokens::user())));
                }
                wait_until("one calls and two wait", || replicas.calls() > before && looks(&redis) >= looked + 3);
                redis.signal(way);
                let lost = Instant::now();
                wait_until("each calls", || replicas.calls() == before + 3);
                let took = lost.elapsed();
                for connection in &mut connections {
                    connection.read().expect("an answer").is_success_with(r#""written""#);
                }
                assert_eq!(replicas.calls(), before + 3, "{way}: one each, and no more");
                match way {
                    "KILL" => redis.start_again(),
                    _ => redis.signal("CONT"),
                }
                shared_again(&replicas);
                took
            })
            .collect();
        took.sort_unstable();
        // Asked every ten milliseconds, on a machine that may be busy.
        assert!(took[2] < 2 * EXTRA, "{way}: {took:?}");
    }
}

#[test]
fn a_redis_that_is_full_or_read_only_is_none() {
    let redis = Redis::with(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    let replicas = Replicas::start(2, &redis.url());
    let alone = TestServer::start();
    for number in 0..200 {
        redis.ask(&["SET", &format!("filler{number}"), &"x".repeat(20_000)]);
    }
    for server in &replicas.servers {
        rooms_are_answered(server.client(), alone.client(), "full");
    }
    redis.ask(&["FLUSHALL"]);
    let before = replicas.calls();
    get(replicas.client(0), "r1").is_success_with(r#""r1""#);
    wait_until_stored(&redis, 1);
    get(replicas.client(1), "r1").is_success_with(r#""r1""#);
    assert_eq!(replicas.calls(), before + 1, "shared again as soon as there is room");
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    for server in &replicas.servers {
        rooms_are_answered(server.client(), alone.client(), "readonly");
    }
}

#[test]
fn a_redis_that_gets_full_while_one_waits_for_a_call_still_tells_what_came_of_it() {
    const SHORT: Duration = Duration::from_millis(500);
    let redis = Redis::start();
    let replicas = Replicas::start(2, &redis.url());
    replicas.script.catch_up("r1", Reply::data(r#""written""#).after(SHORT));
    let before = looks(&redis);
    let started = Instant::now();
    let mut connections = [0, 1].map(|number| replicas.client(number).connect());
    for connection in &mut connections {
        connection.send(&request("GET", b"/callCatchUp/r1", Some(&tokens::user())));
    }
    wait_until("both looked", || looks(&redis) >= before + 2);
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for connection in &mut connections {
        connection.read().expect("an answer").is_success_with(r#""written""#);
    }
    assert_eq!(replicas.calls(), 1);
    // The lease would have held for more than another second.
    assert!(started.elapsed() < 3 * SHORT, "{:?}", started.elapsed());
}

#[test]
fn something_that_is_not_redis_is_none() {
    use std::io::{Read as _, Write as _};
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "+OK\r\n", "$5\r\n", "*1000000000\r\n", "\0\0\0", ""] {
        let other = Peer::serving(move |mut stream, _| {
            while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        });
        let (replicas, alone) = (Replicas::start(1, &format!("redis://127.0.0.1:{}", other.port)), TestServer::start());
        rooms_are_answered(replicas.client(0), alone.client(), "r");
        assert_eq!(replicas.calls(), 20, "{answer:?}");
    }
}

#[test]
fn a_redis_whose_answers_are_late_costs_no_request_more_than_fifty_milliseconds() {
    for delay in [30, 200, 5_000].map(Duration::from_millis) {
        let redis = Redis::start();
        let way = WayToRedis::to(redis.port);
        let (replicas, alone) = (Replicas::start(2, &way.url()), TestServer::start());
        way.delay(delay);
        for server in &replicas.servers {
            rooms_are_answered(server.client(), alone.client(), "late");
        }
        // Those that start now do not know it any better.
        let new = Replicas::start(2, &way.url());
        rooms_are_answered(new.client(0), alone.client(), "new");
        way.delay(Duration::ZERO);
        shared_again(&replicas);
        shared_again(&new);
    }
}

#[test]
fn a_redis_that_is_slow_holds_up_no_start() {
    let redis = Redis::start();
    let way = WayToRedis::to(redis.port);
    let usual = Instant::now();
    drop(Replicas::start(1, &way.url()));
    let usual = usual.elapsed();
    way.delay(Duration::from_millis(900));
    let started = Instant::now();
    drop(Replicas::start(1, &way.url()));
    assert!(started.elapsed() < usual + Duration::from_millis(2_500), "{:?}, usually {usual:?}", started.elapsed());
}

#[test]
fn a_redis_that_says_no_to_everything_is_none() {
    for no in
        ["-LOADING Redis is loading the dataset in memory", "-BUSY a script is running", "-NOAUTH Authentication required."]
    {
        let redis = Redis::start();
        let way = WayToRedis::to(redis.port);
        let (replicas, alone) = (Replicas::start(2, &way.url()), TestServer::start());
        way.say(no);
        for server in &replicas.servers {
            rooms_are_answered(server.client(), alone.client(), "no");
        }
        let new = Replicas::start(2, &way.url());
        rooms_are_answered(new.client(0), alone.client(), "new");
        way.pass_on();
        shared_again(&replicas);
        shared_again(&new);
    }
}

#[test]
fn who_waits_looks_twice_and_a_redis_that_is_a_little_late_costs_no_second_call() {
    let redis = Redis::start();
    let way = WayToRedis::to(redis.port);
    let replicas = Replicas::start(3, &way.url());
    let before = looks(&redis);
    // Well within the lease, at whose end who waits would look too.
    replicas.script.catch_up("r1", Reply::data(r#""written""#).after(Duration::from_secs(1)));
    let mut connections: Vec<_> = (0..30).map(|number| replicas.client(number % 3).connect()).collect();
    for connection in &mut connections {
        connection.send(&request("GET", b"/callCatchUp/r1", Some(&tokens::user())));
    }
    wait_until("one calls", || replicas.calls() > 0);
    wait_until("all three looked", || looks(&redis) >= before + 3);
    way.delay(Duration::from_millis(5));
    for connection in &mut connections {
        connection.read().expect("an answer").is_success_with(r#""written""#);
    }
    assert_eq!(replicas.calls(), 1, "who waits for a call waits on, and the lease is kept alive");
    assert_eq!(looks(&redis), before + 5, "those who wait look a second time when they are told, and not before");
}

#[test]
fn who_waits_needs_no_right_that_the_handbook_does_not_give() {
    let redis = Redis::start();
    redis.user("proconf", "canary", "");
    let replicas = Replicas::start(2, &format!("redis://proconf:canary@127.0.0.1:{}", redis.port));
    replicas.script.catch_up("r1", Reply::data(r#""written""#).after(Duration::from_secs(1)));
    let mut connections = [0, 1].map(|number| replicas.client(number).connect());
    for connection in &mut connections {
        connection.send(&request("GET", b"/callCatchUp/r1", Some(&tokens::user())));
    }
    wait_until("one calls", || replicas.calls() > 0);
    // For as long as the other one waits, and a little longer than anything takes that it does meanwhile.
    std::thread::park_timeout(Duration::from_millis(500));
    let shares = "proconf_window_shared{window=\"catch-up\"}";
    let share = replicas.servers.iter().map(|server| metric(server.operator(), shares)).sum::<u64>();
    for connection in &mut connections {
        connection.read().expect("an answer").is_success_with(r#""written""#);
    }
    assert_eq!((share, replicas.calls()), (2, 1), "nothing was refused");
}

#[test]
fn whatever_stands_at_a_key_that_should_not_is_written_over() {
    let redis = Redis::start();
    let replicas = Replicas::with(3, &redis.url(), &[("APP_CATCH_UP__FRESH_FOR", "2s")]);
    get(replicas.client(0), "r1").is_success_with(r#""r1""#);
    wait_until_stored(&redis, 1);
    let answer = redis.keys("*:answer").remove(0);
    let (lease, failure) = (answer.replace(":answer", ":lease"), answer.replace(":answer", ":failure"));
    let text = |key: &str, text: &str| redis.ask(&["SET", key, text]);
    let huge = "x".repeat(64 << 20);
    let faults: [(&str, &dyn Fn()); 7] = [
        ("lists", &|| {
            for key in [&answer, &lease, &failure] {
                redis.ask(&["RPUSH", key, "x"]);
            }
        }),
        ("hashes", &|| drop([&answer, &lease, &failure].map(|key| redis.ask(&["HSET", key, "a", "b"])))),
        ("an answer that stays for good", &|| drop(text(&answer, "pcw10000030000"))),
        ("a lease that stays for good", &|| drop(text(&lease, "0123456789012345678901"))),
        ("a lease of an hour", &|| drop(redis.ask(&["SET", &lease, "0123456789012345678901", "PX", "3600000"]))),
        ("a lease of nobody", &|| drop(redis.ask(&["SET", &lease, "x", "PX", "2000"]))),
        ("a huge answer and a huge lease", &|| drop([&answer, &lease, &failure].map(|key| text(key, &huge)))),
    ];
    for (what, fault) in faults {
        // The replicas' own answers grow old.
        std::thread::park_timeout(Duration::from_millis(2_100));
        redis.ask(&["FLUSHALL"]);
        fault();
        let (before, started) = (replicas.calls(), Instant::now());
        get(replicas.client(0), "r1").is_success_with(r#""r1""#);
        assert!(started.elapsed() < Duration::from_millis(500), "{what}: {:?}", started.elapsed());
        wait_until(what, || redis.ask(&["TYPE", &answer]) == "+string\r\n" && redis.ask(&["PTTL", &answer]) != ":-1\r\n");
        for number in [1, 2] {
            get(replicas.client(number), "r1").is_success_with(r#""r1""#);
        }
        assert_eq!(replicas.calls(), before + 1, "{what}: shared at once");
    }
}

#[test]
fn an_old_answer_of_another_replica_stands_in_when_admin_control_fails() {
    let redis = Redis::start();
    let settings = [("APP_CATCH_UP__FRESH_FOR", "100ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "3s")];
    let replicas = Replicas::with(3, &redis.url(), &settings);
    let first = get(replicas.client(0), "r1");
    let stored = Instant::now();
    wait_until_stored(&redis, 1);
    replicas.script.catch_up("r1", Reply::body(500, "the inside"));
    std::thread::park_timeout(Duration::from_millis(1_100));
    let other = get(replicas.client(1), "r1");
    other.is_success_with(r#""r1""#);
    assert_eq!(other.header("etag"), first.header("etag"));
    assert!(other.header("age").unwrap().parse::<u64>().unwrap() >= 1, "{other:?}");
    wait_until("it is too old", || get(replicas.client(1), "r1").status == 500);
    assert!(stored.elapsed() >= Duration::from_secs(3), "{:?}", stored.elapsed());
    get(replicas.client(2), "r1").is_error(500, "Internal server error", "nor for anybody else");
    // What is gone stands in for nothing.
    get(replicas.client(0), "r2").is_success_with(r#""r2""#);
    wait_until("it is stored", || redis.keys("*:answer").len() == 1);
    std::thread::park_timeout(Duration::from_millis(200));
    replicas.script.catch_up("r2", Reply::not_found());
    get(replicas.client(0), "r2").is_error(404, "Not found", "gone");
    wait_until("it is dropped", || redis.keys("*:answer").is_empty());
    replicas.script.catch_up("r2", Reply::body(500, "the inside"));
    get(replicas.client(1), "r2").is_error(500, "Internal server error", "a 404 took it away");
}

#[test]
fn a_404_that_was_learned_without_the_lease_takes_the_old_answer_away_too() {
    let redis = Redis::start();
    let way = WayToRedis::to(redis.port);
    let replicas = Replicas::with(1, &way.url(), &[("APP_CATCH_UP__FRESH_FOR", "1ms")]);
    get(replicas.client(0), "r1").is_success_with(r#""r1""#);
    wait_until_stored(&redis, 1);
    wait_until("the lease is given back", || redis.keys("*:lease").is_empty());
    // Out of date, however fast that was.
    std::thread::park_timeout(Duration::from_millis(5));
    replicas.script.catch_up("r1", Reply::not_found().after(WRITING));
    way.say("-BUSY a script is running");
    let mut asking = replicas.client(0).connect();
    asking.send(&request("GET", b"/callCatchUp/r1", Some(&tokens::user())));
    wait_until("it calls", || replicas.calls() == 2);
    way.pass_on();
    asking.read().expect("an answer").is_error(404, "Not found", "gone");
    wait_until("it is dropped", || redis.keys("*:answer").is_empty());
}

#[test]
fn a_redis_that_refuses_is_said_once_and_so_is_that_it_works_again() {
    let redis = Redis::start();
    let sandbox = SandboxOnAThread::start(Script::echo());
    let url = redis.url();
    let server = ServerProcess::start(&sandbox.base_url, &settings_of(&sandbox.base_url, &url));
    let operator = Client::new(server.management);
    let shares = || metric(operator, "proconf_window_shared{window=\"catch-up\"}");
    assert_eq!(shares(), 1);
    let says = |line: &serde_json::Value, start: &str| line["message"].as_str().is_some_and(|text| text.starts_with(start));
    for (refuse, allow, said) in [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"], "Redis refuses"),
        (["REPLICAOF", "127.0.0.1", "1", ""], ["REPLICAOF", "NO", "ONE", ""], "Redis is lost"),
    ] {
        let ask = |command: [&str; 4]| redis.ask(command.as_slice().strip_suffix(&[""]).unwrap_or(&command));
        let from = server.logged();
        assert_eq!(ask(refuse), "+OK\r\n");
        for number in 0..10 {
            get(server.client(), &format!("{}{number}", refuse[0])).is_success_with(&format!("\"{}{number}\"", refuse[0]));
        }
        let line = server.line(from, |line| says(line, said));
        assert_eq!(line["level"], "WARN", "{line}");
        assert!(line["cause"].as_str().unwrap().len() > 5, "{line}");
        assert_eq!(shares(), 0);
        ask(allow);
        server.line(from, |line| says(line, "Redis answers"));
        wait_until("it shares", || shares() == 1);
        assert_eq!(server.lines(from, |line| says(line, "Redis ")).len(), 2, "one line each");
    }
}

#[test]
fn who_waits_too_long_for_another_replica_is_told_of_in_the_log_and_counted() {
    let redis = Redis::start();
    let sandbox = SandboxOnAThread::start(Script::echo());
    let url = redis.url();
    let own =
        [("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "0s"), ("APP_ADMIN_CONTROL__TIMEOUT", "1s")];
    let settings = [&settings_of(&sandbox.base_url, &url)[..], &own].concat();
    let server = ServerProcess::start(&sandbox.base_url, &settings);
    get(server.client(), "r1").is_success_with(r#""r1""#);
    wait_until_stored(&redis, 1);
    wait_until("the lease is given back", || redis.keys("*:lease").is_empty());
    let lease = redis.keys("*:answer").remove(0).replace(":answer", ":lease");
    // Out of date, however fast that was.
    std::thread::park_timeout(Duration::from_millis(5));
    // Somebody who renews and never says anything.
    redis.ask(&["SET", &lease, "0123456789012345678901", "PX", "2000"]);
    get(server.client(), "r1").is_error(500, "Internal server error", "it waited too long");
    let line = server.line(0, |line| line["message"] == "a shared read failed");
    assert_eq!([&line["reason"], &line["room"], &line["level"]], ["waited-too-long", "r1", "WARN"]);
    let failures = "proconf_window_failures_total{window=\"catch-up\",reason=\"waited-too-long\"}";
    assert_eq!(metric(Client::new(server.management), failures), 1);
}
