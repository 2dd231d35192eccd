//! The body of a request: one JSON object of at most 64 KiB, whose members are asked for by name.

use std::future::{Future, pending};
use std::pin::{Pin, pin};

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};

use super::room_param;
use crate::bodies::{Bodies, Held};
use crate::connection::{Announcement, Invitation};
use crate::json::Object;
use crate::middleware::admission::{InFlight, Permit};
use crate::middleware::error_envelope::Deadline;
use crate::responders::ApiError;
use crate::room::{self, NameComparison, RoomName};

/// The longest body, in bytes.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// The members of a request's body.
pub(super) struct Body {
    members: Object,
    room_names: NameComparison,
    /// Both kept while the request is worked on.
    _permit: Option<Permit>,
    _held: Option<Held>,
}

impl Body {
    /// The string called `name`, which must be there and not be empty.
    pub(super) fn text(&self, name: &'static str) -> Result<&str, ApiError> {
        match self.members.get(name) {
            None | Some(serde_json::Value::Null) => Err(ApiError::bad_request(format!("{name} is required."))),
            Some(serde_json::Value::String(text)) if text.is_empty() => {
                Err(ApiError::bad_request(format!("{name} must not be empty.")))
            }
            Some(serde_json::Value::String(text)) => Ok(text),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be a string."))),
        }
    }

    /// The string called `name`, as something that people read: not blank, of one line, and no longer than a room's name.
    pub(super) fn line(&self, name: &'static str) -> Result<&str, ApiError> {
        let text = self.text(name)?;
        if text.trim().is_empty() {
            return Err(ApiError::bad_request(format!("{name} must not be blank.")));
        }
        if text.len() > room::MAX_BYTES || text.contains(char::is_control) {
            let limit = room::MAX_BYTES;
            return Err(ApiError::bad_request(format!("{name} must be at most {limit} bytes, without control characters.")));
        }
        Ok(text)
    }

    /// The room called `name`. JSON has no percent-encoding: the string is the name.
    pub(super) fn room(&self, name: &'static str) -> Result<RoomName, ApiError> {
        match self.members.get(name) {
            None | Some(serde_json::Value::Null) => Err(ApiError::RoomRequired),
            Some(serde_json::Value::String(room)) => Ok(self.room_names.parse(room)?),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be a string."))),
        }
    }
}

impl FromRequest for Body {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let checked = check_head(request).and_then(|()| room_param::comparison(request));
        let deadline = request.extensions().get::<Deadline>().copied();
        let payload = payload.take();
        // While its client takes its time, a request is not being worked on, and keeps nobody else out.
        drop(request.extensions_mut().remove::<Permit>());
        let announcement = request.conn_data::<Announcement>().cloned();
        let in_flight = request.app_data::<web::Data<InFlight>>().cloned();
        let mut held = request.app_data::<web::Data<Bodies>>().map(|bodies| bodies.clone().into_inner().hold());
        if checked.is_ok()
            && let Some(invitation) = request.conn_data::<Invitation>()
        {
            invitation.send();
        }
        Box::pin(async move {
            let room_names = checked?;
            let reading = read_unless_announced(announcement, payload, held.as_mut());
            let bytes = match deadline {
                Some(Deadline(at)) => tokio::time::timeout_at(at.into(), reading).await.unwrap_or(Err(ApiError::TooSlow))?,
                None => reading.await?,
            };
            let permit = match in_flight {
                Some(in_flight) => Some(in_flight.into_inner().admit().ok_or(ApiError::Overloaded)?),
                None => None,
            };
            let members = serde_json::from_slice(&bytes)
                .map_err(|_| ApiError::bad_request("The body must be one JSON object with each member once."))?;
            Ok(Self { members, room_names, _permit: permit, _held: held })
        })
    }
}

/// What can be refused before a byte of the body is read.
fn check_head(request: &HttpRequest) -> Result<(), ApiError> {
    let mut types = request.headers().get_all(CONTENT_TYPE);
    let is_json = |value: &str| value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    let json = types.next().and_then(|value| value.to_str().ok()).is_some_and(is_json);
    if !json || types.next().is_some() {
        return Err(ApiError::bad_request("Content-Type must be application/json."));
    }
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.map(str::parse::<usize>) {
        Some(Ok(length)) if length <= MAX_BYTES => Ok(()),
        Some(_) => Err(ApiError::PayloadTooLarge),
        None => Ok(()),
    }
}

/// Reads it; a chunk that will be too much is not waited for.
async fn read_unless_announced(
    announcement: Option<Announcement>,
    payload: Payload,
    held: Option<&mut Held>,
) -> Result<Vec<u8>, ApiError> {
    let too_large = async {
        match announcement {
            Some(announcement) => announcement.exceeds(MAX_BYTES as u64).await,
            None => pending().await,
        }
    };
    match select(pin!(read(payload, held)), pin!(too_large)).await {
        Either::Left((read, _)) => read,
        Either::Right(_) => Err(ApiError::PayloadTooLarge),
    }
}

async fn read(mut payload: Payload, mut held: Option<&mut Held>) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| ApiError::bad_request("The body is not complete."))?;
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(ApiError::PayloadTooLarge);
        }
        if held.as_mut().is_some_and(|held| !held.take(chunk.len())) {
            return Err(ApiError::Overloaded);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
