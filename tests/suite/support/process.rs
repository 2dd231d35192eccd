//! Runs the built binary as a server process, to observe its log, memory and exit code.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::Client;
use super::database::TestDatabase;
use super::{SECRET, TEST_TIMEOUT, secrets};

/// The binary under test, or another build of it that `TEST_SERVER` names (docs/QA.md).
fn binary() -> PathBuf {
    let other =
        std::env::var_os("TEST_SERVER").map(|path| PathBuf::from(path).canonicalize().expect("TEST_SERVER is there"));
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_proconf-app-server").into())
}

/// `serve` with JSON logs, ended when it is dropped.
pub struct ServerProcess {
    pub address: SocketAddr,
    /// Where metrics are.
    pub management: SocketAddr,
    child: Child,
    log: Arc<Log>,
    /// Reads the log to its end.
    reader: Option<JoinHandle<()>>,
    _database: Arc<TestDatabase>,
    folder: tempfile::TempDir,
}

/// Runs a command to its end with the settings of a server; returns its exit code, standard output and standard error.
pub fn run_command(command: &str, url: &str, base_url: &str, settings: &[(&str, &str)]) -> (i32, String, String) {
    let mut process = Command::new(binary());
    process.arg(command).current_dir(std::env::temp_dir()).env_clear();
    process.envs([
        ("APP_SERVER__LISTEN", "127.0.0.1:0"),
        ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0"),
        ("APP_ADMIN_CONTROL__BASE_URL", base_url),
        ("APP_AUTH__JWT_SECRET", SECRET),
        ("APP_DATABASE__URL", url),
    ]);
    let output = process.envs(settings.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    secrets::assert_absent(&text(output.stderr.clone()), "a command");
    (output.status.code().expect("not killed"), text(output.stdout), text(output.stderr))
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<serde_json::Value>>,
    grown: Condvar,
}

impl ServerProcess {
    /// Starts a server with these settings on top of the defaults of tests.
    pub fn start(base_url: &str, settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::new(TestDatabase::new()), base_url, settings)
    }

    /// The same, with a limit on open files.
    pub fn with_files(limit: usize, base_url: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("ulimit -n {limit} && exec \"$0\"")]).arg(binary());
        Self::run(command, Arc::new(TestDatabase::new()), base_url, settings)
    }

    /// The same, started by `command`.
    pub fn started_by(command: Command, base_url: &str, settings: &[(&str, &str)]) -> Self {
        Self::run(command, Arc::new(TestDatabase::new()), base_url, settings)
    }

    /// The same, on an existing database.
    pub fn on(database: Arc<TestDatabase>, base_url: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary());
        command.arg("serve");
        Self::run(command, database, base_url, settings)
    }

    /// The same, started by `command` on the database at `url`.
    pub fn run_by(command: Command, url: String, base_url: &str, settings: &[(&str, &str)]) -> Self {
        Self::run(command, Arc::new(TestDatabase::at(url)), base_url, settings)
    }

    fn run(mut command: Command, database: Arc<TestDatabase>, base_url: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        command.current_dir(folder.path()).env_clear();
        command.envs([
            ("APP_SERVER__LISTEN", "127.0.0.1:0"),
            ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0"),
            ("APP_SERVER__WORKERS", "2"),
            ("APP_ADMIN_CONTROL__BASE_URL", base_url),
            ("APP_AUTH__JWT_SECRET", SECRET),
            ("APP_CATCH_UP__FRESH_FOR", "0s"),
            ("APP_CATCH_UP__STALE_IF_ERROR", "0s"),
            ("APP_DATABASE__URL", database.url.as_str()),
            ("APP_LOG__FORMAT", "json"),
            ("RUST_LOG", "trace"),
        ]);
        command.envs(settings.iter().copied());
        secrets::register_settings(settings.iter().copied());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (lines, stderr) = (Arc::clone(&log), BufReader::new(child.stderr.take().unwrap()));
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lines.lock().unwrap().push(serde_json::from_str(&line).unwrap_or_else(|_| line.into()));
                lines.grown.notify_all();
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        // Built first: a server that does not start must not outlive the test.
        let mut server =
            Self { address: unknown, management: unknown, child, log, reader: Some(reader), _database: database, folder };
        let listening = server.line(0, |line| line["message"] == "listening");
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        (server.address, server.management) = (address("address"), address("management"));
        server
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Returns the number of log lines so far.
    pub fn logged(&self) -> usize {
        self.log.lines.lock().unwrap().len()
    }

    /// Waits for a line after the first `from` ones for which `wanted` holds.
    pub fn line(&self, from: usize, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        self.log.wait_for(from, wanted)
    }

    /// Returns the lines after the first `from` ones for which `wanted` holds.
    pub fn lines(&self, from: usize, wanted: impl Fn(&serde_json::Value) -> bool) -> Vec<serde_json::Value> {
        self.log.lines.lock().unwrap()[from..].iter().filter(|line| wanted(line)).cloned().collect()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Waits for the exit code. Returns it with the time taken.
    pub fn exit(&mut self) -> (i32, Duration) {
        let started = Instant::now();
        (self.child.wait().unwrap().code().expect("ended by itself"), started.elapsed())
    }

    /// Memory in use, in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// CPU time used, in steps of 10 ms.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The fields after the name, which may contain blanks.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        Duration::from_millis(10 * (11..13).map(|at| fields[at].parse::<u64>().unwrap()).sum::<u64>())
    }

    /// Puts a file into the summary store.
    pub fn put_summary(&self, key: &str, text: &str) {
        super::s3::write(&self.folder.path().join("var/summaries"), key, text.as_bytes());
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().count()
    }

    /// The command line, as other users of the machine see it.
    pub fn command_line(&self) -> String {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.child.id())).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The number of open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.reader.take().map(JoinHandle::join);
        let lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let log: Vec<String> = lines.iter().map(serde_json::Value::to_string).collect();
        secrets::assert_absent(&log.join("\n"), "a server process");
    }
}

impl Log {
    fn wait_for(&self, from: usize, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let lines = self.lines.lock().unwrap();
        let found = |lines: &Vec<serde_json::Value>| lines.iter().skip(from).find(|line| wanted(line)).cloned();
        let (lines, _) = self.grown.wait_timeout_while(lines, TEST_TIMEOUT, |lines| found(lines).is_none()).unwrap();
        found(&lines).unwrap_or_else(|| panic!("no such line in {:#?}", &lines[from.min(lines.len())..]))
    }
}
