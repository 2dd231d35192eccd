//! Invitations for guests: signed like tickets. The database has the valid ones, and their remaining uses.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;

use super::api_key::INVITATIONS;
use super::principal::Principal;
use super::room_access::PermittedRoom;
use super::token::{InvalidToken, Tokens, integer};
use super::token_parts::non_empty;
use crate::db::{self, Credential, Database};
use crate::room::RoomName;
use crate::secret;

/// The `kind` claim, which no bearer token has.
const KIND: &str = "invitation";

/// Why an invitation is not made, revoked or accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Guests are disabled, the invitation is missing or for another room, or another principal made it.
    #[error("not permitted")]
    Forbidden,
    /// The session or API key of its maker was revoked a moment ago.
    #[error("the session or API key is revoked")]
    MakerRevoked,
    /// Tampered, expired, revoked or used up. The client is not told which.
    #[error("the invitation is not valid")]
    Invalid(#[from] InvalidToken),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Configures invitations.
#[derive(Debug, Clone)]
pub(crate) struct InvitationConfig {
    /// Whether guests need one (`APP_GUESTS__INVITATIONS`).
    pub(crate) is_required: bool,
    /// The origin of their URLs (`APP_SERVER__PUBLIC_URL`); empty for relative URLs.
    pub(crate) public_url: String,
}

/// A new invitation, as its maker gets it. Not `Debug`, so that it can't be logged.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Invitation {
    /// The id, to revoke it by.
    pub(crate) id: String,
    /// The invitation itself, signed.
    #[serde(rename = "invitation")]
    token: String,
    /// The console's page for its guests.
    url: String,
    /// RFC 3339 with milliseconds, as Admin Control writes times.
    expires_at: String,
}

/// Makes, revokes and accepts invitations.
pub(crate) struct Invitations {
    database: Database,
    tokens: Arc<Tokens>,
    config: InvitationConfig,
}

impl Invitations {
    /// Creates the service.
    pub(crate) fn new(database: Database, tokens: Arc<Tokens>, config: InvitationConfig) -> Self {
        Self { database, tokens, config }
    }

    /// Makes an invitation to `room` that lasts for `ttl`, for `uses` guests or any number of them.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`], [`Error::MakerRevoked`], [`Error::Database`].
    pub(crate) async fn create(
        &self,
        principal: &Principal,
        room: &PermittedRoom,
        ttl: Duration,
        uses: Option<u32>,
    ) -> Result<Invitation, Error> {
        let maker = maker_of(principal).filter(|_| self.tokens.are_guests_enabled()).ok_or(Error::Forbidden)?;
        let (id, expires_at) = (secret::random_id(), self.tokens.expiry_after(ttl));
        let (uses, expires_at_ms) = (uses.map(i64::from), expires_at.saturating_mul(1000));
        // Another replica may have revoked the credential since it was verified.
        if !self.database.insert_invitation(id.clone(), maker, uses, expires_at_ms, credential_of(principal)).await? {
            return Err(Error::MakerRevoked);
        }
        let token = self.tokens.sign(KIND, &id, expires_at, json!({ "roomName": room.as_str() }));
        // Browsers send no fragment, so that no log of a server or proxy has the invitation.
        let url = format!("{}/?room={}#invitation={token}", self.config.public_url, room.path_segment());
        let expires_at = UNIX_EPOCH + Duration::from_secs(expires_at.unsigned_abs());
        Ok(Invitation { id, token, url, expires_at: humantime::format_rfc3339_millis(expires_at).to_string() })
    }

    /// Revokes the invitation with this id. Users may revoke their own ones. `false` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`], [`Error::Database`].
    pub(crate) async fn revoke(&self, principal: &Principal, id: &str) -> Result<bool, Error> {
        let maker = maker_of(principal).ok_or(Error::Forbidden)?;
        let is_revoked = self.database.delete_invitation(id.to_owned(), maker).await?;
        if !is_revoked && self.database.has_invitation(id.to_owned()).await? {
            return Err(Error::Forbidden);
        }
        Ok(is_revoked)
    }

    /// Issues a guest token for `room`, which expires with the invitation at the latest.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`], [`Error::Invalid`], [`Error::Database`].
    pub(crate) async fn admit_guest(&self, room: &RoomName, invitation: Option<&str>) -> Result<String, Error> {
        let not_after = match invitation {
            // Before a use is counted.
            _ if !self.tokens.are_guests_enabled() => return Err(Error::Forbidden),
            None if self.config.is_required => return Err(Error::Forbidden),
            None => i64::MAX,
            Some(invitation) => self.accept(room, invitation).await?,
        };
        self.tokens.issue_guest_token(room, not_after).ok_or(Error::Forbidden)
    }

    /// Counts a use of an invitation to `room`; returns when it expires.
    async fn accept(&self, room: &RoomName, invitation: &str) -> Result<i64, Error> {
        let claims = self.tokens.verify_claims(invitation)?;
        let (id, expires_at) = (non_empty(&claims, "sub")?, integer(&claims, "exp")?);
        if claims.text("kind") != Some(KIND) {
            return Err(InvalidToken::Kind.into());
        }
        if self.tokens.room_of(&claims)? != *room {
            return Err(Error::Forbidden);
        }
        if self.database.use_invitation(id.to_string()).await? { Ok(expires_at) } else { Err(InvalidToken::Spent.into()) }
    }
}

/// Returns the maker that `principal` is: empty for an API key, none if it may not invite.
fn maker_of(principal: &Principal) -> Option<String> {
    match principal {
        // A space separates them: no URL of a provider has one.
        Principal::User { id, .. } => Some(format!("{} {id}", principal.issuer().unwrap_or_default())),
        Principal::ApiKey { .. } if principal.has_scope(INVITATIONS) => Some(String::new()),
        Principal::ApiKey { .. } | Principal::Guest { .. } => None,
    }
}

/// Returns what revokes the maker; none for a user of an identity provider.
fn credential_of(principal: &Principal) -> Option<Credential> {
    match principal {
        Principal::ApiKey { hash, .. } => Some(Credential::ApiKey(hash.to_string())),
        _ => principal.session().map(|session| Credential::Session(session.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::principal::Identity;

    #[test]
    fn user_of_another_provider_with_the_same_id_is_another_maker() {
        let of = |issuer: Option<&str>| {
            let identity = issuer.map(|issuer| Identity {
                issuer: issuer.into(),
                key: "k".into(),
                name: None,
                roles: None,
                rooms: vec![],
            });
            maker_of(&Principal::User { id: "u1".into(), session: None, identity: identity.map(Arc::new) })
        };
        let makers = [of(None), of(Some("https://a.example.com")), of(Some("https://b.example.com"))];
        assert_eq!(makers, [" u1", "https://a.example.com u1", "https://b.example.com u1"].map(|maker| Some(maker.into())));
    }
}
