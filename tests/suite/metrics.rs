//! The metrics that the management listener exports.

#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use proconf_app_server::routes::TABLE;
use proconf_app_server::sandbox::Reply;
use serde_json::json;

use crate::support::events::Events;
use crate::support::fake_upstream::{FakeUpstream, http, read_head};
use crate::support::{EMAIL, TestServer, tokens, wait_until};

/// Returns the series of the metrics page with their values.
fn scrape(server: &TestServer) -> BTreeMap<String, f64> {
    let page = server.management_client().get("/metrics", None);
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let lines = page.text().lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn retry_is_made_once_and_counted() {
    // Each connection is closed without a response to its second request.
    let peer = FakeUpstream::serving(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(http("200 OK", "{\"error\":null,\"data\":{}}").as_bytes());
        read_head(&mut stream);
    });
    let server = TestServer::with(&[
        ("APP_ADMIN_CONTROL__BASE_URL", &peer.base_url()),
        ("APP_SERVER__WORKERS", "1"),
        ("APP_CATCH_UP__FRESH_FOR", "0s"),
    ]);
    for _ in 0..100 {
        server.client().get("/callConfig", Some(&tokens::user())).data();
    }
    let page = scrape(&server);
    let sample = |what: &str| value(&page, &format!("proconf_admin_control_{what}{{endpoint=\"configuration\"}}"));
    // Every second call fails on a reused connection.
    assert_eq!((sample("call_duration_seconds_count"), sample("retries_total")), (100.0, 50.0));
    assert_eq!(peer.connections(), 100, "each retry opens a connection");
}

fn value(page: &BTreeMap<String, f64>, series: &str) -> f64 {
    *page.get(series).unwrap_or_else(|| panic!("{series} is not in {page:#?}"))
}

#[test]
fn requests_are_counted_by_route_not_by_path() {
    let server = TestServer::start();
    let (user, guest) = (tokens::user(), tokens::guest("r1"));
    server.client().get("/callCatchUp/r1", Some(&user)).data();
    server.client().get("/callCatchUp?roomName=r1", Some(&guest)).data();
    server.client().get("/callCatchUp/r2", Some(&guest)).assert_error(403, "Forbidden", "another room");
    server.client().get("/callCatchUp/r1", None).assert_unauthorized("no token");
    server.client().get("/callCatchUp/..", Some(&user)).assert_error(400, "Room name is not valid.", "no room");
    for canary in ["/unknown-1", "/unknown-2?q=3", "/callCatchUp/unknown/4"] {
        server.client().get(canary, Some(&user)).assert_error(404, "Not found", canary);
    }
    server.client().post("/callConfig", "{}").assert_error(404, "Not found", "a wrong method");
    let page = scrape(&server);
    let requests = |route: &str, method: &str, status: &str| {
        let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
        value(&page, &format!("proconf_http_requests_total{{{labels}}}"))
    };
    let catch_up = |status| requests("/callCatchUp/{roomName}", "GET", status);
    assert_eq!((catch_up("200"), catch_up("403"), catch_up("401"), catch_up("400")), (2.0, 1.0, 1.0, 1.0));
    assert_eq!(requests("unknown", "unknown", "404"), 4.0);
    let duration = "proconf_http_request_duration_seconds_count{route=\"/callCatchUp/{roomName}\",method=\"GET\"}";
    assert_eq!(value(&page, duration), 5.0);
    assert_eq!(value(&page, "proconf_http_requests_in_flight"), 0.0);
    assert!(!page.keys().any(|series| series.contains("unknown-") || series.contains("unknown/")), "{page:#?}");
}

#[test]
fn every_route_is_exported_before_its_first_request() {
    let page = scrape(&TestServer::start());
    for row in TABLE {
        let labels = format!("route=\"{}\",method=\"{}\"", row.paths[0], row.method);
        assert_eq!(value(&page, &format!("proconf_http_requests_total{{{labels},status=\"200\"}}")), 0.0);
        assert_eq!(value(&page, &format!("proconf_http_request_duration_seconds_count{{{labels}}}")), 0.0);
    }
}

#[test]
fn admin_control_calls_are_counted_by_endpoint_and_outcome() {
    let server = TestServer::start();
    let user = tokens::user();
    let fetch = |room: &str| server.client().get(&format!("/callCatchUp/{room}"), Some(&user)).status;
    server.script.catch_up("missing", Reply::not_found());
    server.script.catch_up("bad", Reply::body(500, "{}"));
    server.script.catch_up("odd", Reply::body(200, "<html>"));
    assert_eq!(["r1", "missing", "bad", "odd"].map(fetch), [200, 404, 500, 500]);
    let page = scrape(&server);
    let calls = |outcome: &str| {
        value(&page, &format!("proconf_admin_control_calls_total{{endpoint=\"call-catchup\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!(["ok", "not-found", "status", "not-the-envelope", "timed-out"].map(calls), [1.0, 1.0, 1.0, 1.0, 0.0]);
    let duration = "proconf_admin_control_call_duration_seconds_count{endpoint=\"call-catchup\"}";
    assert_eq!(value(&page, duration), 4.0);
}

#[test]
fn open_circuit_is_exported_and_its_rejections_are_not_timed() {
    let server = TestServer::with(&[("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api")]);
    for _ in 0..8 {
        server.client().get("/callConfig", Some(&tokens::user()));
    }
    let page = scrape(&server);
    let sample = |name: &str| value(&page, &format!("proconf_admin_control_{name}"));
    assert_eq!(sample("breaker_open{endpoint=\"configuration\"}"), 1.0);
    assert_eq!(sample("breaker_open{endpoint=\"meetings\"}"), 0.0);
    let (failed, rejected) = (
        sample("calls_total{endpoint=\"configuration\",outcome=\"connection\"}"),
        sample("calls_total{endpoint=\"configuration\",outcome=\"breaker-open\"}"),
    );
    assert!(failed >= 5.0 && rejected >= 1.0 && (failed + rejected - 8.0).abs() < 0.1, "{failed} {rejected}");
    assert_eq!(sample("call_duration_seconds_count{endpoint=\"configuration\"}"), failed);
}

#[test]
fn cache_reads_are_counted_by_outcome() {
    let server = TestServer::with(&[("APP_CATCH_UP__FRESH_FOR", "60s"), ("APP_CATCH_UP__STALE_IF_ERROR", "60s")]);
    for _ in 0..5 {
        server.client().get("/callCatchUp/r1", Some(&tokens::user())).data();
    }
    let page = scrape(&server);
    let reads =
        |outcome: &str| value(&page, &format!("proconf_cache_reads_total{{cache=\"call-catchup\",outcome=\"{outcome}\"}}"));
    assert_eq!(["miss", "hit", "coalesced"].map(reads), [1.0, 4.0, 0.0]);
    assert_eq!(value(&page, "proconf_cache_entries{cache=\"call-catchup\"}"), 1.0);
    assert!(value(&page, "proconf_cache_bytes{cache=\"call-catchup\"}") > 200.0);
}

#[test]
fn stale_response_is_counted() {
    let server = TestServer::with(&[("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "60s")]);
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).data();
    server.script.catch_up("r1", Reply::body(500, "{}"));
    let stale = "proconf_cache_stale_total{cache=\"call-catchup\"}";
    while value(&scrape(&server), stale) < 1.0 {
        server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_success(r#""r1""#);
    }
}

#[test]
fn logins_and_refreshes_are_counted_by_outcome() {
    let server = TestServer::with_account(&[]);
    let log_in = |password: &str| server.client().log_in(EMAIL, password);
    let token = server.log_in().data()["refreshToken"].take();
    assert_eq!(log_in("wrong").status, 401);
    let refresh = |token: &serde_json::Value| {
        server.client().post("/auth/refresh", &json!({"refreshToken": token}).to_string()).status
    };
    assert_eq!((refresh(&token), refresh(&json!("unknown"))), (200, 401));
    server.clock.advance(std::time::Duration::from_secs(40));
    assert_eq!(refresh(&token), 401);
    while log_in("wrong").status != 429 {}
    let page = scrape(&server);
    let logins = |outcome: &str| value(&page, &format!("proconf_logins_total{{outcome=\"{outcome}\"}}"));
    assert_eq!((logins("ok"), logins("throttled")), (1.0, 1.0));
    assert!(logins("failed") >= 10.0);
    let refreshes = |outcome: &str| value(&page, &format!("proconf_token_refreshes_total{{outcome=\"{outcome}\"}}"));
    assert_eq!(["ok", "rejected", "reused"].map(refreshes), [1.0, 2.0, 1.0]);
}

#[test]
fn process_database_and_build_metrics_are_exported() {
    let server = TestServer::start();
    let page = scrape(&server);
    for series in [
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "proconf_database_connections_max",
        "proconf_ready",
    ] {
        assert!(value(&page, series) > 0.0, "{series}");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let running = now - value(&page, "process_start_time_seconds");
    assert!((0.0..60.0).contains(&running), "{running}");
    let connections = |state: &str| value(&page, &format!("proconf_database_connections{{state=\"{state}\"}}"));
    assert!(connections("idle") + connections("in-use") > 0.0);
    assert_eq!(value(&page, &format!("proconf_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    assert_eq!((value(&page, "proconf_draining"), value(&page, "proconf_log_lines_dropped_total")), (0.0, 0.0));
}

/// Returns how many operations of a dependency were timed, and how many of them failed.
fn operations(server: &TestServer, dependency: &str) -> (f64, f64) {
    let page = scrape(server);
    let sample = |what: &str| value(&page, &format!("proconf_dependency_operation_{what}{{dependency=\"{dependency}\"}}"));
    (sample("duration_seconds_count"), sample("errors_total"))
}

#[test]
fn database_operations_are_timed_and_failures_counted() {
    let server = TestServer::with_account(&[]);
    server.log_in().data();
    let (timed, failed) = operations(&server, "database");
    assert!(timed >= 3.0 && failed == 0.0, "{timed} {failed}");
    server.execute_sql("ALTER TABLE sessions RENAME TO elsewhere");
    assert_eq!(server.log_in().status, 500);
    wait_until("failed operations are counted", || operations(&server, "database").1 >= 1.0);
}

#[test]
fn redis_commands_are_timed_and_failures_counted() {
    let mut redis = crate::support::redis::Redis::start();
    let server = TestServer::with(&[("APP_CACHE__REDIS_URL", &redis.url())]);
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).data();
    // The lookup, and the release with the response. A slow call renews its lease in between.
    wait_until("commands are timed", || operations(&server, "redis").0 >= 2.0);
    let (timed, failed) = operations(&server, "redis");
    assert!(failed < timed, "{failed} of {timed} failed");
    redis.kill();
    server.client().get("/callCatchUp/r2", Some(&tokens::user())).data();
    wait_until("the failed command is counted", || {
        let after = operations(&server, "redis");
        after.0 > timed && after.1 > failed
    });
}

#[test]
fn summary_reads_are_timed_and_failures_counted() {
    let server = TestServer::start();
    let get = || server.client().get("/callSummary/r1", Some(&tokens::user())).status;
    assert_eq!((get(), operations(&server, "summary-store")), (404, (1.0, 0.0)), "a missing file is no failure");
    let folder = server.put_summary("r1_1718871014/other", "");
    std::os::unix::fs::symlink(folder.join("r1_1718871014/other"), folder.join("r1_1718871014/summary.txt")).unwrap();
    assert_eq!((get(), operations(&server, "summary-store")), (500, (2.0, 1.0)));
    std::fs::remove_file(folder.join("r1_1718871014/summary.txt")).unwrap();
    server.put_summary("r1_1718871014/summary.txt", "text");
    assert_eq!((get(), operations(&server, "summary-store")), (200, (3.0, 1.0)));
}

#[test]
fn event_streams_and_their_rooms_are_exported() {
    let server = TestServer::start();
    let watched = || {
        let page = scrape(&server);
        (value(&page, "proconf_live_rooms"), value(&page, "proconf_live_streams"))
    };
    assert_eq!(watched(), (0.0, 0.0));
    let mut streams: Vec<_> =
        ["r1", "r1", "r2"].iter().map(|room| Events::subscribe(server.address, room, &tokens::user())).collect();
    wait_until("all streams are counted", || watched() == (2.0, 3.0));
    streams.pop();
    wait_until("a room without a stream is not polled", || watched() == (1.0, 2.0));
    streams.clear();
    wait_until("closed streams are not counted", || watched() == (0.0, 0.0));
}

#[test]
fn client_connections_and_their_limit_are_exported() {
    let server = TestServer::with(&[("APP_SERVER__MAX_CONNECTIONS", "4"), ("APP_SERVER__WORKERS", "2")]);
    let connections = || value(&scrape(&server), "proconf_http_connections");
    assert_eq!((connections(), value(&scrape(&server), "proconf_http_connections_max")), (0.0, 4.0));
    let bytes = crate::support::client::request("GET", b"/nowhere", None);
    let mut open: Vec<_> = (0..4).map(|_| server.client().connect()).collect();
    for connection in &mut open {
        assert_eq!(connection.request(&bytes).status, 404);
    }
    let waiting = server.client().connect();
    assert_eq!(connections(), 4.0, "a connection in the listen queue is not counted");
    drop(waiting);
    open.truncate(1);
    wait_until("closed connections are not counted", || connections() == 1.0);
}

#[test]
fn two_servers_in_one_process_count_separately() {
    let (one, other) = (TestServer::start(), TestServer::start());
    one.client().get("/callConfig", Some(&tokens::user())).data();
    let series = "proconf_http_requests_total{route=\"/callConfig\",method=\"GET\",status=\"200\"}";
    assert_eq!((value(&scrape(&one), series), value(&scrape(&other), series)), (1.0, 0.0));
}

/// Returns every metric name in `text`.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("proconf_") || word.starts_with("process_")).map(str::to_owned).collect()
}

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn metric_names_in_alerts_dashboard_and_docs_are_exported() {
    let redis = crate::support::redis::Redis::start();
    let provider = crate::support::identity_provider::IdentityProvider::start(&[]);
    let server = provider.server(&[("APP_CACHE__REDIS_URL", &redis.url())]);
    let page = server.management_client().get("/metrics", None);
    let types = page.text().lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exported: BTreeMap<&str, &str> = types.filter_map(|line| line.split_once(' ')).collect();
    assert!(exported.len() > 20, "{exported:?}");
    for path in ["deploy/alerts.yml", "deploy/grafana-dashboard.json", "docs/METRICS.md"] {
        let named = names_in(&file(path));
        assert!(named.len() > 8, "{path}");
        for name in &named {
            let of_histogram = |suffix| name.strip_suffix(suffix).and_then(|name| exported.get(name)) == Some(&"histogram");
            let known = exported.contains_key(name.as_str()) || ["_bucket", "_sum", "_count"].into_iter().any(of_histogram);
            assert!(known, "{path} names {name}, which is not exported");
        }
    }
    let documented = names_in(&file("docs/METRICS.md"));
    for name in exported.keys() {
        assert!(documented.contains(*name), "docs/METRICS.md does not explain {name}");
    }
}

#[test]
fn each_metric_has_one_help_line_and_one_type() {
    let server = TestServer::start();
    let page = server.management_client().get("/metrics", None);
    let names_after = |kind: &str| -> Vec<String> {
        let lines = page.text().lines().filter_map(|line| line.strip_prefix(kind));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let (mut helps, mut types) = (names_after("# HELP "), names_after("# TYPE "));
    helps.sort();
    types.sort();
    assert_eq!(helps, types);
    assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), types.len());
}

#[test]
fn metrics_page_passes_promtool() {
    let redis = crate::support::redis::Redis::start();
    let server = TestServer::with(&[("APP_CACHE__REDIS_URL", &redis.url())]);
    let page = server.management_client().get("/metrics", None);
    let command = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut promtool = command.expect("promtool, which tests/run installs");
    promtool.stdin.take().unwrap().write_all(page.text().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn label_values_in_alerts_and_dashboard_are_exported() {
    let server = TestServer::start();
    let page = server.management_client().get("/metrics", None).text().to_owned();
    for path in ["deploy/alerts.yml", "deploy/grafana-dashboard.json"] {
        let text = file(path).replace("\\\"", "\"");
        let mut checked = 0;
        for label in ["status", "outcome", "state"] {
            for operator in ["=\"", "=~\"", "!=\"", "!~\""] {
                for rest in text.split(&format!("{label}{operator}")).skip(1) {
                    for value in rest.split('"').next().unwrap().split('|') {
                        checked += 1;
                        assert!(page.contains(&format!("{label}=\"{value}\"")), "{path}: no {label}={value}");
                    }
                }
            }
        }
        assert!(checked > 2, "{path}");
    }
}
