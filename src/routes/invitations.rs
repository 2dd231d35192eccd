//! `POST /auth/invitations` and `DELETE /auth/invitations/{id}`: invitations for guests.

use std::ops::RangeInclusive;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Data, Path, ReqData};

use crate::auth::invitation::{Error, Invitation, Invitations};
use crate::auth::principal::Principal;
use crate::auth::room_access::RoomAction;
use crate::extract::json_body::JsonBody;
use crate::middleware::authenticate::reject;
use crate::middleware::authorize::Authorizer;
use crate::request_context::RequestContext;
use crate::response::{ApiError, Success};
use crate::secret;
use crate::telemetry::logging::AUDIT;

/// The bounds of `expiresIn`, in seconds: 30 days at most.
const LIFETIMES: RangeInclusive<u32> = 1..=30 * 24 * 60 * 60;
/// `expiresIn` without one: a day.
const DEFAULT_LIFETIME: u32 = 24 * 60 * 60;
/// The bounds of `uses`.
const USES: RangeInclusive<u32> = 1..=1_000_000;

pub(super) async fn create(
    body: JsonBody,
    context: ReqData<RequestContext>,
    (request, authorizer): (HttpRequest, Authorizer),
    invitations: Data<Invitations>,
) -> Result<Success<Invitation>, ApiError> {
    let room = body.room("room")?;
    let lifetime = body.integer("expiresIn", LIFETIMES)?.unwrap_or(DEFAULT_LIFETIME);
    let uses = body.integer("uses", USES)?;
    let room = authorizer.permit(room, RoomAction::Invite).await?;
    let lifetime = Duration::from_secs(lifetime.into());
    let principal = &authorizer.credentials().principal;
    let invitation = invitations.create(principal, &room, lifetime, uses).await;
    let invitation = invitation.map_err(|error| match error {
        Error::MakerRevoked => reject(&request, "revoked"),
        error => error.into(),
    })?;
    log_event("invitation-created", &invitation.id, principal, &context);
    Ok(Success(invitation))
}

pub(super) async fn revoke(
    id: Path<String>,
    context: ReqData<RequestContext>,
    authorizer: Authorizer,
    invitations: Data<Invitations>,
) -> Result<Success<()>, ApiError> {
    if !secret::is_random_id(&id) {
        return Err(ApiError::bad_request("The id of the invitation is not valid."));
    }
    // The invitation's maker may revoke it, whatever rooms it may enter.
    let principal = &authorizer.credentials().principal;
    // It may have expired, or been revoked before: a client may repeat its request.
    if invitations.revoke(principal, &id).await? {
        log_event("invitation-revoked", &id, principal, &context);
    }
    Ok(Success(()))
}

fn log_event(event: &'static str, invitation: &str, principal: &Principal, context: &RequestContext) {
    let (client, request_id, (user, _)) = (context.client(), context.request_id(), principal.ids());
    let (issuer, api_key, message) = (principal.issuer(), principal.api_key(), event.replace('-', " "));
    log::info!(target: AUDIT, event, invitation, client:%, user, issuer, api_key, request_id; "{message}");
}
