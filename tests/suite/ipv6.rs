//! IPv6 addresses wherever a setting takes a host.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use proconf_app_server::sandbox::Script;

use crate::support::client::Client;
use crate::support::database::TestDatabase;
use crate::support::process::ServerProcess;
use crate::support::redis::Redis;
use crate::support::replicas::metric;
use crate::support::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use crate::support::{EMAIL, PASSWORD, SECRET, SandboxServer, TestClock, TestServer, skip, tokens, wait_until};

const LISTEN: (&str, &str) = ("APP_SERVER__LISTEN", "[::1]:0");
const MANAGEMENT: (&str, &str) = ("APP_MANAGEMENT__LISTEN", "[::1]:0");

fn has_ipv6() -> bool {
    let is_there = TcpListener::bind("[::1]:0").is_ok();
    if !is_there {
        skip("IPv6", "this machine has no ::1");
    }
    is_there
}

/// All external systems, each on `::1`.
struct Systems {
    database: Arc<TestDatabase>,
    sandbox: SandboxServer,
    redis: Redis,
    s3: S3,
}

impl Systems {
    fn start() -> Self {
        let url = TestDatabase::on_postgresql().url.replace("127.0.0.1", "[::1]");
        Self {
            database: Arc::new(TestDatabase::at(url)),
            sandbox: SandboxServer::start_on("[::1]:0", Script::echo()),
            redis: Redis::with(&["--bind", "::1", "127.0.0.1"]),
            s3: S3::start_on("[::1]:0"),
        }
    }

    fn settings(&self) -> Vec<(&str, String)> {
        vec![
            ("APP_ADMIN_CONTROL__BASE_URL", self.sandbox.base_url.clone()),
            ("APP_CACHE__REDIS_URL", format!("redis://[::1]:{}", self.redis.port)),
            ("APP_SUMMARIES__URL", format!("s3://{BUCKET}")),
            ("AWS_ENDPOINT", self.s3.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
        ]
    }
}

#[test]
fn server_reaches_every_system_by_ipv6() {
    if !has_ipv6() {
        return;
    }
    let systems = Systems::start();
    let settings = systems.settings();
    let mut settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.extend([LISTEN, MANAGEMENT, ("APP_CATCH_UP__FRESH_FOR", "60s")]);
    let server = TestServer::on(Arc::clone(&systems.database), TestClock::default(), &settings);
    assert!(server.address.is_ipv6() && server.management.is_ipv6());
    server.add_user(EMAIL, PASSWORD);
    let token = server.log_in().data()["token"].as_str().unwrap().to_owned();
    server.client().get("/callCatchUp/r1", Some(&token)).assert_success(r#""r1""#);
    wait_until("the catch-up is in Redis", || !systems.redis.keys("proconf:*").is_empty());
    systems.s3.put("r1_1718871014/summary.txt", b"what was said");
    server.client().get("/callSummary/r1", Some(&token)).assert_success(r#""what was said""#);
    assert_eq!(metric(server.management_client(), "proconf_ready "), 1);
}

#[test]
fn check_config_reaches_every_system_by_ipv6() {
    if !has_ipv6() {
        return;
    }
    let systems = Systems::start();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
    command.arg("check-config").current_dir(folder.path()).env_clear().envs(systems.settings());
    command.envs([LISTEN, MANAGEMENT, ("APP_AUTH__JWT_SECRET", SECRET), ("APP_DATABASE__URL", &systems.database.url)]);
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    let systems = ["address", "management address", "database", "Admin Control", "summary store", "shared cache"];
    for system in systems {
        assert!(stdout.contains(&format!("\n# {system}: ok, ")), "{system}: {stdout}");
    }
}

#[test]
fn ipv6_proxy_is_trusted_and_healthcheck_finds_the_listener() {
    if !has_ipv6() {
        return;
    }
    let sandbox = SandboxServer::start(Script::echo());
    for (listen, proxies) in [("[::1]:0", "::1/128"), ("[::]:0", "10.0.0.0/8, ::/64")] {
        let settings =
            [("APP_SERVER__LISTEN", listen), ("APP_MANAGEMENT__LISTEN", listen), ("APP_SERVER__TRUSTED_PROXIES", proxies)];
        let server = ServerProcess::start(&sandbox.base_url, &settings);
        let connects = |address: std::net::SocketAddr| format!("[::1]:{}", address.port());
        let client = Client::new(connects(server.address).parse().unwrap());
        let request = format!(
            "GET /callCatchUp/r1 HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: [2001:db8::7]:4444\r\nAuthorization: Bearer {}\r\n\r\n",
            connects(server.address),
            tokens::user()
        );
        client.request(request.as_bytes()).assert_success(r#""r1""#);
        server.line(0, |line| line["path"] == "/callCatchUp/r1" && line["client"] == "2001:db8::7");
        let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
        command.arg("healthcheck").current_dir(std::env::temp_dir()).env_clear();
        let listens = server.management.to_string();
        assert!(command.env("APP_MANAGEMENT__LISTEN", &listens).status().unwrap().success(), "{listens}");
    }
}
