//! Pools of connections, with the settings of each kind of database.

use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Transaction};

use super::file::File;
use super::url::is_sqlite;
use super::{Error, Schema};

/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for SQLite, whose only writing connection may itself wait for another process.
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Run on each new SQLite connection. A committed write survives a power cut (`FULL`), a reader never waits for a writer
/// (`WAL`), and a writer waits 5 seconds for another process.
const SQLITE_PRAGMAS: &str =
    "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";

/// Run on each new PostgreSQL connection. A replica that freezes within a transaction keeps rows locked; the others continue
/// before [`super::OPERATION_TIMEOUT`].
const POSTGRESQL_SETTINGS: &str = "SET idle_in_transaction_session_timeout = '4s'";

/// Pools of connections to read and to write with.
#[derive(Clone)]
pub(super) struct Pools {
    pub readers: AnyPool,
    /// The same pool with PostgreSQL. SQLite has one writer at a time: several would poll for the lock, where tasks queue for
    /// one connection.
    pub writers: AnyPool,
    /// Begins a writing transaction. SQLite must know at once: a reader can't become a writer later.
    begin: &'static str,
    /// SQLite's file.
    pub file: Option<File>,
}

impl Pools {
    /// Opens the connections and brings the schema up to date.
    ///
    /// # Errors
    ///
    /// [`Error::File`], [`Error::Failed`] or [`Error::TimedOut`] if it can't be reached, [`Error::Migration`],
    /// [`Error::MigrationModified`].
    pub(super) async fn open(url: &str, max_connections: u32) -> Result<Self, Error> {
        if is_sqlite(url) {
            Self::open_sqlite(url, max_connections).await
        } else {
            Self::open_postgresql(url, max_connections).await
        }
    }

    async fn open_postgresql(url: &str, max_connections: u32) -> Result<Self, Error> {
        // Not through the pool, which would retry for seconds and not tell the cause.
        let probe = async { AnyConnection::connect(url).await?.close().await };
        tokio::time::timeout(ACQUIRE_TIMEOUT, probe).await.map_err(|_| Error::TimedOut)??;
        let writers = connect(url, PoolKind::PostgreSql, max_connections).await?;
        Schema::migrate(&writers).await?;
        Ok(Self { readers: writers.clone(), writers, begin: "BEGIN", file: None })
    }

    async fn open_sqlite(url: &str, max_connections: u32) -> Result<Self, Error> {
        let file = File::create(url)?;
        // A deleted file must not be created again, empty.
        let url = url.replace("mode=rwc", "mode=rw");
        // Not through the pool, which would retry for seconds.
        require_writable(&mut AnyConnection::connect(&url).await?).await?;
        let writers = connect(&url, PoolKind::SqliteWriter, 1).await?;
        Schema::migrate(&writers).await?;
        let readers = connect(&url, PoolKind::SqliteReaders, (max_connections - 1).max(1)).await?;
        Ok(Self { readers, writers, begin: "BEGIN IMMEDIATE", file: Some(file) })
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.writers.begin_with(self.begin).await
    }
}

/// The use of a pool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PoolKind {
    PostgreSql,
    SqliteReaders,
    SqliteWriter,
}

async fn connect(url: &str, kind: PoolKind, max_connections: u32) -> Result<AnyPool, sqlx::Error> {
    let is_sqlite = kind != PoolKind::PostgreSql;
    // Not even slow statements are logged: they contain SQL.
    let options = url.parse::<AnyConnectOptions>()?.disable_statement_logging();
    AnyPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(if is_sqlite { SQLITE_ACQUIRE_TIMEOUT } else { ACQUIRE_TIMEOUT })
        // A connection to a server may have broken while idle; one to a file can't.
        .test_before_acquire(!is_sqlite)
        // SQLite may end a transaction by itself, on a full disk for example, unnoticed by sqlx: drop such a connection.
        .before_acquire(|connection: &mut AnyConnection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .after_connect(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                connection.execute(if is_sqlite { SQLITE_PRAGMAS } else { POSTGRESQL_SETTINGS }).await?;
                if kind == PoolKind::SqliteWriter { require_writable(connection).await } else { Ok(()) }
            })
        })
        .connect_with(options)
        .await
}

/// Fails on a read-only connection: SQLite opens one silently if the file is not writable.
async fn require_writable(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    // Beginning a transaction would succeed. Any failure but `SQLITE_READONLY` may be temporary.
    match connection.execute("DELETE FROM users WHERE FALSE").await {
        Err(error) if sqlite_code(&error) == Some(8) => Err(error),
        _ => Ok(()),
    }
}

/// Returns SQLite's primary result code, the low byte of an extended one.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    Some(error.as_database_error()?.code()?.parse::<u32>().ok()? & 0xff)
}
