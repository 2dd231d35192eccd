//! Online backup of a SQLite database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::{ConnectConfig, Error, url};
use crate::secret::files;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// The database is PostgreSQL.
    #[error("only SQLite is backed up by this command; use pg_dump for PostgreSQL (docs/OPERATIONS.md)")]
    PostgreSql,
    /// The new file can't be created or written.
    #[error("can't write {0}: {1}")]
    Target(PathBuf, #[source] io::Error),
    /// The database can't be read, or the copy can't be written.
    #[error("can't copy the database of APP_DATABASE__URL: {0}")]
    Database(#[from] Error),
    /// The copy is not intact.
    #[error("the copy is not intact: {0}")]
    Damaged(String),
}

/// Copies the database to a new file with mode 0600. Readers and writers of the database do not wait for it.
///
/// # Errors
///
/// See [`BackupError`]. `target` is then as it was before.
pub(crate) async fn backup(config: &ConnectConfig, target: &Path) -> Result<(), BackupError> {
    let source = config.url.expose();
    if !source.starts_with("sqlite:") {
        return Err(BackupError::PostgreSql);
    }
    url::validate_url(source).map_err(Error::Url)?;
    files::require_regular(&url::path_of(source)).map_err(Error::from)?;
    let failed = |error| BackupError::Target(target.to_owned(), error);
    // An absolute path can't be taken for a `file:` URL.
    let path = std::path::absolute(target).map_err(failed)?;
    let name = path.to_str().ok_or_else(|| failed(ErrorKind::InvalidFilename.into()))?;
    // SQLite writes to an empty file that exists, whose mode it keeps.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let copied = async {
        copy(source, name).await?;
        file.sync_all().and_then(|()| sync_folder(&path)).map_err(failed)
    };
    let outcome = copied.await;
    if outcome.is_err() {
        let _ = fs::remove_file(&path);
    }
    outcome
}

async fn copy(source: &str, target: &str) -> Result<(), BackupError> {
    let failed = |error| BackupError::from(Error::Failed(error));
    let options = SqliteConnectOptions::from_str(source).map_err(failed)?.create_if_missing(false);
    let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    sqlx::query("VACUUM INTO $1").bind(target).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    let mut copy = SqliteConnectOptions::new().filename(target).read_only(true).connect().await.map_err(failed)?;
    let check = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut copy);
    let verdict: String = check.await.map_err(failed)?;
    if verdict == "ok" { Ok(()) } else { Err(BackupError::Damaged(verdict)) }
}

/// Makes the name of a new file survive a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}
