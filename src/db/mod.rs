//! The database: SQLite or PostgreSQL behind one portable dialect of SQL.

mod file;
mod housekeeping;
mod login_failures;
mod preflight;
mod schema;
mod sessions;
mod stream_tickets;
mod url;
mod users;

use std::future::Future;
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyConnectOptions, AnyPoolOptions, AnyRow, install_default_drivers};
use sqlx::migrate::MigrateError;
use sqlx::query::{Query, QueryAs};
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, FromRow, Transaction};
use tokio::runtime::Handle;

pub use self::url::{host_without_verified_tls, validate_url};
pub use file::{is_accessible_to_others, is_created_by_root};
pub use housekeeping::Housekeeping;
pub use login_failures::{KNOWN_ADDRESS_RETENTION, LoginFailures};
pub use preflight::preflight;
pub use sessions::{NewSession, RefreshOutcome, SessionRecord};
pub use users::{NewUser, User};

use crate::telemetry::metrics::OperationMetrics;
use file::File;
use schema::Schema;
use url::connectable_url;

/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for SQLite, whose only writing connection may itself wait for another process.
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time of one operation: a connection that broke silently never answers.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);
/// The same for SQLite.
///
/// An operation that acquires the connection late has no time to wait for another process.
const SQLITE_OPERATION_TIMEOUT: Duration = Duration::from_millis(5250);
/// The most connections of one server.
pub const MAX_CONNECTIONS: u32 = 10;

/// Run on each new SQLite connection. A committed write survives a power cut (`FULL`), a reader never waits for a writer
/// (`WAL`), and a writer waits 5 seconds for another process.
const SQLITE_PRAGMAS: &str =
    "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";

/// Run on each new PostgreSQL connection. A replica that freezes within a transaction keeps rows locked; the others continue
/// before [`OPERATION_TIMEOUT`].
const POSTGRESQL_SETTINGS: &str = "SET idle_in_transaction_session_timeout = '4s'";

/// A failed operation. For the log only: the text may contain SQL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row with this unique value exists.
    #[error("already there")]
    Duplicate,
    /// The database or the connection to it failed.
    #[error("the database failed: {0}")]
    Failed(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the migration failed: {0}")]
    Migration(#[from] MigrateError),
    /// The URL is not valid.
    #[error("its URL {0}")]
    Url(String),
    /// The database has another migration of this number than this version.
    #[error(
        "migration {0} was previously applied but has been modified: run the build that applied it, or restore a backup"
    )]
    MigrationModified(i64),
    /// SQLite's file or its folder can't be created or used.
    #[error("its file or folder can't be used: {0}")]
    File(#[from] std::io::Error),
    /// SQLite's file was deleted or replaced while open; later writes are lost.
    #[error("its file was deleted, or another one was put in its place")]
    FileReplaced,
    /// The operation took too long.
    #[error("the database did not respond in time")]
    TimedOut,
    /// The operation's task panicked, or the process is ending.
    #[error("the database task ended early")]
    Aborted(#[from] tokio::task::JoinError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(database_error) if database_error.is_unique_violation() => Self::Duplicate,
            _ => Self::Failed(error),
        }
    }
}

/// A handle to the database. Clones share its connections.
#[derive(Clone)]
pub struct Database {
    pools: Pools,
    /// A pool's sockets belong to the runtime that opened them.
    runtime: Handle,
    /// SQLite's file.
    file: Option<File>,
    metrics: OperationMetrics,
}

/// A statement that owns its arguments.
type Statement = Query<'static, Any, AnyArguments>;

/// Pools of connections to read and to write with.
#[derive(Clone)]
struct Pools {
    readers: AnyPool,
    /// The same pool with PostgreSQL. SQLite has one writer at a time: several would poll for the lock, where tasks queue for
    /// one connection.
    writers: AnyPool,
    /// Begins a writing transaction. SQLite must know at once: a reader can't become a writer later.
    begin: &'static str,
}

impl Pools {
    async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.writers.begin_with(self.begin).await
    }
}

impl Database {
    /// Opens the database at `url` (`sqlite://path/to/file` or `postgres://…`) and brings its schema up to date.
    ///
    /// All later work runs on the current runtime, which must outlive the HTTP workers.
    ///
    /// # Errors
    ///
    /// [`Error::Url`], [`Error::File`], [`Error::Failed`] if it can't be reached, [`Error::Migration`],
    /// [`Error::MigrationModified`].
    pub async fn open(url: &str) -> Result<Self, Error> {
        install_default_drivers();
        let (url, runtime) = (&*connectable_url(url).map_err(Error::Url)?, Handle::current());
        if !url.starts_with("sqlite:") {
            let writers = connect(url, PoolKind::PostgreSql, MAX_CONNECTIONS).await?;
            Schema::migrate(&writers).await?;
            let pools = Pools { readers: writers.clone(), writers, begin: "BEGIN" };
            return Ok(Self { pools, runtime, file: None, metrics: OperationMetrics::default() });
        }
        let file = File::create(url)?;
        // A deleted file must not be created again, empty.
        let url = url.replace("mode=rwc", "mode=rw");
        // Not through the pool, which would retry for seconds.
        require_writable(&mut AnyConnection::connect(&url).await?).await?;
        let writers = connect(&url, PoolKind::SqliteWriter, 1).await?;
        Schema::migrate(&writers).await?;
        let readers = connect(&url, PoolKind::SqliteReaders, MAX_CONNECTIONS - 1).await?;
        let pools = Pools { readers, writers, begin: "BEGIN IMMEDIATE" };
        Ok(Self { pools, runtime, file: Some(file), metrics: OperationMetrics::default() })
    }

    /// Times operations, and counts those that fail.
    #[must_use]
    pub fn with_metrics(self, metrics: OperationMetrics) -> Self {
        Self { metrics, ..self }
    }

    /// Checks that accounts can be read, and that SQLite's file is still in place.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], [`Error::FileReplaced`].
    pub async fn ping(&self) -> Result<(), Error> {
        if let Some(file) = self.file.clone()
            && !self.runtime.spawn_blocking(move || file.is_in_place()).await?
        {
            return Err(Error::FileReplaced);
        }
        self.fetch_all::<(String,)>(sqlx::query_as("SELECT id FROM users WHERE id = ''")).await.map(|_| ())
    }

    /// Returns the numbers of all and of idle connections.
    #[must_use]
    pub fn connections(&self) -> (u32, u32) {
        let count = |pool: &AnyPool| (pool.size(), u32::try_from(pool.num_idle()).unwrap_or(u32::MAX));
        let (readers, writers) = (count(&self.pools.readers), count(&self.pools.writers));
        if self.file.is_some() { (readers.0 + writers.0, readers.1 + writers.1) } else { writers }
    }

    /// Runs `operation` to its end, even if the caller is cancelled.
    async fn run<T, F>(&self, operation: impl FnOnce(Pools) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        let operation = operation(self.pools.clone());
        let limit = if self.file.is_some() { SQLITE_OPERATION_TIMEOUT } else { OPERATION_TIMEOUT };
        let metrics = self.metrics.clone();
        let operation = async move { Ok(tokio::time::timeout(limit, operation).await.map_err(|_| Error::TimedOut)??) };
        // The timer must not end with a worker either.
        let task =
            self.runtime.spawn(async move { metrics.observe(operation, |error| !matches!(error, Error::Duplicate)).await });
        task.await?
    }

    /// Executes a statement that writes; returns the number of affected rows.
    async fn execute(&self, statement: Statement) -> Result<u64, Error> {
        self.run(|pools| async move { Ok(statement.execute(&pools.writers).await?.rows_affected()) }).await
    }

    /// Executes a query; returns all rows.
    async fn fetch_all<T>(&self, query: QueryAs<'static, Any, T, AnyArguments>) -> Result<Vec<T>, Error>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin + 'static,
    {
        self.run(|pools| async move { query.fetch_all(&pools.readers).await }).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row as _;

    #[actix_rt::test]
    async fn every_sqlite_connection_is_durable_at_power_loss() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/a%20folder/app.db", folder.path().display());
        let database = Database::open(&url).await.unwrap();
        let read = database.run(|pools| async move {
            let mut read = Vec::new();
            let mut connections = Vec::new();
            for pool in [&pools.writers, &pools.readers, &pools.readers, &pools.readers] {
                let mut connection = pool.acquire().await?;
                let journal: String = connection.fetch_one("PRAGMA journal_mode").await?.try_get(0)?;
                let synchronous: i64 = connection.fetch_one("PRAGMA synchronous").await?.try_get(0)?;
                let foreign_keys: i64 = connection.fetch_one("PRAGMA foreign_keys").await?.try_get(0)?;
                read.push((journal, synchronous, foreign_keys));
                connections.push(connection);
            }
            Ok(read)
        });
        // 2 is FULL.
        assert_eq!(read.await.unwrap(), vec![("wal".to_owned(), 2, 1); 4]);
        assert!(folder.path().join("a folder/app.db").exists());
    }

    #[actix_rt::test]
    async fn sqlite_writers_queue_and_readers_do_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        let database = Database::open(&url).await.unwrap();
        let write = database.pools.begin().await.unwrap();
        let mut waits = Box::pin(database.redeem_stream_ticket("one".into(), 1));
        let meanwhile = async {
            for _ in 0..100 {
                database.ping().await.unwrap();
            }
        };
        tokio::select! {
            biased;
            _ = &mut waits => panic!("two writers at once"),
            () = meanwhile => {}
        }
        write.rollback().await.unwrap();
        assert!(waits.await.unwrap());
        assert_eq!(database.pools.writers.size(), 1, "it waited for the same connection, and opened none of its own");
    }

    #[actix_rt::test]
    async fn ping_fails_and_changes_nothing_while_the_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("app.db"), folder.path().join("aside"));
        let database = Database::open(&format!("sqlite://{}", path.display())).await.unwrap();
        // The next reader needs a connection of its own.
        let busy = database.pools.readers.acquire().await.unwrap();
        std::fs::rename(&path, &aside).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(matches!(database.ping().await, Err(Error::FileReplaced)));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "nothing was made of it");
        std::fs::rename(&aside, &path).unwrap();
        drop(busy);
        database.ping().await.unwrap();
    }
}
