//! Statements and transactions that work behind a connection pooler, and the detection of one.
//!
//! In transaction mode a pooler gives each transaction another session, so that a session keeps nothing between transactions.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::QueryAs;
use sqlx::{Any, AnyConnection, Connection as _, Executor as _, FromRow, Row as _};

use super::{ConnectConfig, Error, Pools, Statement};

/// A transaction, rolled back when dropped.
pub(super) struct Transaction {
    inner: sqlx::Transaction<'static, Any>,
    /// Whether statements keep a name in the session, which saves parsing them again.
    named: bool,
}

impl Transaction {
    /// Executes a statement; returns the number of affected rows.
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        Ok(statement.persistent(self.named).execute(&mut *self.inner).await?.rows_affected())
    }

    /// Executes a query; returns its first row.
    pub(super) async fn fetch_optional(&mut self, query: Statement) -> Result<Option<AnyRow>, sqlx::Error> {
        query.persistent(self.named).fetch_optional(&mut *self.inner).await
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.inner.commit().await
    }
}

impl Pools {
    /// Begins a transaction that may write.
    pub(super) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        Ok(Transaction { inner: self.writers.begin_with(self.begin).await?, named: !self.behind_pooler })
    }

    /// Executes one query; returns all rows.
    pub(super) async fn fetch_all<T>(&self, query: QueryAs<'static, Any, T, AnyArguments>) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        if !self.behind_pooler {
            return query.fetch_all(&self.readers).await;
        }
        let mut transaction = self.begin().await?;
        let rows = query.persistent(false).fetch_all(&mut *transaction.inner).await?;
        transaction.commit().await?;
        Ok(rows)
    }
}

/// Connects once.
///
/// # Errors
///
/// [`Error::Failed`], [`Error::StartupParameter`].
pub(super) async fn connect(url: &str) -> Result<AnyConnection, Error> {
    AnyConnection::connect(url).await.map_err(|error| match error.as_database_error() {
        Some(error) if error.message().contains("startup parameter") => Error::StartupParameter(error.message().to_owned()),
        _ => Error::Failed(error),
    })
}

/// Connects once, and rejects an undeclared pooler in transaction mode.
///
/// # Errors
///
/// As [`connect`], and [`Error::UndeclaredPooler`].
pub(super) async fn connect_checked(config: &ConnectConfig) -> Result<AnyConnection, Error> {
    let url = config.url.expose();
    let mut connection = connect(url).await?;
    if !config.behind_pooler && url.starts_with("postgres") {
        let mut other = AnyConnection::connect(url).await?;
        if shares_sessions(&mut connection, &mut other).await? {
            return Err(Error::UndeclaredPooler);
        }
        other.close().await?;
    }
    Ok(connection)
}

/// Returns whether two open connections share sessions: a session has one process, and a process one session.
async fn shares_sessions(one: &mut AnyConnection, other: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    let first = process_id(one).await?;
    let second = process_id(other).await?;
    // A pooler that takes turns has another process for this one.
    Ok(first == second || process_id(other).await? != second || process_id(one).await? != first)
}

async fn process_id(connection: &mut AnyConnection) -> Result<i32, sqlx::Error> {
    // Without arguments there is no named statement.
    connection.fetch_one("SELECT pg_backend_pid()").await?.try_get(0)
}
