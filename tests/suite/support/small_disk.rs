//! An 8 MB file system that a test may fill up. It lives in a mount namespace that ends with its holder process.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::skip;

/// A mounted file system; unmounted when dropped.
pub struct SmallDisk {
    /// Waits for the end of its input.
    holder: Child,
    /// Where it is mounted, in its own namespace.
    mounted_at: TempDir,
    nsenter_options: &'static [&'static str],
}

impl SmallDisk {
    /// Returns `None`, and prints so, where mounting is not permitted.
    pub fn mount() -> Option<Self> {
        // As root, or as root of a user namespace.
        let options: [(&[&str], &[&str]); 2] = [
            (&["--mount"], &["--mount"]),
            (&["--user", "--map-root-user", "--mount"], &["--user", "--preserve-credentials", "--mount"]),
        ];
        let mounted = options
            .into_iter()
            .find_map(|(unshare_options, nsenter_options)| Self::mount_in(unshare_options, nsenter_options));
        if mounted.is_none() {
            skip("a full disk", "a file system can be mounted neither by root nor in a user namespace here");
        }
        mounted
    }

    fn mount_in(unshare_options: &[&str], nsenter_options: &'static [&'static str]) -> Option<Self> {
        let mounted_at = tempfile::tempdir().unwrap();
        let script = r#"mount -t tmpfs -o size=8m tmpfs "$0" && echo mounted && exec cat"#;
        let mut command = Command::new("unshare");
        command.args(unshare_options).args(["sh", "-c", script]).arg(mounted_at.path());
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut line = String::new();
        let _ = BufReader::new(holder.stdout.take()?).read_line(&mut line);
        let disk = Self { holder, mounted_at, nsenter_options };
        (line == "mounted\n").then_some(disk)
    }

    /// Builds a command that runs `program` in `folder`, inside the namespace.
    pub fn command(&self, folder: &Path, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string()]).args(self.nsenter_options);
        command.args(["sh", "-c", r#"cd "$0" && exec "$@""#]).arg(folder).arg(program);
        command
    }

    /// The mount point inside the namespace.
    pub fn folder(&self) -> &Path {
        self.mounted_at.path()
    }

    /// The path of a file on it, outside the namespace.
    pub fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.mounted_at.path().strip_prefix("/").unwrap()).join(name)
    }

    /// Fills the file system.
    pub fn fill(&self) {
        let mut filler = OpenOptions::new().append(true).create(true).open(self.file("filler")).unwrap();
        loop {
            match filler.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Frees the space.
    pub fn free(&self) {
        std::fs::remove_file(self.file("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
