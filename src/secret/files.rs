//! Private files and folders, and reads of regular files only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::random_id;

/// Maximum size of a file with one value, in bytes.
const MAX_VALUE: u64 = 64 << 10;

/// Creates a folder, and those above it, that only this user can enter. One that exists keeps its mode.
///
/// # Errors
///
/// If it can't be created.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates an empty file that only this user can read. One that exists is not opened and keeps its mode.
///
/// # Errors
///
/// If it can't be created.
pub(crate) fn create_private_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Checks that `path` is a regular file. Opening a FIFO or a device may block forever.
///
/// # Errors
///
/// If it is something else, or its type is unknown.
pub(crate) fn require_regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")) }
}

/// Reads the text of a regular file.
///
/// # Errors
///
/// As [`require_regular`], and if the file can't be read or is not UTF-8.
pub(crate) fn read_regular(path: &Path) -> io::Result<String> {
    require_regular(path)?;
    fs::read_to_string(path)
}

/// Reads a value from a regular file, without one line break at its end.
///
/// # Errors
///
/// A sentence on the file. It never quotes the content.
pub(crate) fn read_value(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = require_regular(path).and_then(|()| File::open(path)?.take(MAX_VALUE + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > MAX_VALUE {
        return Err("is larger than 64 KiB".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    let value = without_line_break(&text);
    if value.is_empty() { Err("is empty".to_owned()) } else { Ok(value.to_owned()) }
}

/// Returns `text` without one line break at its end.
pub(crate) fn without_line_break(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

/// Checks that files can be created in `folder`, which may be missing.
///
/// # Errors
///
/// If they cannot.
pub(crate) fn can_be_written(folder: &Path) -> io::Result<()> {
    let current = Path::new(".");
    let nearest = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(current);
    let probe = nearest.join(format!(".{}", random_id()));
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
    fn write_check_reports_failure_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        for new_folder in [folder.path().to_owned(), folder.path().join("deep/er")] {
            can_be_written(&new_folder).unwrap();
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
    fn folder_device_or_missing_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        for (path, expected) in [(folder.path(), "not a regular file"), (Path::new("/dev/zero"), "not a regular file")] {
            assert_eq!(read_regular(path).unwrap_err().to_string(), expected);
        }
        assert_eq!(read_regular(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
