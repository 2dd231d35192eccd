//! The lease of an open stream: it ends with its token, session or permission.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::principal::Credentials;
use super::revoked_sessions::RevokedSessions;
use super::room_access::{AccessError, PermittedRoom, Requester, RoomAction};
use super::token::Tokens;
use crate::clock::Clock;
use crate::room::RoomName;

/// The shortest time after which a stream asks again, also if a permission is shorter.
const MIN_PERMISSION: Duration = Duration::from_secs(1);

/// Permits a stream until its token expires, its session is revoked, or it may not enter its room.
///
/// That of an identity provider's user ends when the provider removes the key of its token, too.
pub(crate) struct StreamLease {
    /// The principal of the stream.
    pub(crate) requester: Requester,
    room: RoomName,
    /// When the permission runs out.
    renew_at: Option<Instant>,
    revoked_sessions: RevokedSessions,
    tokens: Arc<Tokens>,
    clock: Clock,
}

impl StreamLease {
    /// Grants a stream of `room`.
    pub(crate) fn new(
        requester: Requester,
        room: &PermittedRoom,
        revoked_sessions: RevokedSessions,
        tokens: Arc<Tokens>,
        clock: Clock,
    ) -> Self {
        Self { requester, room: RoomName::clone(room), renew_at: renewal_of(room), revoked_sessions, tokens, clock }
    }

    /// Returns whether the principal may still receive the stream. A permission that has run out is asked for again.
    ///
    /// # Errors
    ///
    /// [`AccessError`] if the permission is not renewed.
    pub(crate) async fn check(&mut self) -> Result<bool, AccessError> {
        if self.is_valid() && self.renew_at.is_some_and(|renew_at| renew_at <= Instant::now()) {
            let room = self.requester.permit(self.room.clone(), RoomAction::CatchUp).await?;
            self.renew_at = renewal_of(&room);
        }
        // Last, because a session may be revoked while the permission is asked for.
        Ok(self.is_valid())
    }

    fn is_valid(&self) -> bool {
        let Credentials { principal, expires_at, .. } = &*self.requester.credentials;
        let is_revoked = |session| self.revoked_sessions.contains(session) != Some(false);
        self.clock.unix_seconds() < *expires_at
            && !principal.session().is_some_and(is_revoked)
            && self.tokens.check_key_of(principal).is_ok()
    }
}

fn renewal_of(room: &PermittedRoom) -> Option<Instant> {
    room.valid_until().map(|valid_until| valid_until.max(Instant::now() + MIN_PERMISSION))
}
