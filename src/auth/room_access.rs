//! Access to rooms, decided once for each request.

use std::ops::Deref;

use super::principal::{Principal, TokenScope};
use crate::room::RoomName;

/// The principal may not enter the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the principal may not enter this room")]
pub(crate) struct Forbidden;

/// A room that the principal of a request may enter.
///
/// Services take it in place of a name, so that no cache is read without permission.
#[derive(Debug, Clone)]
pub(crate) struct PermittedRoom(RoomName);

impl PermittedRoom {
    /// Checks that `principal` may enter `room`, and that its token or ticket covers it.
    ///
    /// # Errors
    ///
    /// [`Forbidden`].
    pub(crate) fn new(principal: &Principal, scope: &TokenScope, room: RoomName) -> Result<Self, Forbidden> {
        let may_enter = match principal {
            Principal::User { .. } => true,
            Principal::Guest { room: own, .. } => *own == room,
        };
        let is_covered = scope.ticket.as_ref().is_none_or(|ticket| ticket.room == room);
        if may_enter && is_covered { Ok(Self(room)) } else { Err(Forbidden) }
    }
}

impl Deref for PermittedRoom {
    type Target = RoomName;

    fn deref(&self) -> &RoomName {
        &self.0
    }
}
