//! The database: SQLite or PostgreSQL behind one portable dialect of SQL.

mod api_keys;
mod backup;
mod file;
mod housekeeping;
mod invitations;
mod login_failures;
mod pooler;
mod pools;
mod preflight;
mod schema;
mod sessions;
mod stream_tickets;
mod url;
mod users;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyRow, install_default_drivers};
use sqlx::migrate::MigrateError;
use sqlx::query::{Query, QueryAs};
use sqlx::{Any, AnyPool, Connection as _, FromRow};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

pub(crate) use self::url::{host_without_verified_tls, validate_url};
pub use api_keys::ApiKeyRecord;
pub(crate) use backup::{BackupError, backup};
pub(crate) use file::{is_accessible_to_others, is_created_by_root};
pub(crate) use housekeeping::Housekeeping;
pub use invitations::Credential;
pub use login_failures::{KNOWN_ADDRESS_RETENTION, LoginFailures};
pub(crate) use preflight::preflight;
pub(crate) use sessions::{NewSession, RefreshOutcome, SessionRecord};
pub(crate) use users::{NewUser, User};

use crate::secret::Secret;
use crate::telemetry::metrics::OperationMetrics;
use pools::Pools;
use schema::Schema;
use url::is_sqlite;

/// The longest time of one operation: a connection that broke silently never responds.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);
/// The same for SQLite.
///
/// An operation that acquires the connection late has no time to wait for another process.
const SQLITE_OPERATION_TIMEOUT: Duration = Duration::from_millis(5250);

/// The time after which a health check connects without the pool, which retries for seconds and hides the cause.
const DIRECT_PING_DELAY: Duration = Duration::from_millis(500);

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
    /// Migrations are pending. They lock a session, which a pooler does not keep.
    #[error(
        "migrations are pending, and can't run through a pooler: run `migrate` with APP_DATABASE__POOLER=none and the \
         address of PostgreSQL itself in APP_DATABASE__URL"
    )]
    MigrationBehindPooler,
    /// A pooler gives each transaction another session.
    #[error(
        "it is behind a connection pooler in transaction mode: set APP_DATABASE__POOLER=transaction, or use its session mode"
    )]
    UndeclaredPooler,
    /// A pooler does not accept a parameter of the connection.
    #[error("{0}: set ignore_startup_parameters = extra_float_digits in PgBouncer, and remove `options` from the URL")]
    StartupParameter(String),
    /// SQLite's file or its folder can't be created or used.
    #[error("its file or folder can't be used: {0}")]
    File(#[from] std::io::Error),
    /// PostgreSQL is a standby, or was demoted.
    #[error("it is read-only")]
    ReadOnly,
    /// SQLite's file was deleted or replaced while open; later writes are lost.
    #[error("its file was deleted, or another one was put in its place")]
    FileReplaced,
    /// No connection has succeeded yet.
    #[error("the database has not been reached yet")]
    NotConnected,
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

/// How to connect to a database.
#[derive(Clone)]
pub struct ConnectConfig {
    /// `sqlite://path/to/file` or `postgres://…`.
    pub url: Secret,
    /// Maximum number of connections of this server.
    pub max_connections: u32,
    /// The name that PostgreSQL shows for a connection, unless the URL has one.
    pub application_name: String,
    /// Whether a pooler in transaction mode is in between.
    pub behind_pooler: bool,
}

impl<U: AsRef<str> + ?Sized> From<&U> for ConnectConfig {
    /// Takes the defaults for all but the URL.
    fn from(url: &U) -> Self {
        Self { url: Secret::new(url.as_ref()), max_connections: 10, application_name: String::new(), behind_pooler: false }
    }
}

/// A handle to the database. Clones share its connections.
#[derive(Clone)]
pub struct Database {
    /// With the URL as sqlx takes it.
    config: ConnectConfig,
    /// Empty before the first contact.
    pools: Arc<OnceCell<Pools>>,
    /// A pool's sockets belong to the runtime that opened them.
    runtime: Handle,
    metrics: OperationMetrics,
}

/// A statement that owns its arguments.
type Statement = Query<'static, Any, AnyArguments>;

impl Database {
    /// Creates a handle without a connection. Until [`Self::connect`] succeeds every operation fails.
    ///
    /// All later work runs on the current runtime, which must outlive the HTTP workers.
    ///
    /// # Errors
    ///
    /// [`Error::Url`].
    pub(crate) fn new(config: ConnectConfig) -> Result<Self, Error> {
        install_default_drivers();
        let (config, metrics) = (config.connectable()?, OperationMetrics::default());
        Ok(Self { config, pools: Arc::default(), runtime: Handle::current(), metrics })
    }

    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// [`Error::Url`], and as `connect`.
    pub async fn open(config: impl Into<ConnectConfig>) -> Result<Self, Error> {
        let database = Self::new(config.into())?;
        database.connect().await?;
        Ok(database)
    }

    /// Opens the connections and brings the schema up to date, once. A failed attempt can be repeated.
    ///
    /// # Errors
    ///
    /// [`Error::File`], [`Error::Failed`] or [`Error::TimedOut`] if the database can't be reached. [`Error::Migration`] and
    /// the other errors of migrations and poolers if it can't be used.
    pub(crate) async fn connect(&self) -> Result<(), Error> {
        self.pools.get_or_try_init(|| Pools::open(&self.config)).await.map(drop)
    }

    /// Times operations, and counts those that fail.
    pub(crate) fn with_metrics(self, metrics: OperationMetrics) -> Self {
        Self { metrics, ..self }
    }

    fn is_sqlite(&self) -> bool {
        is_sqlite(self.config.url.expose())
    }

    /// Returns whether a later attempt to connect may succeed with the same settings and schema.
    pub(crate) fn may_recover_from(&self, error: &Error) -> bool {
        let is_temporary = match error {
            Error::Failed(cause) => !matches!(cause, sqlx::Error::Configuration(_)),
            Error::Migration(error) => matches!(error, MigrateError::Execute(_) | MigrateError::ExecuteMigration(..)),
            Error::TimedOut => true,
            _ => false,
        };
        // A file that can't be opened is a wrong path or mode.
        is_temporary && !self.is_sqlite()
    }

    /// Checks that accounts can be read, that PostgreSQL is not read-only, and that SQLite's file is still in place.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], [`Error::ReadOnly`], [`Error::FileReplaced`].
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        if let Some(file) = self.pools.get().and_then(|pools| pools.file.clone())
            && !self.runtime.spawn_blocking(move || file.is_in_place()).await?
        {
            return Err(Error::FileReplaced);
        }
        let read = "SELECT id FROM users WHERE id = ''";
        let is_read_only =
            "SELECT current_setting('transaction_read_only') WHERE NOT EXISTS (SELECT id FROM users WHERE id = '')";
        let sql = if self.is_sqlite() { read } else { is_read_only };
        let mut read = std::pin::pin!(self.fetch_all::<(String,)>(sqlx::query_as(sql)));
        let rows = tokio::time::timeout(DIRECT_PING_DELAY, &mut read).await;
        if rows.is_err() && !self.is_sqlite() {
            pooler::connect(self.config.url.expose()).await?.close().await?;
        }
        let rows = if let Ok(rows) = rows { rows? } else { read.await? };
        if rows.iter().any(|(value,)| value == "on") { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// Returns the numbers of all and of idle connections.
    pub(crate) fn connections(&self) -> (u32, u32) {
        let Some(pools) = self.pools.get() else { return (0, 0) };
        let count = |pool: &AnyPool| (pool.size(), u32::try_from(pool.num_idle()).unwrap_or(u32::MAX));
        let (readers, writers) = (count(&pools.readers), count(&pools.writers));
        if self.is_sqlite() { (readers.0 + writers.0, readers.1 + writers.1) } else { writers }
    }

    /// Returns the maximum number of connections.
    pub(crate) fn max_connections(&self) -> u32 {
        self.config.max_connections
    }

    /// Runs `operation` to its end, even if the caller is cancelled.
    async fn run<T, F>(&self, operation: impl FnOnce(Pools) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        let operation = operation(self.pools.get().ok_or(Error::NotConnected)?.clone());
        let limit = if self.is_sqlite() { SQLITE_OPERATION_TIMEOUT } else { OPERATION_TIMEOUT };
        let metrics = self.metrics.clone();
        let operation = async move { Ok(tokio::time::timeout(limit, operation).await.map_err(|_| Error::TimedOut)??) };
        // The timer must not end with a worker either.
        let task =
            self.runtime.spawn(async move { metrics.observe(operation, |error| !matches!(error, Error::Duplicate)).await });
        task.await?
    }

    /// Executes a statement that writes; returns the number of affected rows.
    async fn execute(&self, statement: Statement) -> Result<u64, Error> {
        if self.config.behind_pooler {
            let [rows] = self.execute_all([statement]).await?;
            return Ok(rows);
        }
        self.run(|pools| async move { Ok(statement.execute(&pools.writers).await?.rows_affected()) }).await
    }

    /// Executes statements in one transaction; returns the numbers of affected rows.
    async fn execute_all<const N: usize>(&self, statements: [Statement; N]) -> Result<[u64; N], Error> {
        self.run(|pools| async move {
            let (mut transaction, mut affected) = (pools.begin().await?, [0; N]);
            for (statement, rows) in statements.into_iter().zip(&mut affected) {
                *rows = transaction.execute(statement).await?;
            }
            transaction.commit().await?;
            Ok(affected)
        })
        .await
    }

    /// Executes a query; returns all rows.
    async fn fetch_all<T>(&self, query: QueryAs<'static, Any, T, AnyArguments>) -> Result<Vec<T>, Error>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin + 'static,
    {
        self.run(|pools| async move { pools.fetch_all(query).await }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Executor as _, Row as _};

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
        let write = database.pools.get().unwrap().begin().await.unwrap();
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
        drop(write);
        assert!(waits.await.unwrap());
        assert_eq!(
            database.pools.get().unwrap().writers.size(),
            1,
            "it waited for the same connection, and opened none of its own"
        );
    }

    #[actix_rt::test]
    async fn ping_fails_and_changes_nothing_while_the_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("app.db"), folder.path().join("aside"));
        let database = Database::open(&format!("sqlite://{}", path.display())).await.unwrap();
        // The next reader needs a connection of its own.
        let busy = database.pools.get().unwrap().readers.acquire().await.unwrap();
        std::fs::rename(&path, &aside).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(matches!(database.ping().await, Err(Error::FileReplaced)));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "nothing was made of it");
        std::fs::rename(&aside, &path).unwrap();
        drop(busy);
        database.ping().await.unwrap();
    }
}
