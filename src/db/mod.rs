//! The database: SQLite or PostgreSQL behind one dialect of SQL. The only module that knows sqlx.
//!
//! All of its work runs on a runtime of its own. A pool's sockets belong to the runtime that opened them, and a worker's
//! runtime ends with the worker; and a write that has begun goes on when the client that asked for it hangs up.

mod refresh_tokens;
mod users;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, AnyPool, Executor as _};
use tokio::runtime::Runtime;

pub use refresh_tokens::NewSession;
pub use users::{NewUser, User};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long a request waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_CONNECTIONS: u32 = 10;

/// Run on each new SQLite connection. A committed write survives a power cut (`FULL`), a reader never waits for a writer
/// (`WAL`), and a writer waits 5 seconds for another one, which may be another process.
const SQLITE_PRAGMAS: &str =
    "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";

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
    /// The folder for the database file could not be made, or the runtime could not be started.
    #[error("can't be opened: {0}")]
    Open(#[from] std::io::Error),
    /// The task that did the work is gone.
    #[error("the work was given up")]
    GivenUp,
}

/// A handle on the database; clones share its connections.
#[derive(Clone)]
pub struct Database {
    pool: AnyPool,
    runtime: Arc<OwnRuntime>,
}

/// Ends without waiting: to drop a runtime inside another one would panic.
struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Database {
    /// Opens the database at `url` (`sqlite://path/to/file` or `postgres://…`) and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], [`Error::Failed`] if it can't be reached, [`Error::Migration`].
    pub async fn open(url: &str) -> Result<Self, Error> {
        install_default_drivers();
        let sqlite = url.starts_with("sqlite:");
        if sqlite {
            make_folder_of(url)?;
        }
        let url = if sqlite && !url.contains('?') { format!("{url}?mode=rwc") } else { url.to_owned() };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("database").enable_all().build()?;
        let opened = runtime.spawn(async move {
            let pool = connect(&url, sqlite).await?;
            MIGRATIONS.run(&pool).await?;
            Ok::<_, Error>(pool)
        });
        let runtime = Arc::new(OwnRuntime(Some(runtime)));
        let pool = opened.await.map_err(|_| Error::GivenUp)??;
        Ok(Self { pool, runtime })
    }

    /// Does `work` on the database's own runtime, to its end even if nobody waits for it any more.
    async fn run<T, F>(&self, work: impl FnOnce(AnyPool) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        let Some(runtime) = &self.runtime.0 else {
            return Err(Error::GivenUp);
        };
        runtime.spawn(work(self.pool.clone())).await.map_err(|_| Error::GivenUp)?.map_err(Error::from)
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

async fn connect(url: &str, sqlite: bool) -> Result<AnyPool, sqlx::Error> {
    let options: AnyConnectOptions = url.parse()?;
    AnyPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                if sqlite {
                    connection.execute(SQLITE_PRAGMAS).await?;
                }
                Ok(())
            })
        })
        .connect_with(options)
        .await
}

/// SQLite makes the file, but not the folder that it is in.
fn make_folder_of(url: &str) -> std::io::Result<()> {
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    let path = path.split('?').next().unwrap_or(path);
    match Path::new(path).parent() {
        Some(folder) => std::fs::create_dir_all(folder),
        None => Ok(()),
    }
}
