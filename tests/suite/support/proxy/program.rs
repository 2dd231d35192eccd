//! nginx and HAProxy as programs, with the configurations that `deploy/` ships. Shared with the benchmark of rolling restarts.
//!
//! Only addresses, ports and paths of the configurations are replaced.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use yaml_rust2::YamlLoader;

/// The header from which nginx and HAProxy take the client's address, so that a test can be many clients.
pub const CLIENT_HEADER: &str = "X-Test-Client";
/// The longest time of a start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const ACCESS_LOG: &str = "proconf-app-server.log";

/// A program and its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// `deploy/nginx.conf`.
    Nginx,
    /// `deploy/haproxy.cfg`.
    Haproxy,
    /// nginx with the configuration in `deploy/compose.replicas.yaml`, which has no TLS.
    ComposeNginx,
}

/// A running proxy; stopped when it is dropped.
pub struct Program {
    pub address: SocketAddr,
    kind: ProxyKind,
    process: Child,
    folder: TempDir,
}

impl Program {
    /// Starts a proxy in front of these servers. `certificate` has the chain and the key of one with TLS.
    pub fn start(kind: ProxyKind, servers: &[SocketAddr], (chain, key): (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("certificate.pem"), format!("{chain}\n{key}")).unwrap();
        std::fs::write(folder.path().join("key.pem"), key).unwrap();
        let site = kind.configuration(servers, folder.path());
        // Another program may take the free port before the proxy does.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let path = folder.path().join("proxy.conf");
            std::fs::write(&path, kind.listen_on(&site, address)).unwrap();
            if let Some(process) = spawn(kind.command(folder.path(), &path), address) {
                return Self { address, kind, process, folder };
            }
        }
        panic!("{kind:?} does not start: {}", std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default());
    }

    /// Stops the proxy, which finishes its requests, and returns the lines of its access log.
    pub fn stop(mut self) -> Vec<Vec<u8>> {
        let signal = if self.kind == ProxyKind::Haproxy { "-USR1" } else { "-QUIT" };
        assert!(Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
        let log = std::fs::read(self.folder.path().join(ACCESS_LOG)).unwrap();
        log.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl ProxyKind {
    /// Returns the configuration with these servers and the paths of this folder.
    fn configuration(self, servers: &[SocketAddr], folder: &Path) -> String {
        let path = |name: &str| folder.join(name).display().to_string();
        match self {
            Self::Nginx => {
                let site = with_servers(&read("deploy/nginx.conf"), "server 127.0.0.1:8080", "127.0.0.1:8080", servers);
                let site = replace(&site, "/etc/ssl/certs/app.example.com.pem", &path("certificate.pem"));
                let site = replace(&site, "/etc/ssl/private/app.example.com.key", &path("key.pem"));
                nginx_in(folder, &replace(&site, "_log /var/log/nginx/", &format!("_log {}/", folder.display())))
            }
            Self::ComposeNginx => {
                let compose = YamlLoader::load_from_str(&read("deploy/compose.replicas.yaml")).unwrap();
                let site = compose[0]["configs"]["balancer"]["content"].as_str().unwrap().replace("$$", "$");
                // Docker's names are its addresses.
                let site = replace(&site, "resolver 127.0.0.11 valid=2s;", "");
                let site = with_servers(&site, "server app:8080", "app:8080 resolve", servers);
                nginx_in(folder, &replace(&site, "/dev/stdout", &path(ACCESS_LOG)))
            }
            Self::Haproxy => {
                let site = with_servers(&read("deploy/haproxy.cfg"), "server replica1", "127.0.0.1:8080", servers);
                let site = replace(&site, "/etc/haproxy/app.example.com.pem", &path("certificate.pem"));
                let site = replace(&site, "/var/lib/haproxy", &folder.display().to_string());
                // The line for another proxy in front.
                let site = replace(&site, "# http-request set-src", "http-request set-src");
                let site = replace(&site, "hdr_ip(X-Forwarded-For,-1)", &format!("hdr_ip({CLIENT_HEADER})"));
                let site = replace(&site, "src 192.0.2.1", "src 127.0.0.1");
                if is_root() { site } else { without_root(&site) }
            }
        }
    }

    fn listen_on(self, site: &str, address: SocketAddr) -> String {
        match self {
            Self::Nginx => replace(site, "listen 443 ssl", &format!("listen {address} ssl")),
            Self::ComposeNginx => replace(site, "listen 8080;", &format!("listen {address};")),
            Self::Haproxy => replace(site, "bind :443 ", &format!("bind {address} ")),
        }
    }

    fn command(self, folder: &Path, configuration: &Path) -> Command {
        if self == Self::Haproxy {
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(configuration);
            command.stdout(File::create(folder.join(ACCESS_LOG)).unwrap());
            command.stderr(File::create(folder.join("error.log")).unwrap());
            return command;
        }
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-e").arg(folder.join("error.log")).arg("-c").arg(configuration);
        command
    }
}

/// Repeats the line of the first server for each of these, with its own address, and its own name if it has one.
fn with_servers(site: &str, line: &str, placeholder: &str, servers: &[SocketAddr]) -> String {
    let shipped = site.lines().find(|shipped| shipped.trim_start().starts_with(line));
    let shipped = shipped.unwrap_or_else(|| panic!("the configuration has no {line}"));
    let own = |(number, server): (usize, &SocketAddr)| {
        replace(shipped, placeholder, &server.to_string()).replace("replica1", &format!("replica{number}"))
    };
    let lines: Vec<String> = servers.iter().enumerate().map(own).collect();
    replace(site, shipped, &lines.join("\n"))
}

/// Returns a whole configuration of nginx with this site.
fn nginx_in(folder: &Path, site: &str) -> String {
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};\n")).concat();
    format!(
        "daemon off;\nmaster_process off;\npid {}/nginx.pid;\nworker_rlimit_nofile 8192;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\naccess_log off;\n{temporary}\
         set_real_ip_from 127.0.0.1;\nreal_ip_header {CLIENT_HEADER};\n{site}\n}}\n",
        folder.display()
    )
}

/// Removes what HAProxy may do as root only.
fn without_root(site: &str) -> String {
    let needs_root = |line: &&str| ["user ", "group ", "chroot "].iter().any(|start| line.trim_start().starts_with(start));
    site.lines().filter(|line| !needs_root(line)).map(|line| format!("{line}\n")).collect()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the configuration has no {from}");
    text.replace(from, to)
}

/// Starts a proxy that listens on this address; `None` if it ends at once.
fn spawn(mut command: Command, address: SocketAddr) -> Option<Child> {
    let process = command.stdin(Stdio::null()).spawn();
    let mut process = process.expect("nginx and haproxy are installed; tests/run does that (Debian: nginx-light, haproxy)");
    let started = Instant::now();
    loop {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(address).is_ok() {
            return Some(process);
        }
        assert!(started.elapsed() < START_TIMEOUT, "{command:?} does not listen");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
