//! A database of one's own for each test server: SQLite, or PostgreSQL where `TEST_DATABASE=postgres` is set.
//!
//! PostgreSQL is a private cluster, started from the installed binaries on a free port and ended with the test process.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

/// The cluster of all tests but those that stop theirs; it ends with this process.
static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// A database that nobody else uses.
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
    /// One of PostgreSQL, whatever the rest of this run is on.
    pub fn on_postgresql() -> Self {
        Self { url: CLUSTER.get_or_init(Cluster::start).new_database(), _folder: None }
    }

    /// One that is there already, and that somebody else ends.
    pub fn at(url: String) -> Self {
        Self { url, _folder: None }
    }
}

/// Whether this run of the suite is the one on PostgreSQL.
pub fn on_postgres() -> bool {
    match std::env::var("TEST_DATABASE").as_deref() {
        Ok("postgres") => true,
        Ok("sqlite") | Err(_) => false,
        Ok(other) => panic!("TEST_DATABASE is sqlite or postgres, not {other}"),
    }
}

/// A PostgreSQL server with files of its own.
pub struct Cluster {
    pub port: u16,
    binaries: PathBuf,
    folder: PathBuf,
    /// Waits for this process to end, one way or another, and ends the server.
    watchdog: Child,
    databases: AtomicUsize,
}

impl Cluster {
    pub fn start() -> Self {
        let binaries = binaries();
        let folder = PathBuf::from(printed(as_nobody_special("mktemp").args(["-d", "--tmpdir", "test-postgres.XXXXXX"])));
        let data = folder.join("data");
        printed(
            as_nobody_special(binaries.join("initdb")).args(["--auth=trust", "--no-sync", "-U", "tests", "-D"]).arg(&data),
        );
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = r#"cat >/dev/null; "$1/pg_ctl" -D "$2/data" -m immediate stop >/dev/null 2>&1; rm -rf "$2""#;
        let watchdog = as_nobody_special("sh")
            .args(["-c", script, "watchdog"])
            .args([&binaries, &folder])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let cluster = Self { port, binaries, folder, watchdog, databases: AtomicUsize::new(0) };
        cluster.pg_ctl(&["start"]);
        cluster
    }

    /// `pg_ctl` with these arguments, waited for. It starts on the same port each time.
    pub fn pg_ctl(&self, arguments: &[&str]) {
        let options =
            format!("-p {} -k {} -c listen_addresses=127.0.0.1 -c max_connections=400", self.port, self.folder.display());
        let mut command = as_nobody_special(self.binaries.join("pg_ctl"));
        command.arg("-D").arg(self.folder.join("data")).arg("-l").arg(self.folder.join("log"));
        command.args(["-w", "-o", &options]).args(arguments);
        assert!(command.stdout(Stdio::null()).status().unwrap().success(), "pg_ctl {arguments:?}");
    }

    /// What `psql` prints for one statement in the database at `url`.
    pub fn sql(&self, url: &str, statement: &str) -> String {
        let (port, folder) = (self.port.to_string(), self.folder.display().to_string());
        let name = url.rsplit('/').next().unwrap();
        let mut psql = Command::new(self.binaries.join("psql"));
        printed(psql.args(["-h", &folder, "-p", &port, "-U", "tests", "-d", name, "-Atqc", statement]))
    }

    /// From now on this role needs its password; the others need none.
    pub fn asks_for_the_password_of(&self, role: &str) {
        self.pg_ctl(&["stop", "-m", "fast"]);
        let file = self.folder.join("data/pg_hba.conf");
        let others = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("host all {role} 127.0.0.1/32 scram-sha-256\n{others}")).unwrap();
        self.pg_ctl(&["start"]);
    }

    /// Sends a signal to all of its processes: `STOP`, and it accepts connections and answers nothing; `CONT`.
    pub fn signal(&self, name: &str) {
        let data = self.folder.join("data/postmaster.pid");
        let of = |program: &str, file: &Path| printed(as_nobody_special(program).args(["-n1"]).arg(file));
        let first = of("head", &data);
        let others = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
        // The first of them first: it would start others.
        for process in std::iter::once(first.as_str()).chain(others.split_whitespace()) {
            let _ = Command::new("kill").args([&format!("-{name}"), process]).status();
        }
    }

    /// Makes a database and gives its URL.
    pub fn new_database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::SeqCst));
        let (port, folder) = (self.port.to_string(), self.folder.display().to_string());
        printed(Command::new(self.binaries.join("createdb")).args(["-h", &folder, "-p", &port, "-U", "tests", &name]));
        format!("postgres://tests@127.0.0.1:{port}/{name}")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Or it could not be told to end.
        if std::thread::panicking() {
            self.signal("CONT");
        }
        // The end of its input tells the watchdog.
        drop(self.watchdog.stdin.take().map(|mut stdin| stdin.flush()));
        let _ = self.watchdog.wait();
    }
}

/// Where the server's binaries are; Debian keeps them off the path.
fn binaries() -> PathBuf {
    let debian =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = debian.chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists());
    found.expect("PostgreSQL's binaries are installed (Debian: postgresql)")
}

/// PostgreSQL refuses to run as root.
fn as_nobody_special(program: impl AsRef<Path>) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|of_us| {
        use std::os::unix::fs::MetadataExt as _;
        of_us.uid() == 0
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

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
