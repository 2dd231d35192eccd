//! Preflight check of a database: reachable, of a usable schema version, and writable.

use std::path::Path;

use sqlx::any::install_default_drivers;
use sqlx::migrate::Migrate as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::url::{creates_file, path_of};
use super::{ConnectConfig, Error, OPERATION_TIMEOUT, Schema, pooler};
use crate::secret::files;

/// sqlx's table of applied migrations.
const APPLIED: &str = "_sqlx_migrations";
/// This server's tables, each with its key.
const TABLES: [(&str, &str); 8] = [
    ("users", "id"),
    ("sessions", "id"),
    ("refresh_tokens", "hash"),
    ("login_failures", "scope"),
    ("stream_tickets", "id"),
    ("deleted_sessions", "id"),
    ("api_keys", "hash"),
    ("invitations", "id"),
];

/// Checks that this version can use the database of `config`. Creates no file and migrates nothing.
///
/// # Errors
///
/// [`Error::Url`], and as [`super::Database::connect`].
pub(crate) async fn preflight(config: impl Into<ConnectConfig>) -> Result<&'static str, Error> {
    install_default_drivers();
    let config = config.into().connectable()?;
    let url = config.url.expose();
    if url.starts_with("sqlite:") {
        let path = path_of(url);
        // SQLite creates files beside an open database.
        files::can_be_written(path.parent().unwrap_or(Path::new(".")))?;
        if !path.exists() && creates_file(url) {
            return Ok("its file will be created");
        }
        files::require_regular(&path)?;
    }
    tokio::time::timeout(OPERATION_TIMEOUT, check(&config)).await.map_err(|_| Error::TimedOut)?
}

/// Checks schema and privileges; what changes something is rolled back.
async fn check(config: &ConnectConfig) -> Result<&'static str, Error> {
    let mut connection = pooler::connect_checked(config).await?;
    let schema = Schema::read(&mut connection).await?;
    if config.behind_pooler && !schema.is_usable() {
        return Err(Error::MigrationBehindPooler);
    }
    let mut transaction = connection.begin().await?;
    if schema.is_usable() {
        for (table, key) in TABLES {
            // They change nothing, but fail without the privilege to select, insert, update or delete.
            let statements = format!(
                "INSERT INTO {table} SELECT * FROM {table} WHERE FALSE; UPDATE {table} SET {key} = {key} WHERE FALSE; \
                 DELETE FROM {table} WHERE FALSE"
            );
            transaction.execute(AssertSqlSafe(statements)).await?;
        }
    } else {
        transaction.ensure_migrations_table(APPLIED).await?;
        transaction.execute("DELETE FROM _sqlx_migrations WHERE FALSE").await?;
    }
    transaction.rollback().await?;
    connection.close().await?;
    Ok(match schema {
        Schema::Current => "reachable",
        Schema::Newer(_) => "reachable; warning: the schema is of a later version",
        Schema::Missing => "reachable; the schema will be created",
        Schema::Outdated => "reachable; the schema will be updated",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::AnyConnection;

    #[actix_rt::test]
    async fn preflight_rejects_databases_of_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        assert_eq!(preflight(&url).await.unwrap(), "its file will be created");
        assert!(preflight(&format!("{url}?mode=rw")).await.is_err(), "which would make none");
        drop(super::super::Database::open(&url).await.unwrap());
        assert_eq!(preflight(&url).await.unwrap(), "reachable");
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let mut tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
        tables.retain(|table| !TABLES.iter().any(|(tried, _)| tried == table));
        assert_eq!(tables, ["_sqlx_migrations"], "each other table is tried");
        connection.execute("INSERT INTO _sqlx_migrations VALUES (99, 'later', 0, TRUE, X'00', 0)").await.unwrap();
        assert_eq!(preflight(&url).await.unwrap(), "reachable; warning: the schema is of a later version");
        connection.execute("DELETE FROM _sqlx_migrations WHERE version > 1").await.unwrap();
        assert_eq!(preflight(&url).await.unwrap(), "reachable; the schema will be updated");
        connection.execute("UPDATE _sqlx_migrations SET checksum = X'00' WHERE version = 1").await.unwrap();
        let why = preflight(&url).await.unwrap_err().to_string();
        assert!(why.starts_with("migration 1 was previously applied but has been modified: "), "{why}");
        connection.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 1").await.unwrap();
        assert!(preflight(&url).await.unwrap_err().to_string().contains("migration 1 is partially applied"));
        connection.execute("DELETE FROM _sqlx_migrations").await.unwrap();
        assert_eq!(preflight(&url).await.unwrap(), "reachable; the schema will be created");
        connection.execute("DROP TABLE _sqlx_migrations").await.unwrap();
        assert_eq!(preflight(&url).await.unwrap(), "reachable; the schema will be created");
    }
}
