//! The database schema: its version and its migrations.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyConnection, AnyPool, Executor as _, FromRow as _};

use super::{ConnectConfig, Error, OPERATION_TIMEOUT, is_sqlite};

/// Returns this version's migrations.
fn migrations() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    // A later version has applied them. A release only adds to the schema.
    migrator.set_ignore_missing(true);
    migrator
}

/// The maximum number of attempts on a locked database, and their interval.
const MAX_ATTEMPTS: u32 = 20;
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// Limits the wait for PostgreSQL's locks: a replica that froze may hold one. The cause is logged before the next attempt.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '5s'";

/// The schema of a database, compared with this version's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// The database has no schema.
    Missing,
    /// Migrations are pending.
    Outdated,
    /// All migrations of this version are applied, and no others.
    Current,
    /// All migrations of this version are applied, and later ones up to this one.
    Newer(i64),
}

impl Schema {
    /// Returns whether no migration is pending.
    pub(super) fn is_usable(self) -> bool {
        matches!(self, Self::Current | Self::Newer(_))
    }

    /// Reads the applied migrations; changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], [`Error::MigrationModified`], [`Error::Migration`] if one is incomplete.
    pub(super) async fn read(connection: &mut AnyConnection) -> Result<Self, Error> {
        // SQLite and PostgreSQL have different boolean types.
        let sql = "SELECT version, checksum, CASE WHEN success THEN 1 ELSE 0 END FROM _sqlx_migrations ORDER BY version";
        let rows = match connection.fetch_all(sql).await {
            Err(error) if is_missing_table(&error) => return Ok(Self::Missing),
            rows => rows?,
        };
        let migrations = migrations();
        let (mut newest, mut pending) = (0, migrations.iter().count());
        for row in &rows {
            let (version, checksum, success) = <(i64, Vec<u8>, i32)>::from_row(row)?;
            if success == 0 {
                return Err(MigrateError::Dirty(version).into());
            }
            match migrations.iter().find(|known| known.version == version) {
                Some(known) if *known.checksum != *checksum => return Err(Error::MigrationModified(version)),
                Some(_) => pending -= 1,
                None => newest = version,
            }
        }
        Ok(match (rows.len(), pending, newest) {
            (0, ..) => Self::Missing,
            (_, 0, 0) => Self::Current,
            (_, 0, newest) => Self::Newer(newest),
            _ => Self::Outdated,
        })
    }

    /// Brings the schema up to date. A current schema is only read, which needs no privilege to change it.
    ///
    /// Replicas may start together. With PostgreSQL they wait for each other; with SQLite they fail and retry.
    ///
    /// # Errors
    ///
    /// As [`Schema::read`], [`Error::TimedOut`], [`Error::Migration`], and [`Error::MigrationBehindPooler`] if migrations are pending.
    pub(super) async fn migrate(pool: &AnyPool, config: &ConnectConfig) -> Result<(), Error> {
        for _ in 1..MAX_ATTEMPTS {
            match Self::try_migrate(pool, config).await {
                // The caller retries, with a backoff. With SQLite it was locked.
                Err(error @ Error::Failed(_)) if !is_sqlite(config.url.expose()) => return Err(error),
                // Retrying can't change it, or is up to the caller: the connection is lost.
                Err(
                    error @ (Error::MigrationModified(_)
                    | Error::MigrationBehindPooler
                    | Error::Migration(MigrateError::Dirty(_) | MigrateError::Execute(sqlx::Error::Io(_)))
                    | Error::TimedOut),
                ) => return Err(error),
                Err(error) => {
                    log::warn!(cause:% = error; "the database is not migrated yet; trying again");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Ok(()) => return Ok(()),
            }
        }
        Self::try_migrate(pool, config).await
    }

    async fn try_migrate(pool: &AnyPool, config: &ConnectConfig) -> Result<(), Error> {
        let mut connection = pool.acquire().await?;
        let read = tokio::time::timeout(OPERATION_TIMEOUT, Self::read(&mut connection));
        let schema = read.await.unwrap_or(Err(Error::TimedOut))?;
        if let Self::Newer(version) = schema {
            log::warn!(version; "the database's schema is of a later version");
        }
        if !schema.is_usable() {
            if config.behind_pooler {
                return Err(Error::MigrationBehindPooler);
            }
            // A failed migration keeps its lock until its connection ends.
            connection.close_on_drop();
            if connection.backend_name() == "PostgreSQL" {
                connection.execute(LOCK_TIMEOUT).await?;
            }
            // `run` on a connection is no `Send` future.
            migrations().run_direct(None, &mut *connection, false).await?;
        }
        Ok(())
    }
}

/// Returns whether a statement failed because its table does not exist.
fn is_missing_table(error: &sqlx::Error) -> bool {
    // PostgreSQL's code; SQLite's is that of any error in a statement.
    error.as_database_error().is_some_and(|error| match error.code().as_deref() {
        Some("42P01") => true,
        Some("1") => error.message().starts_with("no such table"),
        _ => false,
    })
}
