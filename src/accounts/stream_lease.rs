//! How long the caller of an open stream may receive it.

use super::{Accounts, Revocations};
use crate::caller::Caller;
use crate::clock::Clock;

/// Lets a caller receive a stream until its token expires or its session is revoked.
pub struct StreamLease {
    session: Option<String>,
    /// Seconds since 1970-01-01 UTC.
    expires_at: i64,
    revocations: Revocations,
    clock: Clock,
}

impl StreamLease {
    /// Whether the caller may still receive the stream.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.clock.unix_seconds() < self.expires_at
            && !self.session.as_ref().is_some_and(|session| self.revocations.contain(session))
    }
}

impl Accounts {
    /// Grants `caller` a stream until `expires_at` (seconds since 1970-01-01 UTC).
    #[must_use]
    pub fn lease_stream(&self, caller: &Caller, expires_at: i64) -> StreamLease {
        StreamLease {
            session: caller.session().map(str::to_owned),
            expires_at,
            revocations: self.revocations.clone(),
            clock: self.clock.clone(),
        }
    }
}
