//! `GET /callCatchUp/R/live`: the catch-up now, and each new one as it appears, for whoever keeps a panel open.

use actix_web::{HttpRequest, web};

use super::room_param::RoomParam;
use crate::accounts::Admissions;
use crate::caller::{Admitted, Caller};
use crate::catch_up::CatchUp;
use crate::draining::Draining;
use crate::responders::ApiError;
use crate::responders::event_stream::{EventStream, last_event_id};

pub(super) async fn follow(
    request: HttpRequest,
    (caller, admitted, RoomParam(room)): (Caller, Admitted, RoomParam),
    catch_up: web::Data<CatchUp>,
    (admissions, draining): (web::Data<Admissions>, web::Data<Draining>),
) -> Result<EventStream, ApiError> {
    if !admitted.covers(&room) {
        return Err(ApiError::Forbidden);
    }
    let watching = catch_up.watch(&caller, &room)?;
    let admission = admissions.admit(&caller, admitted.until);
    Ok(EventStream::new(watching, admission, draining.get_ref().clone(), last_event_id(&request)))
}
