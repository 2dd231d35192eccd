//! DNS of Admin Control's host name: unknown, silent, or changed to another address.
//!
//! The server runs in a mount namespace with its own `/etc/hosts` and resolver, which needs root.

use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::fake_upstream::{FakeUpstream, http, read_head};
use crate::support::process::ServerProcess;
use crate::support::{skip, tokens};

const NAME: &str = "admin.test";
const TIMEOUT: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(1);

/// The hosts file and the resolver configuration of one server.
struct NameService {
    folder: tempfile::TempDir,
}

impl NameService {
    fn new(hosts: &str, resolver: &str) -> Self {
        let names = Self { folder: tempfile::tempdir().unwrap() };
        names.set_hosts(hosts);
        fs::write(names.path("resolv.conf"), format!("nameserver {resolver}\n")).unwrap();
        names
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Rewrites the hosts file in place, because the mount is of this inode.
    fn set_hosts(&self, hosts: &str) {
        fs::write(self.path("hosts"), format!("127.0.0.1 localhost\n{hosts}\n")).unwrap();
    }

    /// Starts a server that sees only these names.
    fn server(&self, base_url: &str, settings: &[(&str, &str)]) -> ServerProcess {
        let mounts = format!(
            "mount --bind {} /etc/hosts && mount --bind {} /etc/resolv.conf && exec \"$0\" serve",
            self.path("hosts").display(),
            self.path("resolv.conf").display()
        );
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "/bin/sh", "-c", &mounts, env!("CARGO_BIN_EXE_proconf-app-server")]);
        let defaults =
            [("APP_ADMIN_CONTROL__TIMEOUT", "2s"), ("APP_CATCH_UP__EXPLAIN_ABSENCE", "false"), ("PATH", "/usr/bin:/bin")];
        ServerProcess::started_by(command, base_url, &[&defaults, settings].concat())
    }
}

/// Returns whether this process may create mount namespaces.
fn can_unshare() -> bool {
    let permitted =
        Command::new("/usr/bin/unshare").args(["--mount", "/bin/true"]).status().is_ok_and(|status| status.success());
    if !permitted {
        skip("the name of Admin Control", "no permission for a mount namespace (unshare --mount)");
    }
    permitted
}

/// Starts an Admin Control whose catch-up is `name`; once `is_down` is set, its connections break.
fn admin_control(name: &'static str, address: &str, is_down: Arc<AtomicBool>) -> FakeUpstream {
    FakeUpstream::serving_on(address, move |mut stream, _| {
        while !is_down.load(Ordering::SeqCst) && read_head(&mut stream).is_some() && !is_down.load(Ordering::SeqCst) {
            let response = http("200 OK", &format!(r#"{{"error":null,"data":"{name}"}}"#));
            if stream.write_all(response.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Requests a catch-up until it is `wanted`; returns the time and the number of failures.
fn poll_until(server: &ServerProcess, wanted: &str) -> (Duration, usize) {
    let (started, mut failed) = (Instant::now(), 0);
    loop {
        let response = server.client().get("/callCatchUp/r1", Some(&tokens::user()));
        if response.status == 200 && response.data() == wanted {
            return (started.elapsed(), failed);
        }
        failed += usize::from(response.status != 200);
        assert!(started.elapsed() < Duration::from_secs(40), "{wanted} is never called");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Moves the name to another address; the old one continues, or fails.
fn move_address(old_fails: bool) -> (Duration, usize) {
    let is_down = Arc::new(AtomicBool::new(false));
    let old = admin_control("old", "127.0.0.2:0", Arc::clone(&is_down));
    let _new = admin_control("new", &format!("127.0.0.3:{}", old.port), Arc::default());
    let names = NameService::new(&format!("127.0.0.2 {NAME}"), "127.0.0.1");
    let server = names.server(&format!("http://{NAME}:{}/api", old.port), &[]);
    for _ in 0..20 {
        poll_until(&server, "old");
    }
    names.set_hosts(&format!("127.0.0.3 {NAME}"));
    is_down.store(old_fails, Ordering::SeqCst);
    poll_until(&server, "new")
}

#[test]
fn new_address_is_used_at_once_when_the_old_one_fails() {
    if can_unshare() {
        let (took, failed) = move_address(true);
        assert!(took < TIMEOUT && failed == 0, "{took:?}, {failed} failed: the broken call is retried");
    }
}

#[test]
fn new_address_is_used_within_30s_when_the_old_one_responds() {
    if can_unshare() {
        let (took, failed) = move_address(false);
        assert!(took < Duration::from_secs(30) && failed == 0, "{took:?}, {failed} failed");
    }
}

#[test]
fn unknown_name_is_500_until_it_resolves() {
    if !can_unshare() {
        return;
    }
    let peer = admin_control("here", "127.0.0.1:0", Arc::default());
    let names = NameService::new("", "127.0.0.1");
    let server = names.server(&format!("http://{NAME}:{}/api", peer.port), &[]);
    let started = Instant::now();
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_error(500, "Internal server error", "unknown name");
    assert!(started.elapsed() < TIMEOUT + GRACE);
    let line = server.line(0, |line| line["message"] == "Admin Control failed");
    assert_eq!(line["reason"], "not-connected", "{line}");
    assert!(line["cause"].as_str().unwrap().contains("lookup"), "{line}");
    names.set_hosts(&format!("127.0.0.1 {NAME}"));
    let (took, _) = poll_until(&server, "here");
    assert!(took < TIMEOUT + GRACE, "{took:?}");
}

#[test]
fn silent_resolver_delays_only_calls_by_the_connect_timeout() {
    if !can_unshare() {
        return;
    }
    let Ok(silent) = UdpSocket::bind("127.0.0.9:53") else {
        return skip("a silent resolver", "no permission for port 53");
    };
    let names = NameService::new("", "127.0.0.9");
    let settings = [("APP_ADMIN_CONTROL__CONNECT_TIMEOUT", "500ms"), ("APP_SERVER__DRAIN_FOR", "0s")];
    let mut server = names.server(&format!("http://{NAME}:9/api"), &settings);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let client = server.client();
                scope.spawn(move || {
                    let started = Instant::now();
                    let response = client.get(&format!("/callCatchUp/r{number}"), Some(&tokens::user()));
                    response.assert_error(500, "Internal server error", "a silent resolver");
                    started.elapsed()
                })
            })
            .collect();
        silent.recv_from(&mut [0; 512]).expect("a query");
        for _ in 0..20 {
            let started = Instant::now();
            assert_eq!(server.client().get("/health/live", None).status, 200);
            server.client().get("/auth/joinmember?roomName=r1", None).data();
            assert!(started.elapsed() < GRACE);
        }
        for waited in waiting {
            let took = waited.join().unwrap();
            assert!(took < TIMEOUT, "{took:?}");
        }
    });
    let started = Instant::now();
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_error(
        500,
        "Internal server error",
        "the breaker is open",
    );
    assert!(started.elapsed() < GRACE / 4);
    let line = server.line(0, |line| line["message"] == "Admin Control failed");
    assert_eq!(line["reason"], "timed-out", "{line}");
    // The shutdown does not wait for the system's resolver.
    server.signal("TERM");
    let (code, took) = server.exit();
    assert!(code == 0 && took < Duration::from_secs(3), "{code} after {took:?}");
}
