//! Access to rooms, decided once for each request.

use std::ops::Deref;

use super::principal::{Principal, TokenScope};
use crate::request_context::RequestContext;
use crate::room::RoomName;

/// What a principal enters a room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoomAction {
    /// Reading the catch-up, once or as a stream.
    CatchUp,
    /// Reading the status of the call.
    Status,
    /// Reading the summary.
    Summary,
    /// Joining the call.
    Join,
    /// Inviting guests.
    Invite,
    /// Listing the meetings of all rooms.
    Meetings,
}

/// Why a principal may not enter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    /// The principal may not enter this room.
    #[error("the principal may not enter this room")]
    Forbidden,
}

/// Decides which rooms a principal may enter.
pub(crate) struct RoomAccess {}

impl RoomAccess {
    /// Checks that `principal` may enter `room`, and that its token or ticket covers it.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub(crate) async fn permit(
        &self,
        principal: &Principal,
        scope: &TokenScope,
        room: RoomName,
        action: RoomAction,
        context: &RequestContext,
    ) -> Result<PermittedRoom, AccessError> {
        let is_covered = scope.ticket.as_ref().is_none_or(|ticket| ticket.room == room);
        if !is_covered {
            return Err(AccessError::Forbidden);
        }
        match principal {
            Principal::User { .. } => self.decide(principal, Some(&room), action, context).await?,
            Principal::Guest { room: own, .. } if *own == room && action != RoomAction::Invite => {}
            // The team's own backend invites to all rooms, and enters none.
            Principal::ApiKey { .. } if action == RoomAction::Invite => {}
            Principal::Guest { .. } | Principal::ApiKey { .. } => return Err(AccessError::Forbidden),
        }
        Ok(PermittedRoom(room))
    }

    /// Checks that `principal` may list the meetings of all rooms.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub(crate) async fn permit_meetings(&self, principal: &Principal, context: &RequestContext) -> Result<(), AccessError> {
        self.decide(principal, None, RoomAction::Meetings, context).await
    }

    #[expect(clippy::unused_async, reason = "the other modes come next")]
    async fn decide(
        &self,
        principal: &Principal,
        _: Option<&RoomName>,
        _: RoomAction,
        _: &RequestContext,
    ) -> Result<(), AccessError> {
        match principal {
            Principal::User { .. } => Ok(()),
            Principal::Guest { .. } | Principal::ApiKey { .. } => Err(AccessError::Forbidden),
        }
    }
}

/// A room that the principal of a request may enter. Only [`RoomAccess`] creates it.
///
/// Services take it in place of a name, so that no cache is read without permission.
#[derive(Debug, Clone)]
pub(crate) struct PermittedRoom(RoomName);

impl Deref for PermittedRoom {
    type Target = RoomName;

    fn deref(&self) -> &RoomName {
        &self.0
    }
}
