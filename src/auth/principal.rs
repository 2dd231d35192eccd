//! Principals: the users and guests that valid tokens identify.

use std::sync::Arc;

use crate::room::RoomName;

/// The user or guest that a valid token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A user with an account.
    User {
        /// The account's id.
        id: Arc<str>,
        /// The session that the token belongs to, so that it can be revoked.
        session: Arc<str>,
    },
    /// A guest of one room.
    Guest {
        /// The guest's id, new with every guest token.
        id: Arc<str>,
        /// The only permitted room.
        room: RoomName,
    },
}

impl Principal {
    /// Returns the session of a user's token.
    #[must_use]
    pub(crate) fn session(&self) -> Option<&str> {
        match self {
            Self::User { session, .. } => Some(session),
            Self::Guest { .. } => None,
        }
    }

    /// Returns the ids of the user and of the guest, of which it is one.
    #[must_use]
    pub(crate) fn ids(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::User { id, .. } => (Some(id), None),
            Self::Guest { id, .. } => (None, Some(id)),
        }
    }
}

/// What the presented token or ticket covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenScope {
    /// When the token expires, in seconds since 1970-01-01 UTC.
    pub expires_at: i64,
    /// The ticket presented in place of a token. Tokens cover all that their principal may enter.
    pub ticket: Option<StreamTicket>,
}

/// A ticket for one stream of one room. The database records whether it was redeemed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTicket {
    /// The ticket's unique id.
    pub id: String,
    /// The only permitted room.
    pub room: RoomName,
    /// When the ticket expires, in seconds since 1970-01-01 UTC.
    pub expires_at: i64,
}

/// The roles that a principal may join a call with.
#[derive(Debug, Clone)]
pub(crate) struct AllowedRoles {
    /// The roles of users (`APP_USERS__ROLES`).
    pub(crate) users: Vec<String>,
    /// The roles of guests (`APP_GUESTS__ROLES`). `owner` would let a guest own the room.
    pub(crate) guests: Vec<String>,
}

impl AllowedRoles {
    /// Returns whether `principal` may join as `role`, compared byte for byte.
    #[must_use]
    pub(crate) fn contains(&self, principal: &Principal, role: &str) -> bool {
        let roles = match principal {
            Principal::User { .. } => &self.users,
            Principal::Guest { .. } => &self.guests,
        };
        roles.iter().any(|allowed| allowed == role)
    }
}
