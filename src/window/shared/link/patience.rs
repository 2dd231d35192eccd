//! How long Redis is waited for, and how it did. Must not know what it is asked.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};
use tokio::time::timeout;

/// What a command may take that a request waits for: more, and the request is better off without it. Counted in [`TICK`]s,
/// each of which takes a little longer than it says.
const SHORT: Duration = Duration::from_millis(35);
/// What any other may take, and what connecting may take.
pub(super) const LONG: Duration = Duration::from_secs(1);
/// The unit of patience.
const TICK: Duration = Duration::from_millis(5);

/// How long a command may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// A request waits for it and could do without. Not even tried while Redis is slow.
    Short,
    /// Nobody waits for it.
    Long,
}

impl Patience {
    pub(super) fn limit(self) -> Duration {
        match self {
            Self::Short => SHORT,
            Self::Long => LONG,
        }
    }
}

/// How Redis answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Quick,
    Slow,
}

/// Why Redis is of no use.
#[derive(Debug)]
pub(super) enum Fault {
    /// No answer in time.
    Late,
    /// This came of it.
    Error(RedisError),
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        Self::Error(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("no answer in time"),
            Self::Error(error) => error.fmt(f),
        }
    }
}

/// How fast Redis answers `proof`, which is 1 from one that can be used.
pub(super) async fn pace(connection: &mut MultiplexedConnection, proof: &Cmd) -> Result<Pace, Fault> {
    let mut asked = pin!(proof.query_async::<u8>(connection));
    let (answer, pace) = match within(SHORT, &mut asked).await {
        Some(answer) => (answer, Pace::Quick),
        None => (timeout(LONG, asked).await.map_err(|_| Fault::Late)?, Pace::Slow),
    };
    answer?;
    Ok(pace)
}

/// What `future` gives, unless it takes longer than `limit`. Only the time counts in which this process gets to run: where the
/// whole machine is too busy for that, an answer may well be there and nobody has got round to reading it.
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..limit.as_millis() / TICK.as_millis() {
        if let Ok(output) = timeout(TICK, &mut future).await {
            return Some(output);
        }
    }
    None
}

/// Redis was there and said no: it is full or loading, or the key holds something else. That is no reason not to ask it again.
pub(super) fn is_an_answer(error: &RedisError) -> bool {
    let server = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType);
    server && !is_read_only(error)
}

/// It is not the primary any more: the name may lead to another one by now. A script says so in its own words.
pub(super) fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) || error.to_string().contains("READONLY")
}
