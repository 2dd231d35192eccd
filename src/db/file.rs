//! The file of a SQLite database: created with mode 0600, and identified by its inode.
//!
//! Writes to a file that was deleted or replaced under a running server are lost when the process ends.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use super::url::{creates_file, path_of};
use crate::secret::files;

/// The opened file.
#[derive(Clone)]
pub(super) struct File {
    path: Arc<Path>,
    inode: (u64, u64),
}

impl File {
    /// Creates the file of `url` and its folders, unless the URL forbids it.
    pub(super) fn create(url: &str) -> io::Result<Self> {
        let path = path_of(url);
        if creates_file(url) {
            files::create_private_folder(path.parent().unwrap_or(Path::new("")))?;
            // Before SQLite does: it gives the files beside it the same mode.
            files::create_private_file(&path)?;
        }
        files::require_regular(&path)?;
        Ok(Self { inode: inode(&path)?, path: path.into() })
    }

    /// Returns whether the path still leads to the opened file.
    pub(super) fn is_in_place(&self) -> bool {
        inode(&self.path).is_ok_and(|now| now == self.inode)
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Returns whether other users can read or write the SQLite file of `url`.
///
/// Its write-ahead log counts, too.
pub(crate) fn is_accessible_to_others(url: &str) -> bool {
    let path = path_of(url);
    let is_accessible = |suffix: &str| {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        fs::metadata(name).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
    };
    url.starts_with("sqlite:") && ["", "-wal", "-shm"].into_iter().any(is_accessible)
}

/// Returns whether opening the SQLite `url` would create its file as root.
pub(crate) fn is_created_by_root(url: &str) -> bool {
    url.starts_with("sqlite:") && rustix::process::geteuid().is_root() && creates_file(url) && !path_of(url).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_file_is_created_unless_the_url_forbids_it() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a%20folder/app.db", folder.path().display());
        assert!(File::create(&format!("{url}?mode=rw")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for url in [url.clone(), format!("{url}?mode=rwc"), format!("{url}?mode=rw"), format!("{url}?cache=private")] {
            File::create(&url).unwrap();
        }
        assert!(folder.path().join("a folder/app.db").exists());
    }

    #[test]
    fn fifo_and_folder_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [&fifo, folder.path()] {
            let error = File::create(&format!("sqlite://{}", path.display())).err().unwrap();
            assert_eq!(error.to_string(), "not a regular file");
        }
    }

    #[test]
    fn deleted_or_replaced_file_is_not_in_place_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("app.db"), folder.path().join("aside"));
        let file = File::create(&format!("sqlite://{}", path.display())).unwrap();
        assert!(file.is_in_place());
        fs::rename(&path, &aside).unwrap();
        assert!(!file.is_in_place(), "nothing is there");
        fs::write(&path, "").unwrap();
        assert!(!file.is_in_place(), "another one is there");
        fs::rename(&aside, &path).unwrap();
        assert!(file.is_in_place());
    }
}
