//! Who asks: what a valid token says of its holder, and what follows from it.

use std::sync::Arc;

use crate::room::RoomName;

/// The holder of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Somebody with an account, who may see every room.
    User {
        /// The account's id.
        id: Arc<str>,
        /// The session that the token came with, so that it can be revoked.
        session: Arc<str>,
    },
    /// Somebody who was let into one room.
    Guest {
        /// The guest's id, new with every guest token.
        id: Arc<str>,
        /// The one room.
        room: RoomName,
    },
}

impl Principal {
    /// The session that a user's token came with.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        match self {
            Self::User { session, .. } => Some(session),
            Self::Guest { .. } => None,
        }
    }

    /// Whether the principal may see anything of `room`.
    #[must_use]
    pub fn may_enter(&self, room: &RoomName) -> bool {
        match self {
            Self::User { .. } => true,
            Self::Guest { room: own, .. } => own == room,
        }
    }
}

/// How far a principal was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenScope {
    /// When the token ends, in seconds since 1970-01-01 UTC.
    pub expires_at: i64,
    /// The ticket that stood in for the token; `None` for a token, which covers what its principal may enter.
    pub ticket: Option<StreamTicket>,
}

/// Opens one stream of one room, once. Whether it was used before is in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTicket {
    /// Distinguishes it from all other tickets.
    pub id: String,
    /// The one room.
    pub room: RoomName,
    /// When it is too late to use it, in seconds since 1970-01-01 UTC.
    pub expires_at: i64,
}

impl TokenScope {
    /// Whether what the principal came with covers `room`.
    #[must_use]
    pub fn covers(&self, room: &RoomName) -> bool {
        self.ticket.as_ref().is_none_or(|ticket| ticket.room == *room)
    }
}

/// The roles that a call may be joined with: asking for `owner` must not make an owner.
#[derive(Debug, Clone)]
pub struct AllowedRoles {
    /// What a user may ask for (`APP_USERS__ROLES`).
    pub users: Vec<String>,
    /// What a guest may ask for (`APP_GUESTS__ROLES`).
    pub guests: Vec<String>,
}

impl AllowedRoles {
    /// Whether `principal` may join as `role`. Roles are compared byte for byte.
    #[must_use]
    pub fn contains(&self, principal: &Principal, role: &str) -> bool {
        let roles = match principal {
            Principal::User { .. } => &self.users,
            Principal::Guest { .. } => &self.guests,
        };
        roles.iter().any(|allowed| allowed == role)
    }
}
