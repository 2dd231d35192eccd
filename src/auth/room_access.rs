//! Access to rooms, decided once for each request.

use std::ops::Deref;
use std::sync::Arc;

use tokio::time::Instant;

use super::access_webhook::{AccessRequest, AccessWebhook};
use super::api_key::INVITATIONS;
use super::http_client::HttpClient;
use super::principal::{Credentials, Principal};
use crate::request_context::RequestContext;
use crate::room::RoomName;

/// What a principal enters a room for. Webhooks get the name in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    /// The principal may not enter this room.
    #[error("the principal may not enter this room")]
    Forbidden,
    /// There is no decision. The cause has been logged.
    #[error("the access could not be decided")]
    Failed,
}

/// Which rooms users may enter (`APP_ROOMS__ACCESS`). Guests enter their own room alone.
#[derive(Clone)]
pub(crate) enum RoomAccess {
    /// Every room.
    All,
    /// The rooms that the identity provider's token names.
    Claim,
    /// The rooms that the webhook allows.
    Webhook(Arc<AccessWebhook>, HttpClient),
}

/// Asks for access to rooms on behalf of the principal of a request.
pub(crate) struct Requester {
    pub(crate) access: RoomAccess,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) context: RequestContext,
}

impl Requester {
    /// Checks that the principal may enter `room`, and that its token or ticket covers it.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub(crate) async fn permit(&self, name: RoomName, action: RoomAction) -> Result<PermittedRoom, AccessError> {
        let Credentials { principal, ticket, .. } = &*self.credentials;
        let is_covered = ticket.as_ref().is_none_or(|ticket| ticket.room == name);
        let valid_until = match principal {
            _ if !is_covered => return Err(AccessError::Forbidden),
            Principal::Guest { room, .. } if *room == name && action != RoomAction::Invite => None,
            // The team's own backend invites to all rooms, and enters none.
            Principal::ApiKey { .. } if action == RoomAction::Invite && principal.has_scope(INVITATIONS) => None,
            _ => self.permit_user(Some(&name), action).await?,
        };
        Ok(PermittedRoom { name, valid_until })
    }

    /// Checks that the principal may read the configuration of calls: each user and guest may.
    ///
    /// # Errors
    ///
    /// [`AccessError::Forbidden`].
    pub(crate) fn permit_configuration(&self) -> Result<(), AccessError> {
        if matches!(self.credentials.principal, Principal::ApiKey { .. }) { Err(AccessError::Forbidden) } else { Ok(()) }
    }

    /// Checks that the principal may list the meetings of all rooms.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub(crate) async fn permit_meetings(&self) -> Result<(), AccessError> {
        self.permit_user(None, RoomAction::Meetings).await.map(drop)
    }

    /// Returns until when the permission is valid; `None` if that does not end before the token.
    async fn permit_user(&self, room: Option<&RoomName>, action: RoomAction) -> Result<Option<Instant>, AccessError> {
        let Principal::User { id, identity, .. } = &self.credentials.principal else { return Err(AccessError::Forbidden) };
        let identity = identity.as_deref();
        match &self.access {
            RoomAccess::All => Ok(None),
            RoomAccess::Claim => {
                let is_named = room.is_some_and(|room| identity.is_some_and(|identity| identity.rooms.contains(room)));
                is_named.then_some(None).ok_or(AccessError::Forbidden)
            }
            RoomAccess::Webhook(webhook, client) => {
                let request = AccessRequest {
                    subject: id,
                    issuer: identity.map_or(webhook.own_issuer(), |identity| &identity.issuer),
                    room: room.map(RoomName::as_str),
                    action: action.into(),
                    roles: identity.and_then(|identity| identity.roles.as_deref()).unwrap_or_default(),
                };
                // Boxed, because the other modes would copy its large future.
                Box::pin(webhook.ask(client, &request, &self.context)).await.map(Some)
            }
        }
    }
}

/// A room that the principal of a request may enter. Only a [`Requester`] creates it.
///
/// Services take it in place of a name, so that no cache is read without permission.
#[derive(Debug, Clone)]
pub(crate) struct PermittedRoom {
    name: RoomName,
    valid_until: Option<Instant>,
}

impl PermittedRoom {
    /// Returns when a stream must ask again; `None` for never.
    pub(super) fn valid_until(&self) -> Option<Instant> {
        self.valid_until
    }
}

impl Deref for PermittedRoom {
    type Target = RoomName;

    fn deref(&self) -> &RoomName {
        &self.name
    }
}
