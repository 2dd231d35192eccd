//! Principals: the users, guests and backends that valid tokens and keys identify.

use std::sync::Arc;

use crate::room::RoomName;

/// The user, guest or backend that a valid token or key identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A user with an account, or of the identity provider.
    User {
        /// The account's id, or the provider's `sub`.
        id: Arc<str>,
        /// The session that the token belongs to, so that it can be revoked. The provider's tokens have none.
        session: Option<Arc<str>>,
        /// What the provider's token says; `None` for an account.
        identity: Option<Arc<Identity>>,
    },
    /// A guest of one room.
    Guest {
        /// The guest's id, new with every guest token.
        id: Arc<str>,
        /// The only permitted room.
        room: RoomName,
    },
    /// The team's own backend. It enters no room.
    ApiKey {
        /// The key's name.
        name: Arc<str>,
        /// The routes that the key opens.
        scope: Arc<str>,
        /// The key's SHA-256, which identifies it.
        hash: Arc<str>,
    },
}

/// What a token of the identity provider says of its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider. The user is identified by it and the user's id.
    pub issuer: Arc<str>,
    /// The thumbprint of the provider's key that verified the token.
    pub key: Arc<str>,
    /// The display name.
    pub name: Option<Arc<str>>,
    /// The roles that the token gives; `None` without `APP_OIDC__ROLES_CLAIM`.
    pub roles: Option<Vec<String>>,
    /// The rooms that the token names (`APP_OIDC__ROOMS_CLAIM`).
    pub rooms: Vec<RoomName>,
}

impl Principal {
    /// Returns the session of a user's token.
    pub(crate) fn session(&self) -> Option<&str> {
        match self {
            Self::User { session, .. } => session.as_deref(),
            Self::Guest { .. } | Self::ApiKey { .. } => None,
        }
    }

    /// Returns what the identity provider's token says of its user.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        match self {
            Self::User { identity, .. } => identity.as_deref(),
            Self::Guest { .. } | Self::ApiKey { .. } => None,
        }
    }

    /// Returns the identity provider of a user of it.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.identity().map(|identity| &*identity.issuer)
    }

    /// Returns the ids of the user and of the guest, of which it is one at most.
    pub(crate) fn ids(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::User { id, .. } => (Some(id), None),
            Self::Guest { id, .. } => (None, Some(id)),
            Self::ApiKey { .. } => (None, None),
        }
    }

    /// Returns whether it is an API key for the routes of `scope`.
    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        matches!(self, Self::ApiKey { scope: own, .. } if **own == *scope)
    }

    /// Returns the name of an API key.
    pub(crate) fn api_key(&self) -> Option<&str> {
        match self {
            Self::ApiKey { name, .. } => Some(name),
            Self::User { .. } | Self::Guest { .. } => None,
        }
    }
}

/// A verified token, ticket or API key: its principal, and what it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user, guest or backend.
    pub principal: Principal,
    /// When the token or key expires, and the stream of a ticket ends, in seconds since 1970-01-01 UTC.
    pub expires_at: i64,
    /// The ticket presented in place of a token. Tokens cover all that their principal may enter.
    pub ticket: Option<Box<StreamTicket>>,
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

/// The role that each user of an identity provider may ask for.
const DEFAULT_ROLE: &str = "member";

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
    pub(crate) fn contains(&self, principal: &Principal, role: &str) -> bool {
        let roles = match principal {
            Principal::User { .. } => &self.users,
            Principal::Guest { .. } => &self.guests,
            Principal::ApiKey { .. } => return false,
        };
        let given = principal.identity().and_then(|identity| identity.roles.as_ref());
        let is_given = given.is_none_or(|roles| role == DEFAULT_ROLE || roles.iter().any(|given| given == role));
        is_given && roles.iter().any(|allowed| allowed == role)
    }
}
