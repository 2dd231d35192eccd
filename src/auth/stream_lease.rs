//! The lease of an open stream: it ends with its token or session.

use super::principal::Principal;
use super::revoked_sessions::RevokedSessions;
use crate::clock::Clock;

/// Permits a stream until its token expires or its session is revoked.
pub(crate) struct StreamLease {
    session: Option<String>,
    /// Seconds since 1970-01-01 UTC.
    expires_at: i64,
    revoked_sessions: RevokedSessions,
    clock: Clock,
}

impl StreamLease {
    /// Grants a stream until `expires_at` (seconds since 1970-01-01 UTC).
    #[must_use]
    pub(crate) fn new(principal: &Principal, expires_at: i64, revoked_sessions: RevokedSessions, clock: Clock) -> Self {
        Self { session: principal.session().map(str::to_owned), expires_at, revoked_sessions, clock }
    }

    /// Returns whether the principal may still receive the stream.
    #[must_use]
    pub(crate) fn is_valid(&self) -> bool {
        self.clock.unix_seconds() < self.expires_at
            && self.session.as_ref().is_none_or(|session| self.revoked_sessions.contains(session) == Some(false))
    }
}
