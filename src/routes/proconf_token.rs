//! `POST /proconfToken`: the token to join a call with, issued by Admin Control for a role that the caller may have.

use actix_web::web;
use serde_json::value::RawValue;

use crate::admin_control::{AdminControl, TokenRequest};
use crate::auth::principal::{AllowedRoles, Principal};
use crate::extract::json_body::Body;
use crate::request_context::RequestContext;
use crate::response::{ApiError, Success};

pub(super) async fn create(
    caller: Principal,
    body: Body,
    roles: web::Data<AllowedRoles>,
    asker: RequestContext,
    admin_control: web::Data<AdminControl>,
) -> Result<Success<Box<RawValue>>, ApiError> {
    let (role, room) = (body.line("role")?, body.room("room")?);
    let participant_name = body.line("participantName")?;
    if !caller.may_enter(&room) || !roles.contains(&caller, role) {
        return Err(ApiError::Forbidden);
    }
    let wanted = TokenRequest { role, room: room.as_str(), participant_name };
    Ok(Success(admin_control.with_context(&asker).proconf_token(&wanted).await?))
}
