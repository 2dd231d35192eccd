//! Preflight check of a database: reachable, of a usable schema version, and writable.

use std::path::Path;

use sqlx::any::install_default_drivers;
use sqlx::migrate::{Migrate as _, MigrateError};
use sqlx::{AnyConnection, Connection as _, Executor as _};

use super::url::{connectable_url, creates_file, path_of};
use super::{Error, MIGRATIONS, OPERATION_TIMEOUT};
use crate::files;

/// sqlx's table of applied migrations.
const APPLIED: &str = "_sqlx_migrations";
/// Deletes nothing, but fails without the privilege to delete.
const TRY_WRITES: &str = "DELETE FROM users WHERE FALSE; DELETE FROM sessions WHERE FALSE; DELETE FROM refresh_tokens WHERE FALSE; \
     DELETE FROM login_failures WHERE FALSE; DELETE FROM stream_tickets WHERE FALSE; DELETE FROM _sqlx_migrations WHERE FALSE";

/// Checks that this version can use the database at `url`. Creates no file and migrates nothing.
///
/// # Errors
///
/// [`Error::Url`], [`Error::File`], [`Error::Failed`], [`Error::TimedOut`], [`Error::Migration`].
pub async fn preflight(url: &str) -> Result<&'static str, Error> {
    install_default_drivers();
    let url = &*connectable_url(url).map_err(Error::Url)?;
    if url.starts_with("sqlite:") {
        let path = path_of(url);
        // SQLite creates files beside an open database.
        files::can_be_written(path.parent().unwrap_or(Path::new(".")))?;
        if !path.exists() && creates_file(url) {
            return Ok("its file will be made");
        }
        files::require_regular(&path)?;
    }
    tokio::time::timeout(OPERATION_TIMEOUT, check(url)).await.map_err(|_| Error::TimedOut)?
}

/// Checks schema and privileges in a transaction that is rolled back.
async fn check(url: &str) -> Result<&'static str, Error> {
    let mut connection = AnyConnection::connect(url).await?;
    let mut transaction = connection.begin().await?;
    transaction.ensure_migrations_table(APPLIED).await?;
    if let Some(version) = transaction.dirty_version(APPLIED).await? {
        return Err(MigrateError::Dirty(version).into());
    }
    let applied = transaction.list_applied_migrations(APPLIED).await?;
    for migration in &applied {
        match MIGRATIONS.iter().find(|known| known.version == migration.version) {
            // Applied by a later version of this server.
            None => return Err(MigrateError::VersionMissing(migration.version).into()),
            Some(known) if known.checksum != migration.checksum => {
                return Err(MigrateError::VersionMismatch(migration.version).into());
            }
            Some(_) => {}
        }
    }
    let is_current = applied.len() == MIGRATIONS.iter().count();
    transaction.execute(if is_current { TRY_WRITES } else { "DELETE FROM _sqlx_migrations WHERE FALSE" }).await?;
    transaction.rollback().await?;
    connection.close().await?;
    Ok(if is_current {
        "reachable"
    } else if applied.is_empty() {
        "reachable; the schema will be created"
    } else {
        "reachable; the schema will be updated"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn preflight_rejects_databases_of_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        assert_eq!(preflight(&url).await.unwrap(), "its file will be made");
        assert!(preflight(&format!("{url}?mode=rw")).await.is_err(), "which would make none");
        drop(super::super::Database::open(&url).await.unwrap());
        assert_eq!(preflight(&url).await.unwrap(), "reachable");
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let mut tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
        tables.retain(|table| !TRY_WRITES.contains(&format!("DELETE FROM {table} WHERE FALSE")));
        assert_eq!(tables, [""; 0], "each table is tried");
        connection.execute("DELETE FROM _sqlx_migrations WHERE version > 1").await.unwrap();
        assert_eq!(preflight(&url).await.unwrap(), "reachable; the schema will be updated");
        connection.execute("UPDATE _sqlx_migrations SET checksum = X'00' WHERE version = 1").await.unwrap();
        let why = preflight(&url).await.unwrap_err().to_string();
        assert_eq!(why, "the migration failed: migration 1 was previously applied but has been modified");
        connection.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 1").await.unwrap();
        assert!(preflight(&url).await.unwrap_err().to_string().contains("migration 1 is partially applied"));
        connection.execute("UPDATE _sqlx_migrations SET version = 99999999999999 WHERE version = 1").await.unwrap();
        assert!(matches!(preflight(&url).await, Err(Error::Migration(_))));
        connection.execute("DELETE FROM _sqlx_migrations").await.unwrap();
        assert_eq!(preflight(&url).await.unwrap(), "reachable; the schema will be created");
        connection.execute("DROP TABLE _sqlx_migrations").await.unwrap();
        assert_eq!(preflight(&url).await.unwrap(), "reachable; the schema will be created");
    }
}
