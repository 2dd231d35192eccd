//! One database for each test server: SQLite, or PostgreSQL with `TEST_DATABASE=postgres`.
//!
//! PostgreSQL is a private cluster, started from the installed binaries. It ends with the test process.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

/// The cluster that tests share unless they stop it.
static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// A database for one test.
pub struct TestDatabase {
    pub url: String,
    _folder: Option<TempDir>,
}

impl TestDatabase {
    pub fn new() -> Self {
        if !on_postgres() {
            let folder = tempfile::tempdir().unwrap();
            return Self { url: format!("sqlite://{}/app.db", folder.path().display()), _folder: Some(folder) };
        }
        Self { url: CLUSTER.get_or_init(Cluster::start).new_database(), _folder: None }
    }
}

impl TestDatabase {
    /// Creates a PostgreSQL database, also in a run on SQLite.
    pub fn on_postgresql() -> Self {
        Self { url: CLUSTER.get_or_init(Cluster::start).new_database(), _folder: None }
    }

    /// Uses an existing database.
    pub fn at(url: String) -> Self {
        Self { url, _folder: None }
    }
}

/// Returns whether this run is on PostgreSQL.
pub fn on_postgres() -> bool {
    match std::env::var("TEST_DATABASE").as_deref() {
        Ok("postgres") => true,
        Ok("sqlite") | Err(_) => false,
        Ok(other) => panic!("TEST_DATABASE is sqlite or postgres, not {other}"),
    }
}

/// A PostgreSQL server with its own data directory.
pub struct Cluster {
    pub port: u16,
    binaries: PathBuf,
    folder: PathBuf,
    /// Stops the server when this process ends, however it ends.
    watchdog: Child,
    databases: AtomicUsize,
}

impl Cluster {
    pub fn start() -> Self {
        let binaries = binaries();
        let folder = PathBuf::from(output_of(unprivileged("mktemp").args(["-d", "--tmpdir", "test-postgres.XXXXXX"])));
        let data = folder.join("data");
        output_of(unprivileged(binaries.join("initdb")).args(["--auth=trust", "--no-sync", "-U", "tests", "-D"]).arg(&data));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = r#"cat >/dev/null; "$1/pg_ctl" -D "$2/data" -m immediate stop >/dev/null 2>&1; rm -rf "$2""#;
        let watchdog = unprivileged("sh")
            .args(["-c", script, "watchdog"])
            .args([&binaries, &folder])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let cluster = Self { port, binaries, folder, watchdog, databases: AtomicUsize::new(0) };
        cluster.pg_ctl(&["start"]);
        cluster
    }

    /// Runs `pg_ctl` with these arguments and waits. The port stays the same.
    pub fn pg_ctl(&self, arguments: &[&str]) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1,::1 -c max_connections=400",
            self.port,
            self.folder.display()
        );
        let mut command = unprivileged(self.binaries.join("pg_ctl"));
        command.arg("-D").arg(self.folder.join("data")).arg("-l").arg(self.folder.join("log"));
        command.args(["-w", "-o", &options]).args(arguments);
        assert!(command.stdout(Stdio::null()).status().unwrap().success(), "pg_ctl {arguments:?}");
    }

    /// Returns what `psql` prints for one statement in the database at `url`.
    pub fn sql(&self, url: &str, statement: &str) -> String {
        let (port, folder) = (self.port.to_string(), self.folder.display().to_string());
        let name = url.rsplit('/').next().unwrap();
        let mut psql = Command::new(self.binaries.join("psql"));
        output_of(psql.args(["-h", &folder, "-p", &port, "-U", "tests", "-d", name, "-Atqc", statement]))
    }

    /// Requires a password from this role only.
    pub fn require_password_of(&self, role: &str) {
        self.pg_ctl(&["stop", "-m", "fast"]);
        let file = self.folder.join("data/pg_hba.conf");
        let rules = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("host all {role} 127.0.0.1/32 scram-sha-256\n{rules}")).unwrap();
        self.pg_ctl(&["start"]);
    }

    /// Sends a signal to all of its processes. After `STOP` it accepts connections and does not respond.
    pub fn signal(&self, name: &str) {
        let data = self.folder.join("data/postmaster.pid");
        let line_of = |program: &str, file: &Path| output_of(unprivileged(program).args(["-n1"]).arg(file));
        let postmaster = line_of("head", &data);
        let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        // The postmaster first, or it would start others.
        for process in std::iter::once(postmaster.as_str()).chain(children.split_whitespace()) {
            let _ = Command::new("kill").args([&format!("-{name}"), process]).status();
        }
    }

    /// Creates a database and returns its URL.
    pub fn new_database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::SeqCst));
        let (port, folder) = (self.port.to_string(), self.folder.display().to_string());
        output_of(Command::new(self.binaries.join("createdb")).args(["-h", &folder, "-p", &port, "-U", "tests", &name]));
        format!("postgres://tests@127.0.0.1:{port}/{name}")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A stopped process does not end.
        if std::thread::panicking() {
            self.signal("CONT");
        }
        // The watchdog reacts to the end of its input.
        drop(self.watchdog.stdin.take().map(|mut stdin| stdin.flush()));
        let _ = self.watchdog.wait();
    }
}

/// Finds the PostgreSQL binaries; Debian installs them outside the path.
fn binaries() -> PathBuf {
    let debian =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = debian.chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists());
    found.expect("PostgreSQL's binaries are installed (Debian: postgresql)")
}

/// PostgreSQL refuses to run as root.
pub(super) fn unprivileged(program: impl AsRef<Path>) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| {
        use std::os::unix::fs::MetadataExt as _;
        process.uid() == 0
    });
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program.as_ref());
        command
    } else {
        Command::new(program.as_ref())
    };
    command.current_dir("/");
    command
}

pub(super) fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
