//! Authorises requests for rooms, once their input is valid.

use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

use super::request_log::RequestLog;
use crate::auth::principal::Credentials;
use crate::auth::room_access::{AccessError, PermittedRoom, Requester, RoomAccess, RoomAction};
use crate::response::ApiError;
use crate::room::RoomName;

/// Asks for access to rooms on behalf of the principal of a request. The log says what is refused.
pub(crate) struct Authorizer {
    requester: Requester,
    log: Rc<RequestLog>,
}

impl Authorizer {
    /// Checks that the principal may enter `room` for `action`.
    pub(crate) async fn permit(&self, room: RoomName, action: RoomAction) -> Result<PermittedRoom, ApiError> {
        self.requester.permit(room, action).await.map_err(|error| self.reject(error))
    }

    /// Checks that the principal may read the configuration of calls.
    pub(crate) fn permit_configuration(&self) -> Result<(), ApiError> {
        self.requester.permit_configuration().map_err(|error| self.reject(error))
    }

    /// Checks that the principal may list the meetings of all rooms.
    pub(crate) async fn permit_meetings(&self) -> Result<(), ApiError> {
        self.requester.permit_meetings().await.map_err(|error| self.reject(error))
    }

    /// Returns the credentials of the request.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.requester.credentials
    }

    /// Returns what asks again while a stream is open.
    pub(crate) fn into_requester(self) -> Requester {
        self.requester
    }

    fn reject(&self, error: AccessError) -> ApiError {
        self.log.rejection.set(Some("room not permitted"));
        error.into()
    }

    fn of(request: &HttpRequest) -> Option<Self> {
        let log = RequestLog::of(request)?;
        let requester = Requester {
            access: RoomAccess::clone(request.app_data::<web::Data<RoomAccess>>()?),
            credentials: log.credentials()?.clone(),
            context: log.context().clone(),
        };
        Some(Self { requester, log })
    }
}

impl FromRequest for Authorizer {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).ok_or(ApiError::Internal))
    }
}
