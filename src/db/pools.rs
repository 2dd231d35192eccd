//! Pools of connections, with the settings of each kind of database.

use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::file::File;
use super::url::is_sqlite;
use super::{ConnectConfig, Error, OPERATION_TIMEOUT, Schema, pooler};

/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for SQLite, whose only writing connection may itself wait for another process.
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Run on each new SQLite connection. A committed write survives a power cut (`FULL`), a reader never waits for a writer
/// (`WAL`), and a writer waits 5 seconds for another process.
const SQLITE_PRAGMAS: &str =
    "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";

/// Begins a transaction on PostgreSQL. A replica that freezes within one keeps rows locked; the others continue before
/// [`super::OPERATION_TIMEOUT`]. The setting ends with the transaction: a pooler may give the session to another client.
const POSTGRESQL_BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '4s'";
/// How long an idle PostgreSQL connection may take to respond before it is used again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Pools of connections to read and to write with.
#[derive(Clone)]
pub(super) struct Pools {
    pub readers: AnyPool,
    /// The same pool with PostgreSQL. SQLite has one writer at a time: several would poll for the lock, where tasks queue for
    /// one connection.
    pub writers: AnyPool,
    /// Begins a writing transaction. SQLite must know at once: a reader can't become a writer later.
    pub begin: &'static str,
    /// Whether a session keeps nothing between transactions.
    pub behind_pooler: bool,
    /// SQLite's file.
    pub file: Option<File>,
}

impl Pools {
    /// Opens the connections and brings the schema up to date.
    ///
    /// # Errors
    ///
    /// As [`super::Database::connect`].
    pub(super) async fn open(config: &ConnectConfig) -> Result<Self, Error> {
        if is_sqlite(config.url.expose()) { Self::open_sqlite(config).await } else { Self::open_postgresql(config).await }
    }

    async fn open_postgresql(config: &ConnectConfig) -> Result<Self, Error> {
        // Not through the pool, which would retry for seconds and hide the cause.
        let probe = async { Ok(pooler::connect_checked(config).await?.close().await?) };
        tokio::time::timeout(ACQUIRE_TIMEOUT, probe).await.unwrap_or(Err(Error::TimedOut))?;
        let writers = connect(config.url.expose(), PoolKind::PostgreSql, config.max_connections).await?;
        Schema::migrate(&writers, config).await?;
        let (readers, behind_pooler) = (writers.clone(), config.behind_pooler);
        Ok(Self { readers, writers, begin: POSTGRESQL_BEGIN, behind_pooler, file: None })
    }

    async fn open_sqlite(config: &ConnectConfig) -> Result<Self, Error> {
        let file = File::create(config.url.expose())?;
        // A deleted file must not be created again, empty.
        let url = config.url.expose().replace("mode=rwc", "mode=rw");
        // Not through the pool, which would retry for seconds.
        require_writable(&mut AnyConnection::connect(&url).await?).await?;
        let writers = connect(&url, PoolKind::SqliteWriter, 1).await?;
        Schema::migrate(&writers, config).await?;
        let readers = connect(&url, PoolKind::SqliteReaders, (config.max_connections - 1).max(1)).await?;
        Ok(Self { readers, writers, begin: "BEGIN IMMEDIATE", behind_pooler: false, file: Some(file) })
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
        .test_before_acquire(false)
        // SQLite may end a transaction by itself, on a full disk for example, unnoticed by sqlx: drop such a connection.
        .before_acquire(move |connection: &mut AnyConnection, _| {
            Box::pin(
                async move { Ok(if is_sqlite { !connection.is_in_transaction() } else { can_write(connection).await }) },
            )
        })
        // A timed-out operation leaves its connection waiting, and sqlx pings it without a limit before the slot is free.
        .after_release(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                if is_sqlite {
                    return Ok(true);
                }
                let ping = tokio::time::timeout(OPERATION_TIMEOUT, connection.ping()).await;
                // `false` closes the connection; sqlx logs an error.
                ping.map(|ping| ping.is_ok()).map_err(|_| sqlx::Error::PoolTimedOut)
            })
        })
        .after_connect(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                if is_sqlite {
                    connection.execute(SQLITE_PRAGMAS).await?;
                }
                if kind == PoolKind::SqliteWriter { require_writable(connection).await } else { Ok(()) }
            })
        })
        .connect_with(options)
        .await
}

/// Returns whether an idle PostgreSQL connection works: it responds, is in no transaction, and is not read-only.
///
/// The pool closes any other one. A cancelled `BEGIN` may leave a transaction that sqlx does not know of, and later writes
/// would be lost with it. A connection to a primary that was demoted stays read-only after its return.
async fn can_write(connection: &mut AnyConnection) -> bool {
    // In a transaction `now()` is the time of its first statement.
    let sql = "SELECT current_setting('transaction_read_only') = 'off' AND now() = statement_timestamp()";
    let row = tokio::time::timeout(PROBE_TIMEOUT, connection.fetch_one(sql)).await;
    row.is_ok_and(|row| row.and_then(|row| row.try_get(0)).unwrap_or(false))
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
