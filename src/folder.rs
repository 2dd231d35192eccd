//! Whether a folder could be used, found out without leaving anything behind.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use crate::random;

/// Whether files can be made in `folder`, or, where it is not there yet, the folder itself.
///
/// # Errors
///
/// Why not.
pub fn can_be_written(folder: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let there = folder.ancestors().map(|ancestor| if ancestor.as_os_str().is_empty() { here } else { ancestor });
    let nearest = there.into_iter().find(|ancestor| ancestor.exists()).unwrap_or(here);
    let probe = nearest.join(format!(".{}", random::id()));
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_there_or_could_be_is_told_from_one_that_can_t_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        for place in [folder.path().to_owned(), folder.path().join("deep/er")] {
            can_be_written(&place).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        can_be_written(Path::new("/proc/no/such")).unwrap_err();
    }
}
