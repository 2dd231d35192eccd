//! Causes of Redis failures in `check-config` and the log, and failover through Sentinel.

use std::net::TcpListener;

use proconf_app_server::sandbox::Script;
use serde_json::Value;

use crate::support::check_config::{check_config, check_line};
use crate::support::client::Client;
use crate::support::process::ServerProcess;
use crate::support::redis::Redis;
use crate::support::redis_proxy::RedisProxy;
use crate::support::replicas::{Replicas, get, metric, settings_of};
use crate::support::tls::{Authority, Certificate, expired};
use crate::support::{SandboxServer, TestServer, wait_until};

const SHARED: &str = "proconf_cache_shared{cache=\"call-catchup\"}";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[track_caller]
fn assert_cause(url: &str, causes: &[&str]) {
    let line = check_line("shared cache", &[("APP_CACHE__REDIS_URL", url)]);
    assert!(line.contains("FAILED") && causes.iter().all(|cause| line.contains(cause)), "{causes:?}: {line}");
    assert!(!line.contains("canary"), "{line}");
}

#[test]
fn check_config_names_the_cause_of_a_redis_error() {
    let redis = Redis::start();
    let url = |user: &str, path: &str| format!("redis://{user}127.0.0.1:{}{path}", redis.port);
    for (user, missing) in [("no-eval", "+eval"), ("no-set", "+set"), ("no-keys", "~proconf:*")] {
        redis.user(user, "canary", missing);
    }
    assert_cause(&url("no-eval:canary@", ""), &["NOPERM", "'eval'"]);
    assert_cause(&url("no-set:canary@", ""), &["can't run this command", "(SET)"]);
    assert_cause(&url("no-keys:canary@", ""), &["NOPERM", "keys"]);
    assert_cause(&url("no-such-user:canary@", ""), &["WRONGPASS"]);
    assert_cause(&url("", "/99"), &["DB index is out of range"]);
    redis.command(&["CONFIG", "SET", "requirepass", "another"]);
    assert_cause(&url("", ""), &["NOAUTH"]);
    assert_cause(&url(":canary@", ""), &["WRONGPASS"]);

    let folder = tempfile::tempdir().unwrap();
    let cluster = Redis::with(&["--cluster-enabled", "yes", "--dir", folder.path().to_str().unwrap()]);
    let url = format!("redis://127.0.0.1:{}", cluster.port);
    assert_cause(&url, &["cluster, which is not supported", "CLUSTERDOWN"]);
    assert_cause(&format!("{url}/3"), &["SELECT is not allowed in cluster mode"]);
    let proxy = RedisProxy::to(redis.port);
    proxy.reply_with("-MOVED 1234 127.0.0.1:7000");
    assert_cause(&proxy.url(), &["cluster, which is not supported", "MOVED"]);
}

#[test]
fn check_config_names_why_redis_is_not_reached() {
    assert_cause(&format!("redis://127.0.0.1:{}", free_port()), &["Connection refused"]);
    assert_cause("redis://redis.invalid:6379", &["failed to lookup address"]);
    let plain = Redis::start();
    assert_cause(&format!("rediss://127.0.0.1:{}", plain.port), &["time"]);
    let authority = Authority::new();
    let cases = [
        (authority.sign(&["localhost"]), "localhost", "shared cache: ok"),
        (authority.sign(&["elsewhere.example"]), "localhost", "not valid for name"),
        (authority.sign(&["localhost"]), "127.0.0.1", "not valid for name"),
        (authority.sign_with(&["localhost"], expired), "localhost", "expired"),
        (Authority::named("another").sign(&["localhost"]), "localhost", "UnknownIssuer"),
    ];
    for (certificate, host, expected) in cases {
        let redis = TlsRedis::start(&certificate);
        let url = format!("rediss://{host}:{}", redis.port);
        let settings = [("APP_CACHE__REDIS_URL", url.as_str()), ("SSL_CERT_FILE", &authority.file())];
        let line = check_line("shared cache", &settings);
        assert!(line.contains(expected), "{expected}: {line}");
    }
    let missing = format!("{}/missing.pem", authority.folder());
    let settings = [("APP_CACHE__REDIS_URL", "rediss://127.0.0.1:1"), ("SSL_CERT_FILE", &missing)];
    let (code, text) = check_config(&settings);
    assert!(code == 78 && text.starts_with("SSL_CERT_FILE must lead to certificates"), "{text}");
}

/// A Redis with TLS on a port of its own.
struct TlsRedis {
    port: u16,
    _redis: Redis,
    _folder: tempfile::TempDir,
}

impl TlsRedis {
    fn start(certificate: &Certificate) -> Self {
        let (folder, (certificate, key)) = (tempfile::tempdir().unwrap(), certificate.pem());
        let [certificate, key] = [("certificate.pem", certificate), ("key.pem", key)].map(|(name, pem)| {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path.display().to_string()
        });
        let port = free_port();
        let tls = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"].map(str::to_owned);
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &certificate];
        let redis = Redis::with(&tls.iter().map(String::as_str).chain(files).collect::<Vec<_>>());
        Self { port, _redis: redis, _folder: folder }
    }
}

#[test]
fn authorities_of_env_file_are_trusted_by_redis() {
    let authority = Authority::new();
    let redis = TlsRedis::start(&authority.sign(&["127.0.0.1"]));
    let url = format!("rediss://127.0.0.1:{}", redis.port);
    // A setting of the test server is not in the environment of the process, as with `.env`.
    let server = |file: &str| TestServer::with(&[("APP_CACHE__REDIS_URL", &url), ("SSL_CERT_FILE", file)]);
    assert_eq!(metric(server(&authority.file()).management_client(), SHARED), 1);
    assert_eq!(metric(server(&Authority::new().file()).management_client(), SHARED), 0);
}

fn has_cause(line: &Value, cause: &str) -> bool {
    let is_outage = line["message"].as_str().is_some_and(|text| text.starts_with("Redis unavailable"));
    is_outage && line["cause"].as_str().is_some_and(|text| text.contains(cause))
}

#[test]
fn rotated_redis_password_is_logged_as_wrong() {
    let mut redis = Redis::start();
    redis.user("proconf", "canary", "");
    let sandbox = SandboxServer::start(Script::echo());
    let url = format!("redis://proconf:canary@127.0.0.1:{}", redis.port);
    let server = ServerProcess::start(&sandbox.base_url, &settings_of(&sandbox.base_url, &url));
    let wait_for_shared =
        |expected: u64| wait_until("the cache", || metric(Client::new(server.management), SHARED) == expected);
    wait_for_shared(1);

    let from = server.logged();
    redis.command(&["ACL", "SETUSER", "proconf", "resetpass", ">another"]);
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    get(server.client(), "r1").assert_success(r#""r1""#);
    server.line(from, |line| has_cause(line, "WRONGPASS"));
    redis.command(&["ACL", "SETUSER", "proconf", ">canary"]);
    wait_for_shared(1);

    // Redis restarts with another password: first it is gone, then it rejects the old one.
    let from = server.logged();
    redis.kill();
    get(server.client(), "r2").assert_success(r#""r2""#);
    server.line(from, |line| has_cause(line, "Connection refused"));
    redis.restart();
    server.line(from, |line| has_cause(line, "WRONGPASS"));
    redis.user("proconf", "canary", "");
    wait_for_shared(1);
    let causes = server.lines(from, |line| has_cause(line, ""));
    assert_eq!(causes.iter().filter(|line| has_cause(line, "WRONGPASS")).count(), 1, "each cause once: {causes:#?}");
    assert!(server.lines(0, |line| line.to_string().contains("canary")).is_empty());
}

#[test]
fn redis_url_with_a_raw_password_is_rejected_unseen() {
    for url in [
        "redis://:p@canary:/word@127.0.0.1:6379",
        "redis://ann:p@canary/word@127.0.0.1",
        "redis://:canary/word@127.0.0.1:6379",
        "redis://:canary?word@127.0.0.1:6379",
        "redis://:canary#word@127.0.0.1:6379",
        "redis://:p@canary?word@127.0.0.1:6379",
        "redis://:p@canary#word@127.0.0.1:6379",
        "redis://canary@127.0.0.1:6379",
        "rediss://127.0.0.1:6379/#insecure",
        "redis://canary:12/34@127.0.0.1:6379",
    ] {
        let (code, text) = check_config(&[("APP_CACHE__REDIS_URL", url)]);
        assert_eq!((code, text.lines().count()), (78, 1), "{url}: {text}");
        assert!(text.starts_with("APP_CACHE__REDIS_URL must be a URL like"), "{url}: {text}");
        assert!(!text.contains("canary") && !text.contains("/word"), "{url}: {text}");
    }
    for (sentinels, expected) in [("redis://:canary@127.0.0.1", "must be URLs like"), ("canary", "must begin with redis://")]
    {
        let settings = [("APP_CACHE__REDIS_URL", "redis://mymaster"), ("APP_CACHE__SENTINELS", sentinels)];
        let (code, text) = check_config(&settings);
        assert!(code == 78 && text.starts_with(&format!("APP_CACHE__SENTINELS {expected}")), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
    let (code, text) = check_config(&[("APP_CACHE__SENTINELS", "redis://127.0.0.1:1")]);
    assert!(code == 78 && text.starts_with("APP_CACHE__SENTINELS needs APP_CACHE__REDIS_URL"), "{text}");
}

#[test]
fn killed_primary_is_replaced_through_sentinels() {
    let options = ["--requirepass", "canary", "--masterauth", "canary"];
    let mut primary = Redis::with_password("canary", &options);
    let port = primary.port.to_string();
    let replica_options = ["--replicaof", "127.0.0.1", &port, "--repl-diskless-load", "swapdb"];
    let replica = Redis::with_password("canary", &[&options[..], &replica_options].concat());
    let sentinels: Vec<Redis> = (0..3).map(|_| Redis::sentinel("mymaster", primary.port, "canary")).collect();
    wait_until("the replica is in sync", || replica.command(&["INFO", "replication"]).contains("master_link_status:up"));
    let knows = |sentinel: &Redis, text: &str| sentinel.command(&["SENTINEL", "MASTER", "mymaster"]).contains(text);
    wait_until("each sentinel knows the others and the replica", || {
        let complete = ["num-other-sentinels\r\n$1\r\n2", "num-slaves\r\n$1\r\n1"];
        sentinels.iter().all(|sentinel| complete.iter().all(|text| knows(sentinel, text)))
    });

    // The first sentinel of the list is down.
    let mut urls = vec![format!("redis://127.0.0.1:{}", free_port())];
    urls.extend(sentinels.iter().map(|sentinel| format!("redis://:canary@127.0.0.1:{}", sentinel.port)));
    let sentinels = urls.join(",");
    let settings = [("APP_CACHE__SENTINELS", sentinels.as_str())];
    let replicas = Replicas::with(2, "redis://:canary@mymaster/3", &settings);
    let is_shared = || replicas.servers.iter().all(|server| metric(server.management_client(), SHARED) == 1);
    assert!(is_shared());
    get(replicas.client(0), "before").assert_success(r#""before""#);
    wait_until("it is stored", || primary.command(&["INFO", "keyspace"]).contains("db3:keys="));
    get(replicas.client(1), "before").assert_success(r#""before""#);
    assert_eq!(replicas.calls(), 1, "shared through the primary");

    primary.kill();
    for server in &replicas.servers {
        get(server.client(), "without").assert_success(r#""without""#);
    }
    wait_until("the replica is promoted", || replica.command(&["ROLE"]).contains("master"));
    wait_until("the cache is shared", is_shared);
    let calls = replicas.calls();
    get(replicas.client(0), "after").assert_success(r#""after""#);
    wait_until("it is stored", || replica.command(&["INFO", "keyspace"]).contains("db3:keys="));
    get(replicas.client(1), "after").assert_success(r#""after""#);
    assert_eq!(replicas.calls(), calls + 1, "shared through the new primary");

    let unknown = [("APP_CACHE__REDIS_URL", "redis://:canary@another"), settings[0]];
    let line = check_line("shared cache", &unknown);
    assert!(line.contains("sentinel") && line.contains("FAILED") && !line.contains("canary"), "{line}");
}
