//! Authorises requests for rooms, once their input is valid.

use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};

use super::request_log::RequestLog;
use crate::auth::principal::{Principal, TokenScope};
use crate::auth::room_access::{AccessError, PermittedRoom, RoomAccess, RoomAction};
use crate::request_context::RequestContext;
use crate::response::ApiError;
use crate::room::RoomName;

/// Asks for access to rooms on behalf of the principal of a request.
pub(crate) struct Authorizer {
    access: web::Data<RoomAccess>,
    principal: Principal,
    scope: TokenScope,
    context: RequestContext,
    log: Rc<RequestLog>,
}

impl Authorizer {
    /// Checks that the principal may enter `room` for `action`.
    pub(crate) async fn permit(&self, room: RoomName, action: RoomAction) -> Result<PermittedRoom, ApiError> {
        let permission = self.access.permit(&self.principal, &self.scope, room, action, &self.context).await;
        permission.map_err(|error| self.reject(error))
    }

    /// Checks that the principal may list the meetings of all rooms.
    pub(crate) async fn permit_meetings(&self) -> Result<(), ApiError> {
        self.access.permit_meetings(&self.principal, &self.context).await.map_err(|error| self.reject(error))
    }

    fn reject(&self, error: AccessError) -> ApiError {
        self.log.rejection.set(Some("room not permitted"));
        error.into()
    }

    fn of(request: &HttpRequest) -> Option<Self> {
        let (access, extensions) = (request.app_data::<web::Data<RoomAccess>>()?.clone(), request.extensions());
        Some(Self {
            access,
            principal: extensions.get::<Principal>()?.clone(),
            scope: extensions.get::<TokenScope>()?.clone(),
            context: extensions.get::<RequestContext>()?.clone(),
            log: extensions.get::<Rc<RequestLog>>()?.clone(),
        })
    }
}

impl FromRequest for Authorizer {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).ok_or(ApiError::Internal))
    }
}
