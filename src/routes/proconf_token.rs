//! `POST /proconfToken`: the token to join a call with, issued by Admin Control.

use actix_web::web::{Data, ReqData};
use serde_json::value::RawValue;

use crate::accounts::display_name::DisplayNames;
use crate::admin_control::{AdminControl, TokenRequest};
use crate::auth::principal::AllowedRoles;
use crate::auth::room_access::RoomAction;
use crate::extract::json_body::JsonBody;
use crate::middleware::authorize::Authorizer;
use crate::request_context::RequestContext;
use crate::response::{ApiError, Success};

pub(super) async fn create(
    authorizer: Authorizer,
    body: JsonBody,
    (roles, names): (Data<AllowedRoles>, Data<DisplayNames>),
    context: ReqData<RequestContext>,
    admin_control: Data<AdminControl>,
) -> Result<Success<Box<RawValue>>, ApiError> {
    let (role, room) = (body.line("role")?, body.room("room")?);
    let participant_name = body.line("participantName")?;
    let room = authorizer.permit(room, RoomAction::Join).await?;
    let principal = &authorizer.credentials().principal;
    if !roles.contains(principal, role) {
        return Err(ApiError::Forbidden);
    }
    let participant_name = names.resolve(principal, participant_name).await?;
    let request = TokenRequest { role, room: room.as_str(), participant_name: &participant_name };
    Ok(Success(admin_control.with_context(&context).proconf_token(&request).await?))
}
