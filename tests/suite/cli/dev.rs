//! The listen addresses of `dev` and the host names that it accepts.

use std::net::{SocketAddr, TcpListener};

use super::files::by;
use super::{Running, command, run, workspace};
use crate::support::client::Client;

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

fn status(address: SocketAddr, target: &str, host: &str) -> u16 {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    Client::new(address).request(request.as_bytes()).status
}

/// The address in a line of the banner.
fn address_in(line: &str) -> SocketAddr {
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
    rejected.assert_error(400, "Host must be localhost or a loopback address.", "in the envelope");
    assert!(rejected.header("x-request-id").is_some());
    assert_eq!(dev.stop().0, 0);
}

#[test]
fn dev_uses_the_next_free_port() {
    // Occupied by this test or by another program.
    let _taken = TcpListener::bind("127.0.0.1:8080");
    let workspace = workspace();
    let mut dev = Running::start(command(&workspace, &["dev"], &[]));
    let address = address_in(&dev.line_with("The server is on"));
    assert!((8081..8100).contains(&address.port()), "{address}");
    assert_eq!(dev.line_with("Port"), "Port 8080 is in use; using the next free one.\n");
    assert!(dev.line_with("curl ").contains(&format!(" http://{address}/callCatchUp/")));
    assert_eq!(status(address, "/health/live", "localhost"), 200);
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
