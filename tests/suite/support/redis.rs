//! A Redis server of the installed binary, on a free port. It ends with the test process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Redis server without persistence.
pub struct Redis {
    pub port: u16,
    arguments: Vec<String>,
    /// The password of the default user; empty for none.
    password: String,
    running: Running,
    /// The configuration of a sentinel, which it rewrites.
    _folder: Option<tempfile::TempDir>,
}

/// The server, under a shell that kills it when the test process has ended.
struct Running {
    watchdog: Child,
    pid: String,
}

impl Redis {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts it with these command-line options.
    pub fn with(options: &[&str]) -> Self {
        Self::with_password("", options)
    }

    /// With options that protect it by a password.
    pub fn with_password(password: &str, options: &[&str]) -> Self {
        let port = free_port();
        let port_text = port.to_string();
        let usual = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        Self::run(port, password, &[&usual, options].concat(), None)
    }

    /// A sentinel that watches the primary `name`, with the same password. Two of three suffice for a failover.
    pub fn sentinel(name: &str, primary: u16, password: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let file = folder.path().join("sentinel.conf").display().to_string();
        let text = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass {password}\nsentinel sentinel-pass {password}\n\
             sentinel monitor {name} 127.0.0.1 {primary} 2\nsentinel auth-pass {name} {password}\n\
             sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 3000\n"
        );
        std::fs::write(&file, text).unwrap();
        Self::run(port, password, &[&file, "--sentinel"], Some(folder))
    }

    fn run(port: u16, password: &str, arguments: &[&str], folder: Option<tempfile::TempDir>) -> Self {
        let arguments: Vec<String> = arguments.iter().copied().map(str::to_owned).collect();
        let running = Running::start(&arguments);
        let redis = Self { port, password: password.to_owned(), running, arguments, _folder: folder };
        redis.wait();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.signal("KILL");
        let _ = self.running.watchdog.wait();
    }

    /// Restarts it on the same port, empty.
    pub fn restart(&mut self) {
        self.running = Running::start(&self.arguments);
        self.wait();
    }

    /// Sends a signal: with `STOP` it accepts connections and never replies, until `CONT`.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.running.pid]).status().unwrap().success());
    }

    /// Runs a command and returns its reply, unparsed.
    pub fn command(&self, command: &[&str]) -> String {
        // A replica that becomes the primary closes its connections once.
        self.try_command(command).or_else(|_| self.try_command(command)).expect("Redis replies")
    }

    /// Adds a user with the documented permissions, except `missing`.
    pub fn user(&self, name: &str, password: &str, missing: &str) {
        let guide = include_str!("../../../docs/OPERATIONS.md");
        let permissions = guide.split("ACL SETUSER proconf on >PASSWORD ").nth(1).and_then(|rest| rest.split("\n\n").next());
        let permissions = permissions
            .expect("OPERATIONS.md has them")
            .split_whitespace()
            .filter(|permission| *permission != "\\" && *permission != missing);
        let password = format!(">{password}");
        let command: Vec<&str> = ["ACL", "SETUSER", name, "on", &password].into_iter().chain(permissions).collect();
        assert_eq!(self.command(&command), "+OK\r\n");
    }

    /// Returns the keys that match a pattern.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let reply = self.command(&["KEYS", pattern]);
        reply.lines().filter(|line| !line.starts_with(['*', '$'])).map(str::to_owned).collect()
    }

    fn try_command(&self, command: &[&str]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let encode = |command: &[&str]| {
            let parts: String = command.iter().map(|part| format!("${}\r\n{part}\r\n", part.len())).collect();
            format!("*{}\r\n{parts}", command.len())
        };
        if !self.password.is_empty() {
            stream.write_all(encode(&["AUTH", &self.password]).as_bytes())?;
            let mut reply = [0; 5];
            stream.read_exact(&mut reply)?;
            if reply != *b"+OK\r\n" {
                return Err(std::io::Error::other("the password is rejected"));
            }
        }
        // The second command ends the connection, so that the reply has an end.
        stream.write_all((encode(command) + &encode(&["QUIT"])).as_bytes())?;
        let (mut reply, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        while let read @ 1.. = stream.read(&mut buffer)? {
            reply.extend(buffer.iter().take(read));
            // A sentinel has no such command, and does not close the connection.
            if let Some((reply, _)) = String::from_utf8_lossy(&reply).split_once("-ERR unknown command 'QUIT'") {
                return Ok(reply.to_owned());
            }
        }
        let reply = String::from_utf8_lossy(&reply).into_owned();
        Ok(reply.strip_suffix("+OK\r\n").unwrap_or(&reply).to_owned())
    }

    fn wait(&self) {
        let started = Instant::now();
        while !self.try_command(&["PING"]).is_ok_and(|pong| pong == "+PONG\r\n") {
            assert!(started.elapsed() < Duration::from_secs(10), "Redis does not start");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Running {
    fn start(arguments: &[String]) -> Self {
        let script = r#"program=$(command -v redis-server || command -v valkey-server) || exit 1
            "$program" "$@" >/dev/null 2>&1 & pid=$!; echo $pid; (cat >/dev/null; kill -9 $pid 2>/dev/null) <&3 & wait $pid"#;
        // The standard input of a shell's background job is empty, hence the third descriptor.
        let mut watchdog = Command::new("sh")
            .args(["-c", &format!("exec 3<&0; {script}"), "watchdog"])
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The shell reports each killed job there.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(watchdog.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        assert!(!pid.is_empty(), "redis-server or valkey-server is installed (Debian: redis-server)");
        Self { watchdog, pid: pid.trim().to_owned() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}
