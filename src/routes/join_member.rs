//! `GET /auth/joinmember`: issues a guest token for one room.

use actix_web::HttpRequest;
use actix_web::web::Data;

use crate::auth::invitation::{Error, Invitations};
use crate::extract::room::{RoomParam, invitation_of};
use crate::middleware::authenticate::reject;
use crate::response::{ApiError, Success};

pub(super) async fn create(
    RoomParam(room): RoomParam,
    request: HttpRequest,
    invitations: Data<Invitations>,
) -> Result<Success<String>, ApiError> {
    let invitation = invitation_of(request.query_string())?;
    invitations.admit_guest(&room, invitation.as_deref()).await.map(Success).map_err(|error| match error {
        Error::Invalid(_) => reject(&request, "invitation not valid"),
        error => error.into(),
    })
}
