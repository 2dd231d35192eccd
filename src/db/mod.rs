//! The database: SQLite or PostgreSQL behind one dialect of SQL. The only module that knows sqlx.

mod file;
mod login_failures;
mod preflight;
mod sessions;
mod stream_tickets;
mod url;
mod users;

use std::future::Future;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _};
use tokio::runtime::Handle;

pub use self::url::validate_url;
pub use file::is_accessible_to_others;
pub use login_failures::{KNOWN_ADDRESS_RETENTION, LoginFailures};
pub use preflight::preflight;
pub use sessions::{NewSession, Refresh, SessionRecord};
pub use users::{NewUser, User};

use file::File;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long a request waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for SQLite: the one connection that writes may be held for so long by somebody who waits for another process.
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one piece of work may take: a connection that died without a word never answers.
const WORK_TIMEOUT: Duration = Duration::from_secs(6);
/// The same for SQLite, a wait for another process included: whoever gets the connection late does not begin it anew.
const SQLITE_WORK_TIMEOUT: Duration = Duration::from_millis(5250);
/// The most connections of one server.
pub const MAX_CONNECTIONS: u32 = 10;
/// How often a migration is tried again when another process holds the database, and how long apart.
const MIGRATION_TRIES: u32 = 20;
const MIGRATION_PAUSE: Duration = Duration::from_millis(250);

/// Run on each new SQLite connection. A committed write survives a power cut (`FULL`), a reader never waits for a writer
/// (`WAL`), and a writer waits 5 seconds for another process's.
const SQLITE_PRAGMAS: &str =
    "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";

/// Run on each new connection to PostgreSQL. A replica that freezes within a transaction keeps rows locked, those of an account
/// for example. The others continue before [`WORK_TIMEOUT`].
const POSTGRESQL_SETTINGS: &str = "SET idle_in_transaction_session_timeout = '4s'";

/// Why the database gave no answer. For the log: the text may contain SQL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row with this unique value is already there.
    #[error("already there")]
    Duplicate,
    /// The database, or the way to it, failed.
    #[error("the database failed: {0}")]
    Failed(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the migration failed: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// SQLite's file, or the folder for it, could not be made or used.
    #[error("its file or folder can't be used: {0}")]
    File(#[from] std::io::Error),
    /// SQLite's file was deleted or replaced after it was opened; nothing that was written since is kept.
    #[error("its file was deleted, or another one was put in its place")]
    Gone,
    /// It did not answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
    /// The task that did the work panicked, or the process is ending.
    #[error("the database task ended early")]
    Aborted(#[from] tokio::task::JoinError),
}

/// A handle on the database; clones share its connections.
#[derive(Clone)]
pub struct Database {
    pools: Pools,
    /// A pool's sockets belong to the runtime that opened them.
    runtime: Handle,
    /// How a transaction that writes begins: SQLite must be told at once, or a reader can't become a writer later.
    begin: &'static str,
    /// SQLite's.
    file: Option<File>,
}

/// Its connections. Clones are the same.
#[derive(Clone)]
struct Pools {
    readers: AnyPool,
    /// PostgreSQL's are the same. SQLite lets one write at a time: several would ask it again and again whether it is their turn,
    /// where those who want this one stand in line; and each would read anew what another one has written.
    writers: AnyPool,
}

impl Database {
    /// Opens the database at `url` (`sqlite://path/to/file` or `postgres://…`) and brings its schema up to date.
    ///
    /// All later work runs on the current runtime, which must outlive the HTTP workers.
    ///
    /// # Errors
    ///
    /// [`Error::File`], [`Error::Failed`] if it can't be reached, [`Error::Migration`].
    pub async fn open(url: &str) -> Result<Self, Error> {
        install_default_drivers();
        let sqlite = url.starts_with("sqlite:");
        let file = if sqlite { Some(File::create(url)?) } else { None };
        // One that was deleted must not come back empty.
        let url = if sqlite { url.replace("mode=rwc", "mode=rw") } else { url.to_owned() };
        let (writer, connections) = if sqlite { (Kind::SqliteWriter, 1) } else { (Kind::PostgreSql, MAX_CONNECTIONS) };
        if sqlite {
            // By itself, because a pool would try again for seconds.
            require_writable(&mut AnyConnection::connect(&url).await?).await?;
        }
        let writers = connect(&url, writer, connections).await?;
        migrate(&writers).await?;
        let readers = if sqlite { connect(&url, Kind::SqliteReader, MAX_CONNECTIONS - 1).await? } else { writers.clone() };
        let (pools, runtime) = (Pools { readers, writers }, Handle::current());
        Ok(Self { pools, runtime, begin: if sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }, file })
    }

    /// Whether the accounts can be read, and SQLite's file is still the one that was opened.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], [`Error::Gone`].
    pub async fn ping(&self) -> Result<(), Error> {
        if let Some(file) = self.file.clone()
            && !self.runtime.spawn_blocking(move || file.is_in_place()).await?
        {
            return Err(Error::Gone);
        }
        let sql = "SELECT id FROM users WHERE id = ''";
        self.run(|pools| async move { sqlx::query(sql).fetch_optional(&pools.readers).await }).await.map(|_| ())
    }

    /// Its connections: all, and those that nobody uses now.
    #[must_use]
    pub fn connections(&self) -> (u32, u32) {
        let of = |pool: &AnyPool| (pool.size(), u32::try_from(pool.num_idle()).unwrap_or(u32::MAX));
        let (readers, writers) = (of(&self.pools.readers), of(&self.pools.writers));
        if self.file.is_some() { (readers.0 + writers.0, readers.1 + writers.1) } else { writers }
    }

    /// Does `work` to its end, even if nobody waits for it any more.
    async fn run<T, F>(&self, work: impl FnOnce(Pools) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        let work = work(self.pools.clone());
        let patience = if self.file.is_some() { SQLITE_WORK_TIMEOUT } else { WORK_TIMEOUT };
        // The timer must not end with a worker either.
        let work = async move { tokio::time::timeout(patience, work).await };
        Ok(self.runtime.spawn(work).await?.map_err(|_| Error::TimedOut)??)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(of_database) if of_database.is_unique_violation() => Self::Duplicate,
            _ => Self::Failed(error),
        }
    }
}

/// What the connections of a pool are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    PostgreSql,
    SqliteReader,
    SqliteWriter,
}

async fn connect(url: &str, kind: Kind, most: u32) -> Result<AnyPool, sqlx::Error> {
    let sqlite = kind != Kind::PostgreSql;
    // Not even a slow statement: SQL has no place in the log.
    let options = url.parse::<AnyConnectOptions>()?.disable_statement_logging();
    AnyPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(if sqlite { SQLITE_ACQUIRE_TIMEOUT } else { ACQUIRE_TIMEOUT })
        // A connection to a server may have died while it rested; one to a file does not.
        .test_before_acquire(!sqlite)
        // SQLite may end a transaction by itself (a full disk, for one), and sqlx does not notice: such a connection is done for.
        .before_acquire(|connection: &mut AnyConnection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .after_connect(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                connection.execute(if sqlite { SQLITE_PRAGMAS } else { POSTGRESQL_SETTINGS }).await?;
                if kind == Kind::SqliteWriter { require_writable(connection).await } else { Ok(()) }
            })
        })
        .connect_with(options)
        .await
}

/// Fails on a read-only connection: SQLite opens one in silence where the file can't be written, and it stays one.
async fn require_writable(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    // To begin a transaction would succeed. Any other failure than `SQLITE_READONLY` may pass.
    match connection.execute("DELETE FROM users WHERE FALSE").await {
        Err(error) if sqlite_code(&error) == Some(8) => Err(error),
        _ => Ok(()),
    }
}

/// SQLite's primary result code; the higher bits of an extended one say why.
fn sqlite_code(error: &sqlx::Error) -> Option<u8> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    code.to_le_bytes().first().copied()
}

/// Several replicas may start at once. PostgreSQL makes the others wait; SQLite lets them fail, and they try again.
async fn migrate(pool: &AnyPool) -> Result<(), Error> {
    for _ in 1..MIGRATION_TRIES {
        match MIGRATIONS.run(pool).await {
            // No waiting makes it another version.
            Err(error @ (MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_))) => return Err(error.into()),
            Err(_) => tokio::time::sleep(MIGRATION_PAUSE).await,
            Ok(()) => return Ok(()),
        }
    }
    Ok(MIGRATIONS.run(pool).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row as _;

    #[actix_rt::test]
    async fn sqlite_is_durable_at_power_loss_on_every_connection() {
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
    async fn with_sqlite_whoever_writes_waits_for_another_writer_and_whoever_reads_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        let database = Database::open(&url).await.unwrap();
        let write = database.pools.writers.begin_with(database.begin).await.unwrap();
        let mut waits = Box::pin(database.redeem_stream_ticket("one".into(), 1));
        let meanwhile = async {
            for _ in 0..100 {
                database.ping().await.unwrap();
            }
        };
        tokio::select! {
            biased;
            _ = &mut waits => panic!("two write at once"),
            () = meanwhile => {}
        }
        write.rollback().await.unwrap();
        assert!(waits.await.unwrap());
        assert_eq!(database.pools.writers.size(), 1, "it waited for the same connection, and opened none of its own");
    }

    #[actix_rt::test]
    async fn ping_fails_while_the_file_is_replaced_and_opens_no_connection_on_the_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("app.db"), folder.path().join("aside"));
        let database = Database::open(&format!("sqlite://{}", path.display())).await.unwrap();
        // The next reader needs a connection of its own.
        let busy = database.pools.readers.acquire().await.unwrap();
        std::fs::rename(&path, &aside).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(matches!(database.ping().await, Err(Error::Gone)));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "nothing was made of it");
        std::fs::rename(&aside, &path).unwrap();
        drop(busy);
        database.ping().await.unwrap();
    }
}
