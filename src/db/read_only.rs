//! Connections that can only read. SQLite opens one without a word where its file can't be written, and it stays one when the
//! file can be written again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{AnyPool, Executor as _};

/// `SQLITE_READONLY`; the rest of a code says why.
const CODE: i64 = 8;
const OF_A_CODE: i64 = 0xff;

/// For how long after one was met every piece of work gets a connection of its own: whoever repairs the file is noticed at once,
/// and nobody can tell which of those that were opened meanwhile can write.
const WARY: Duration = Duration::from_mins(1);

/// When one was last met: none that was opened before that is used again, and for a while none at all. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct ReadOnly(Arc<Mutex<Option<Instant>>>);

impl ReadOnly {
    /// Remembers it, if `error` is of one.
    pub(super) fn look_at(&self, error: &sqlx::Error) {
        if is_of_one(error) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// Whether a connection of this age may be one.
    pub(super) fn may_be(&self, age: Duration) -> bool {
        let met = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.map(|met| met.elapsed()).is_some_and(|ago| ago < WARY || age >= ago)
    }
}

/// Fails if the file can't be written. It may still be somebody else's turn to write.
pub(super) async fn refuse(pool: &AnyPool) -> Result<(), sqlx::Error> {
    // To begin a transaction is no attempt at it: SQLite begins one for reading where it can do no other.
    match pool.execute("DELETE FROM users WHERE FALSE").await {
        Err(error) if is_of_one(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_of_one(error: &sqlx::Error) -> bool {
    let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) else { return false };
    // PostgreSQL's have five characters.
    code.len() < 5 && code.parse::<i64>().is_ok_and(|code| code & OF_A_CODE == CODE)
}
