//! Files and folders: made for their owner alone, read only if regular, probed without a trace.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::secret;

/// Creates a folder, and those above it, that only this user can enter. One that exists keeps its mode.
///
/// # Errors
///
/// Why it can't be created.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates an empty file that only this user can read. One that exists is not opened and keeps its mode.
///
/// # Errors
///
/// Why it can't be created.
pub fn create_private_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Fails unless `path` is a regular file: to open a FIFO or a device may block for ever.
///
/// # Errors
///
/// What it is instead, or why that is not known.
pub fn require_regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")) }
}

/// Reads the text of a regular file.
///
/// # Errors
///
/// As [`require_regular`], and if the file can't be read or is not UTF-8.
pub fn read_regular(path: &Path) -> io::Result<String> {
    require_regular(path)?;
    fs::read_to_string(path)
}

/// Whether files can be made in `folder`, or, where it is not there yet, the folder itself.
///
/// # Errors
///
/// Why not.
pub fn can_be_written(folder: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let there = folder.ancestors().map(|ancestor| if ancestor.as_os_str().is_empty() { here } else { ancestor });
    let nearest = there.into_iter().find(|ancestor| ancestor.exists()).unwrap_or(here);
    let probe = nearest.join(format!(".{}", secret::random_id()));
    create_private_file(&probe)?;
    fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn folder_that_can_not_be_written_is_told_and_no_probe_is_left() {
        let folder = tempfile::tempdir().unwrap();
        for place in [folder.path().to_owned(), folder.path().join("deep/er")] {
            can_be_written(&place).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        can_be_written(Path::new("/proc/no/such")).unwrap_err();
    }

    #[test]
    fn existing_file_and_folder_keep_their_mode_and_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "content").unwrap();
        for (path, before) in [(folder.path(), 0o755), (&file, 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(before)).unwrap();
        }
        create_private_folder(folder.path()).unwrap();
        create_private_file(&file).unwrap();
        assert_eq!((mode(folder.path()), mode(&file)), (0o755, 0o644));
        assert_eq!(read_regular(&file).unwrap(), "content");
    }

    #[test]
    fn folder_device_and_missing_file_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        for (path, says) in [(folder.path(), "not a regular file"), (Path::new("/dev/zero"), "not a regular file")] {
            assert_eq!(read_regular(path).unwrap_err().to_string(), says);
        }
        assert_eq!(read_regular(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
