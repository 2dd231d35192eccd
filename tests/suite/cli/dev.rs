//! The listen addresses of `dev`, the host names and origins that it accepts, and what it keeps between runs.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use super::files::by;
use super::{Running, command, run, workspace};
use crate::support::client::Client;
use crate::support::response::Response;

#[test]
fn dev_on_a_public_address_exits_78() {
    for name in ["APP_SERVER__LISTEN", "APP_MANAGEMENT__LISTEN"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
            let environment = [("APP_SERVER__LISTEN", "127.0.0.1:0"), (name, address)];
            let (code, stdout, stderr) = run(&workspace(), &["dev"], &environment, "");
            assert_eq!((code, stdout.as_str()), (78, ""));
            assert!(stderr.starts_with(&format!("{name} must be a loopback address")), "{stderr}");
        }
    }
}

fn get(address: SocketAddr, target: &str, headers: &str) -> Response {
    let request = format!("GET {target} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n");
    Client::new(address).request(request.as_bytes())
}

fn status(address: SocketAddr, target: &str, host: &str) -> u16 {
    get(address, target, &format!("Host: {host}")).status
}

/// Occupies a port. Another test's `dev` may have it for a while, and another program for good.
fn occupy(port: u16) -> Option<TcpListener> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => return Some(listener),
            Err(_) if Instant::now() > deadline => return None,
            Err(_) => std::thread::park_timeout(Duration::from_millis(50)),
        }
    }
}

/// The address, and the token of the printed command.
fn address_and_token(dev: &mut Running) -> (SocketAddr, String) {
    let line = dev.line_with("curl ");
    let token = line.split("Bearer ").nth(1).unwrap().split('\'').next().unwrap();
    (address_in(&line), token.to_owned())
}

/// The address in a line of the banner.
pub(super) fn address_in(line: &str) -> SocketAddr {
    let address = line.split("http://").nth(1).unwrap();
    address.split(|c: char| c == '/' || c == ',' || c.is_whitespace()).next().unwrap().parse().unwrap()
}

#[test]
fn dev_accepts_loopback_host_names_only() {
    let workspace = workspace();
    let mut dev = Running::start(command(&workspace, &["dev"], &[("APP_SERVER__LISTEN", "127.0.0.1:0")]));
    let server = address_in(&dev.line_with("The server is on"));
    let management = address_in(&dev.line_with("Metrics:"));
    let sandbox = address_in(&dev.line_with("Sandbox:"));
    for (address, target, rejected) in
        [(server, "/health/live", 400), (server, "/", 400), (management, "/metrics", 400), (sandbox, "/sandbox", 421)]
    {
        for host in ["rebind.example", &format!("rebind.example:{}", address.port()), "192.0.2.1", "0.0.0.0"] {
            assert_eq!(status(address, target, host), rejected, "{target} {host}");
        }
        for host in ["localhost", "console.localhost:8080", "[::1]", &address.to_string()] {
            assert_eq!(status(address, target, host), 200, "{target} {host}");
        }
    }
    let request = b"GET /callConfig HTTP/1.1\r\nHost: rebind.example\r\nConnection: close\r\n\r\n";
    let rejected = Client::new(server).request(request);
    rejected.assert_error(400, "Host must be localhost, or an address that the server printed.", "in the envelope");
    assert!(rejected.header("x-request-id").is_some());
    assert_eq!(dev.stop().0, 0);
}

#[test]
fn dev_replaces_default_ports_in_use() {
    let _taken = [8080, 8081, 9090].map(occupy);
    let workspace = workspace();
    // As in a copy of `.env.example`.
    let addresses = "APP_SERVER__LISTEN=127.0.0.1:8080\nAPP_MANAGEMENT__LISTEN=127.0.0.1:9090\n";
    std::fs::write(workspace.path().join(".env"), addresses).unwrap();
    let mut command = command(&workspace, &["dev"], &[]);
    command.env_remove("APP_MANAGEMENT__LISTEN");
    let mut dev = Running::start(command);
    let address = address_in(&dev.line_with("The server is on"));
    assert!((8082..8101).contains(&address.port()), "{address}");
    assert_eq!(dev.line_with("Port"), "Port 8080 is in use; using the next free one.\n");
    assert_eq!(dev.line_with("Port"), "Port 8081 is in use; the sandbox uses another one.\n");
    assert_eq!(dev.line_with("Port"), "Port 9090 is in use; the metrics use another one.\n");
    assert_eq!(status(address_in(&dev.line_with("Metrics:")), "/metrics", "localhost"), 200);
    assert_eq!(status(address_in(&dev.line_with("Sandbox:")), "/sandbox", "localhost"), 200);
    let (printed, token) = address_and_token(&mut dev);
    assert_eq!(printed, address);
    assert_eq!(Client::new(address).get("/callCatchUp/testRoom", Some(&token)).status, 200);
    assert_eq!(dev.stop().0, 0);
}

#[test]
fn dev_token_survives_a_restart() {
    let workspace = workspace();
    let start = || Running::start(command(&workspace, &["dev"], &[("APP_SERVER__LISTEN", "127.0.0.1:0")]));
    let mut dev = start();
    let (_, token) = address_and_token(&mut dev);
    assert_eq!(dev.stop().0, 0);
    let secret = workspace.path().join("var/dev/jwt-secret");
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&secret).unwrap();

    let mut dev = start();
    let (address, _) = address_and_token(&mut dev);
    let client = Client::new(address);
    assert_eq!(client.get("/callCatchUp/testRoom", Some(&token)).status, 200);
    let settings = r#"{"passwordLogin":true,"guestLinks":true,"sampleRooms":["testRoom","quietRoom","endedRoom"]}"#;
    client.get("/console/settings", None).assert_success(settings);
    assert_eq!(dev.stop().0, 0);
    assert!(std::fs::read(&secret).unwrap() == before && before.len() >= 32);
}

#[test]
fn dev_allows_origins_of_this_machine_only() {
    let workspace = workspace();
    let mut dev = Running::start(command(&workspace, &["dev"], &[("APP_SERVER__LISTEN", "127.0.0.1:0")]));
    let (address, _) = address_and_token(&mut dev);
    let allowed = |origin: &str| {
        let response = get(address, "/callConfig", &format!("Host: localhost\r\nOrigin: {origin}"));
        response.header("access-control-allow-origin").map(str::to_owned)
    };
    for origin in ["http://localhost:5173", "http://localhost", "http://127.0.0.1:3000", "http://[::1]:4200"] {
        assert_eq!(allowed(origin).as_deref(), Some(origin));
    }
    for origin in [
        "http://evil.example",
        "http://localhost.evil.example",
        "http://localhost:5173.evil.example",
        "https://evil.example",
        "http://192.0.2.1:5173",
        "http://localhost:5173/",
        "file://localhost",
        "null",
    ] {
        assert_eq!(allowed(origin), None, "{origin}");
    }
    assert_eq!(dev.stop().0, 0);
}

#[test]
fn dev_with_lan_accepts_the_printed_address() {
    let workspace = workspace();
    let (code, _, stderr) = run(&workspace, &["dev", "--lan"], &[("APP_SERVER__LISTEN", "127.0.0.1:0")], "");
    assert!(code == 78 && stderr.contains("APP_SERVER__LISTEN must be an address that phones can reach"), "{stderr}");
    let environment = [("APP_SERVER__LISTEN", "0.0.0.0:0")];
    // The address of the default route; nothing is sent.
    let network = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("203.0.113.1:9")?;
        socket.local_addr()
    });
    let Ok(network) = network.map(|address| address.ip()) else {
        let (code, _, stderr) = run(&workspace, &["dev", "--lan"], &environment, "");
        assert!(code == 78 && stderr.starts_with("APP_SERVER__LISTEN needs an address"), "{stderr}");
        return;
    };
    let mut dev = Running::start(command(&workspace, &["dev", "--lan"], &environment));
    let server = address_in(&dev.line_with("The server is on"));
    assert!(server.ip().is_loopback(), "{server}");
    assert_eq!(address_in(&dev.line_with("On phones:")), SocketAddr::new(network, server.port()));
    dev.line_with("Warning: the demo login is public");
    let management = address_in(&dev.line_with("Metrics:"));
    let sandbox = address_in(&dev.line_with("Sandbox:"));
    assert!(management.ip().is_loopback() && sandbox.ip().is_loopback(), "{management} {sandbox}");
    for host in [&*network.to_string(), &format!("{network}:{}", server.port()), "localhost"] {
        assert_eq!(status(server, "/", host), 200, "{host}");
    }
    for host in ["rebind.example", "198.51.100.7", "0.0.0.0"] {
        assert_eq!(status(server, "/", host), 400, "{host}");
    }
    assert_eq!(status(sandbox, "/sandbox", &network.to_string()), 421);
    let origin = format!("http://{network}:5173");
    let response = get(server, "/callConfig", &format!("Host: localhost\r\nOrigin: {origin}"));
    assert_eq!(response.header("access-control-allow-origin"), Some(&*origin));
    assert_eq!(dev.stop().0, 0);
}

#[test]
fn dev_on_an_occupied_explicit_address_fails() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let workspace = workspace();
    std::fs::write(workspace.path().join("dev.toml"), format!("[server]\nlisten = \"{address}\"\n")).unwrap();
    for (arguments, environment) in
        [(vec!["dev"], vec![("APP_SERVER__LISTEN", &*address)]), (vec!["dev", "--config", "dev.toml"], vec![])]
    {
        let mut dev = by("timeout", &["20"], &workspace, &arguments, &environment);
        if environment.is_empty() {
            dev.env_remove("APP_SERVER__LISTEN");
        }
        let output = dev.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        // `timeout` exits with 124 if it runs.
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
        assert!(stderr.contains(&format!("can't listen on {address} (APP_SERVER__LISTEN)")), "{stderr}");
    }
}

#[test]
fn dev_with_a_webhook_follows_the_allow_list_of_the_sandbox() {
    let place = workspace();
    let settings = [("APP_SERVER__LISTEN", "127.0.0.1:0"), ("APP_ROOMS__ACCESS", "webhook")];
    let mut dev = Running::start(command(&place, &["dev"], &settings));
    let server = Client::new(address_in(&dev.line_with("The server is on")));
    let sandbox = Client::new(address_in(&dev.line_with("Sandbox:")));
    let curl = dev.line_with("curl ");
    let token = curl.split("Bearer ").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let get = |target: &str| server.get(target, Some(&token)).status;
    let put = |list: &str| {
        let head = "PUT /sandbox/room-access HTTP/1.1\r\nHost: localhost\r\n";
        sandbox.request(format!("{head}Content-Length: {}\r\n\r\n{list}", list.len()).as_bytes())
    };
    assert_eq!((get("/callCatchUp/testRoom"), get("/meetings")), (200, 200));
    let list = r#"{"allow":[{"room":"testRoom"}],"ttl":0}"#;
    assert_eq!(put(list).status, 200);
    assert_eq!((get("/callStatus/quietRoom"), get("/callStatus/testRoom")), (403, 200));
    let shown = sandbox.get("/sandbox/room-access", None);
    let shown: serde_json::Value = serde_json::from_str(shown.text()).unwrap();
    assert_eq!(shown["data"], serde_json::from_str::<serde_json::Value>(list).unwrap());
    assert_eq!(put(r#"{"allow":[{"subject":"another"}]}"#).status, 200);
    assert_eq!(get("/callSummary/testRoom"), 403);
    for wrong in [
        "",
        "[]",
        r#"{"allow":true}"#,
        r#"{"allow":[{"user":"u1"}]}"#,
        r#"{"allow":[{"room":null}]}"#,
        r#"{"allow":[{"subject":null}]}"#,
        r#"{"allow":[],"ttl":"1"}"#,
        r#"{"allow":[],"ttl":301}"#,
    ] {
        assert_eq!(put(wrong).status, 400, "{wrong}");
    }
    let delete = b"DELETE /sandbox/room-access HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(sandbox.request(delete).status, 200);
    assert_eq!(get("/callSummary/endedRoom"), 200);
    assert_eq!(dev.stop().0, 0);
}
