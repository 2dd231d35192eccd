//! The name of Admin Control: that there is none, that nobody says, and that it leads elsewhere from one moment to the next. The
//! server is in a mount namespace of its own, with names and a resolver that only it sees; that takes root, as it is in CI's
//! container.

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

/// Which names there are, and who is asked for others.
struct Names {
    folder: tempfile::TempDir,
}

impl Names {
    fn new(hosts: &str, resolver: &str) -> Self {
        let names = Self { folder: tempfile::tempdir().unwrap() };
        names.lead_to(hosts);
        fs::write(names.path("resolv.conf"), format!("nameserver {resolver}\n")).unwrap();
        names
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Written over and not replaced: it is this very file that is mounted.
    fn lead_to(&self, hosts: &str) {
        fs::write(self.path("hosts"), format!("127.0.0.1 localhost\n{hosts}\n")).unwrap();
    }

    /// A server that sees these, and no others.
    fn server(&self, base_url: &str, settings: &[(&str, &str)]) -> ServerProcess {
        let mounts = format!(
            "mount --bind {} /etc/hosts && mount --bind {} /etc/resolv.conf && exec \"$0\" serve",
            self.path("hosts").display(),
            self.path("resolv.conf").display()
        );
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "/bin/sh", "-c", &mounts, env!("CARGO_BIN_EXE_proconf-app-server")]);
        let ours =
            [("APP_ADMIN_CONTROL__TIMEOUT", "2s"), ("APP_CATCH_UP__EXPLAIN_ABSENCE", "false"), ("PATH", "/usr/bin:/bin")];
        ServerProcess::started_by(command, base_url, &[&ours, settings].concat())
    }
}

/// Whether this process may make namespaces; without, there is nothing to be seen here.
fn may() -> bool {
    let may = Command::new("/usr/bin/unshare").args(["--mount", "/bin/true"]).status().is_ok_and(|status| status.success());
    if !may {
        skip("the name of Admin Control", "there is no right to a mount namespace here (unshare --mount)");
    }
    may
}

/// Answers as `who`, until it is dead: then each connection breaks.
fn answers_as(who: &'static str, address: &str, dead: Arc<AtomicBool>) -> FakeUpstream {
    FakeUpstream::serving_on(address, move |mut stream, _| {
        while !dead.load(Ordering::SeqCst) && read_head(&mut stream).is_some() && !dead.load(Ordering::SeqCst) {
            let answer = http("200 OK", &format!(r#"{{"error":null,"data":"{who}"}}"#));
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// How long it takes until a room's catch-up is `wanted`, asked for again and again; and how many answers failed till then.
fn asked_until(server: &ServerProcess, wanted: &str) -> (Duration, usize) {
    let (began, mut failed) = (Instant::now(), 0);
    loop {
        let answer = server.client().get("/callCatchUp/r1", Some(&tokens::user()));
        if answer.status == 200 && answer.data() == wanted {
            return (began.elapsed(), failed);
        }
        failed += usize::from(answer.status != 200);
        assert!(began.elapsed() < Duration::from_secs(40), "{wanted} is never asked");
        // More than the silence after which a connection is used again.
        std::thread::park_timeout(Duration::from_millis(60));
    }
}

fn moves(dies: bool) -> (Duration, usize) {
    let dead = Arc::new(AtomicBool::new(false));
    let old = answers_as("old", "127.0.0.2:0", Arc::clone(&dead));
    let _new = answers_as("new", &format!("127.0.0.3:{}", old.port), Arc::default());
    let names = Names::new(&format!("127.0.0.2 {NAME}"), "127.0.0.1");
    let server = names.server(&format!("http://{NAME}:{}/api", old.port), &[]);
    for _ in 0..20 {
        asked_until(&server, "old");
    }
    names.lead_to(&format!("127.0.0.3 {NAME}"));
    dead.store(dies, Ordering::SeqCst);
    asked_until(&server, "new")
}

#[test]
fn new_address_is_used_at_once_when_the_old_one_fails() {
    if may() {
        let (took, failed) = moves(true);
        assert!(took < TIMEOUT && failed == 0, "{took:?}, {failed} failed: the one that broke is tried again");
    }
}

#[test]
fn new_address_is_used_within_30s_when_the_old_one_answers() {
    if may() {
        let (took, failed) = moves(false);
        assert!(took < Duration::from_secs(30) && failed == 0, "{took:?}, {failed} failed");
    }
}

#[test]
fn unknown_name_is_500_until_it_resolves() {
    if !may() {
        return;
    }
    let peer = answers_as("here", "127.0.0.1:0", Arc::default());
    let names = Names::new("", "127.0.0.1");
    let server = names.server(&format!("http://{NAME}:{}/api", peer.port), &[]);
    let asked = Instant::now();
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_error(500, "Internal server error", "no such name");
    assert!(asked.elapsed() < TIMEOUT + GRACE);
    let line = server.line(0, |line| line["message"] == "Admin Control failed");
    assert_eq!(line["reason"], "not-connected", "{line}");
    assert!(line["cause"].as_str().unwrap().contains("lookup"), "{line}");
    names.lead_to(&format!("127.0.0.1 {NAME}"));
    let (took, _) = asked_until(&server, "here");
    assert!(took < TIMEOUT + GRACE, "{took:?}");
}

#[test]
fn silent_resolver_delays_only_calls_by_the_connect_timeout() {
    if !may() {
        return;
    }
    let Ok(silent) = UdpSocket::bind("127.0.0.9:53") else {
        return skip("a resolver that says nothing", "there is no right to port 53 here");
    };
    let names = Names::new("", "127.0.0.9");
    let settings = [("APP_ADMIN_CONTROL__CONNECT_TIMEOUT", "500ms"), ("APP_SERVER__DRAIN_FOR", "0s")];
    let mut server = names.server(&format!("http://{NAME}:9/api"), &settings);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let client = server.client();
                scope.spawn(move || {
                    let asked = Instant::now();
                    let answer = client.get(&format!("/callCatchUp/r{number}"), Some(&tokens::user()));
                    answer.assert_error(500, "Internal server error", "a silent resolver");
                    asked.elapsed()
                })
            })
            .collect();
        silent.recv_from(&mut [0; 512]).expect("the resolver is asked");
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(server.client().get("/health/live", None).status, 200);
            server.client().get("/auth/joinmember?roomName=r1", None).data();
            assert!(asked.elapsed() < GRACE);
        }
        for waited in waiting {
            let took = waited.join().unwrap();
            assert!(took < TIMEOUT, "{took:?}");
        }
    });
    let asked = Instant::now();
    server.client().get("/callCatchUp/r1", Some(&tokens::user())).assert_error(
        500,
        "Internal server error",
        "the breaker is open",
    );
    assert!(asked.elapsed() < GRACE / 4);
    let line = server.line(0, |line| line["message"] == "Admin Control failed");
    assert_eq!(line["reason"], "timed-out", "{line}");
    // The system's own resolver goes on waiting by itself; a stop does not wait for it.
    server.signal("TERM");
    let (code, took) = server.exit();
    assert!(code == 0 && took < Duration::from_secs(3), "{code} after {took:?}");
}
