//! The file of a database of SQLite: made before it is opened, and looked at again before and after each piece of work. Knows no SQL.
//!
//! Who deletes the file of a running server, or puts another one in its place, leaves it with a file that has no name any more:
//! what is written there is gone with the process. Such work must fail, and not be acknowledged.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;

/// The file, as it was when it was opened. Clones are the same.
#[derive(Clone)]
pub(super) struct File {
    path: Arc<Path>,
    identity: (u64, u64),
}

impl File {
    /// Makes the file of `url` and the folders for it, if they are not there and the URL does not forbid it.
    pub(super) fn make(url: &str) -> io::Result<Self> {
        let path = path_of(url);
        if makes_its_file(url) {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            // Never opened if it is there: to close it again would take the locks away that this process may hold on it.
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let identity = identity(&fs::metadata(&path)?);
        Ok(Self { path: path.into(), identity })
    }

    /// Whether its path still leads to it.
    pub(super) async fn is_in_its_place(&self) -> bool {
        let path = Arc::clone(&self.path);
        // A disk may hang.
        let seen = tokio::task::spawn_blocking(move || fs::metadata(path)).await;
        match seen {
            Ok(Ok(seen)) => identity(&seen) == self.identity,
            Ok(Err(error)) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
            // The process is ending.
            Err(_) => true,
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The file that a URL of SQLite names.
pub(super) fn path_of(url: &str) -> PathBuf {
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    let path = percent_decode_str(path.split('?').next().unwrap_or(path)).decode_utf8_lossy();
    PathBuf::from(path.as_ref())
}

/// Whether a file that is missing is to be made: unless the URL says what to do.
pub(super) fn makes_its_file(url: &str) -> bool {
    parameters(url).all(|part| !part.starts_with("mode=") || part == "mode=rwc")
}

/// The URL without leave to make the file: one that was deleted must not come back empty.
pub(super) fn of_a_file_that_is_there(url: &str) -> String {
    let parts: Vec<&str> = parameters(url).filter(|part| *part != "mode=rwc").collect();
    let path = url.split('?').next().unwrap_or(url);
    if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) }
}

fn parameters(url: &str) -> impl Iterator<Item = &str> {
    url.split_once('?').map_or("", |(_, query)| query).split('&').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_with_its_folders_unless_the_url_forbids_it() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a%20folder/app.db", folder.path().display());
        assert!(File::make(&format!("{url}?mode=rw")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for url in [url.clone(), format!("{url}?mode=rwc"), format!("{url}?mode=rw"), format!("{url}?cache=private")] {
            File::make(&url).unwrap();
            let again = of_a_file_that_is_there(&url);
            assert!(!again.contains("rwc") && again.contains("cache") == url.contains("cache"), "{again}");
        }
        assert!(folder.path().join("a folder/app.db").exists());
    }

    #[actix_rt::test]
    async fn a_file_that_was_moved_is_missed_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("app.db"), folder.path().join("aside"));
        let file = File::make(&format!("sqlite://{}", path.display())).unwrap();
        assert!(file.is_in_its_place().await);
        fs::rename(&path, &aside).unwrap();
        assert!(!file.is_in_its_place().await, "nothing is there");
        fs::write(&path, "").unwrap();
        assert!(!file.is_in_its_place().await, "another one is there");
        fs::rename(&aside, &path).unwrap();
        assert!(file.is_in_its_place().await);
    }
}
