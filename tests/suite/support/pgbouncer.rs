//! The distribution's `PgBouncer` in front of a cluster, with the configuration that `deploy/` ships.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::database::{Cluster, output_of, unprivileged};
use super::wait_until;

/// A running `PgBouncer`; stopped when it is dropped.
pub struct PgBouncer {
    port: u16,
    process: Child,
    folder: PathBuf,
}

impl PgBouncer {
    /// Runs `deploy/pgbouncer.ini` in front of the database at `url`, changed by `edit`. Only addresses and paths are replaced.
    pub fn start(cluster: &Cluster, url: &str, edit: impl Fn(String) -> String) -> Self {
        let folder = PathBuf::from(output_of(unprivileged("mktemp").args(["-d", "--tmpdir", "test-pgbouncer.XXXXXX"])));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/pgbouncer.ini");
        let mut text = edit(std::fs::read_to_string(shipped).unwrap());
        let name = url.rsplit('/').next().unwrap();
        for (from, to) in [
            ("port=5432 dbname=proconf", format!("port={} dbname={name}", cluster.port)),
            ("listen_port = 6432", format!("listen_port = {port}")),
            ("/etc/pgbouncer", folder.display().to_string()),
            ("/var/log/postgresql", folder.display().to_string()),
            ("/var/run/postgresql", folder.display().to_string()),
        ] {
            assert!(text.contains(from), "deploy/pgbouncer.ini has no {from}");
            text = text.replace(from, &to);
        }
        std::fs::write(folder.join("pgbouncer.ini"), text).unwrap();
        std::fs::write(folder.join("userlist.txt"), "\"proconf\" \"canary-pooled\"\n").unwrap();
        let mut command = unprivileged("pgbouncer");
        let process = command.arg(folder.join("pgbouncer.ini")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pooler = Self { port, process, folder };
        wait_until("PgBouncer listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        pooler
    }

    /// The URL of the database through the pooler.
    pub fn url(&self) -> String {
        format!("postgres://proconf:canary-pooled@127.0.0.1:{}/proconf", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
