//! Stream tickets: signed like tokens, each for one event stream.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::principal::{Credentials, Identity, Principal, StreamTicket};
use super::token::{InvalidToken, Tokens, integer};
use super::token_parts::non_empty;
use crate::room::RoomName;
use crate::strict_json::Object;

/// The lifetime of a stream ticket: long enough to open a connection.
const TICKET_TTL: Duration = Duration::from_secs(30);

impl Tokens {
    /// Issues a ticket for one stream of `room`; `None` for an API key.
    ///
    /// The stream ends at `stream_end`, in seconds since 1970-01-01 UTC.
    pub(crate) fn issue_stream_ticket(&self, principal: &Principal, room: &RoomName, stream_end: i64) -> Option<String> {
        let expires_at = self.expiry_after(TICKET_TTL).min(stream_end);
        let room = room.as_str();
        let ticket = match principal {
            Principal::User { id, identity: Some(identity), .. } => {
                let Identity { issuer, key, name, roles, rooms: _ } = &**identity;
                let specific = json!({
                    "issuer": **issuer, "key": **key, "name": name.as_deref(), "roles": roles, "roomName": room, "until": stream_end,
                });
                self.sign("identity-ticket", id, expires_at, specific)
            }
            Principal::User { id, session, identity: None } => {
                let specific = json!({ "sid": session.as_deref(), "roomName": room, "until": stream_end });
                self.sign("user-ticket", id, expires_at, specific)
            }
            Principal::Guest { id, .. } => {
                self.sign("guest-ticket", id, expires_at, json!({ "roomName": room, "until": stream_end }))
            }
            Principal::ApiKey { .. } => return None,
        };
        Some(ticket)
    }

    /// Verifies a stream ticket; returns its credentials. Redeeming it is the caller's task.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`].
    pub(crate) fn verify_stream_ticket(&self, ticket: &str) -> Result<Credentials, InvalidToken> {
        let claims = self.verify_claims(ticket)?;
        let (id, room) = (non_empty(&claims, "sub")?, self.room_of(&claims)?);
        let principal = match claims.text("kind") {
            Some("user-ticket") => Principal::User { id, session: Some(non_empty(&claims, "sid")?), identity: None },
            Some("identity-ticket") => {
                let identity = identity_of(&claims, room.clone()).ok_or(InvalidToken::Claim)?;
                Principal::User { id, session: None, identity: Some(identity.into()) }
            }
            Some("guest-ticket") if self.are_guests_enabled() => Principal::Guest { id, room: room.clone() },
            _ => return Err(InvalidToken::Kind),
        };
        let id = non_empty(&claims, "jti")?.to_string();
        let ticket = StreamTicket { id, room, expires_at: integer(&claims, "exp")? };
        self.check_key_of(&principal)?;
        Ok(Credentials { principal, expires_at: integer(&claims, "until")?, ticket: Some(Box::new(ticket)) })
    }
}

/// Reads the identity in a stream ticket. Of the rooms, a ticket has only its own.
fn identity_of(claims: &Object, room: RoomName) -> Option<Identity> {
    let roles = claims.get("roles").and_then(Value::as_array);
    Some(Identity {
        issuer: claims.text("issuer")?.into(),
        key: claims.text("key")?.into(),
        name: claims.text("name").map(Arc::from),
        roles: roles.map(|roles| roles.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        rooms: vec![room],
    })
}
