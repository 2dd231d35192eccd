//! Request bodies: one JSON object of at most 64 KiB.

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::app_data;
use super::in_flight::{self, InFlightLimit};
use crate::accounts::display_name;
use crate::request_context::connection_state::ConnectionState;
use crate::response::ApiError;
use crate::room::{self, NameComparison, RoomName};
use crate::strict_json::Object;

/// The maximum length of a body, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// The bytes of each body that need no budget.
///
/// Large bodies must never cause a login to be rejected.
const UNCOUNTED: usize = 1024;
/// The memory of all bodies beyond that, in bytes.
const BUDGET: usize = 4 << 20;

/// Limits the memory of request bodies, over all workers.
pub(crate) struct BodyBudget(Arc<Semaphore>);

impl BodyBudget {
    fn acquire(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.0).try_acquire_many_owned(permits).map_err(|_| ApiError::Overloaded)
    }
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET)))
    }
}

/// The JSON object in a request's body.
pub(crate) struct JsonBody {
    members: Object,
    room_names: NameComparison,
    _in_flight: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

impl JsonBody {
    async fn read(request: &HttpRequest, payload: Payload) -> Result<Self, ApiError> {
        let (length, room_names) = (check_head(request)?, *app_data::<NameComparison>(request)?);
        let connection = request.conn_data::<Rc<ConnectionState>>().ok_or(ApiError::Internal)?;
        let deadline = in_flight::deadline(request)?;
        connection.begin_body();
        let reading = read_bytes(payload, length, app_data(request)?);
        let (bytes, memory) = timeout_at(deadline.into(), reading).await.unwrap_or(Err(ApiError::RequestTimeout))?;
        connection.complete_body();
        let in_flight = app_data::<InFlightLimit>(request)?.acquire()?;
        let members = serde_json::from_slice(&bytes)
            .map_err(|_| ApiError::bad_request("The body must be one JSON object with each member once."))?;
        Ok(Self { members, room_names, _in_flight: in_flight, _memory: memory })
    }

    /// Returns the string `name`; `None` if it is absent or `null`.
    fn string(&self, name: &'static str) -> Result<Option<&str>, ApiError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be a string."))),
        }
    }

    /// Returns the string `name`, which is required and not empty.
    pub(crate) fn text(&self, name: &'static str) -> Result<&str, ApiError> {
        match self.string(name)? {
            None => Err(ApiError::bad_request(format!("{name} is required."))),
            Some("") => Err(ApiError::bad_request(format!("{name} must not be empty."))),
            Some(text) => Ok(text),
        }
    }

    /// Returns the string `name`, which is required and one line.
    ///
    /// It is not blank, and no longer than the name of a room.
    pub(crate) fn line(&self, name: &'static str) -> Result<&str, ApiError> {
        let (text, limit) = (self.text(name)?, room::MAX_BYTES);
        if text.trim().is_empty() {
            return Err(ApiError::bad_request(format!("{name} must not be blank.")));
        }
        if text.len() > limit || text.contains(display_name::is_forbidden) {
            return Err(ApiError::bad_request(format!("{name} must be at most {limit} bytes, without control characters.")));
        }
        Ok(text)
    }

    /// Returns the whole number `name`; `None` if it is absent or `null`.
    pub(crate) fn integer(&self, name: &'static str, bounds: RangeInclusive<u32>) -> Result<Option<u32>, ApiError> {
        if matches!(self.members.get(name), None | Some(Value::Null)) {
            return Ok(None);
        }
        let number = self.members.integer(name).and_then(|number| u32::try_from(number).ok());
        let (min, max) = (bounds.start(), bounds.end());
        let problem = || ApiError::bad_request(format!("{name} must be a whole number from {min} to {max}."));
        number.filter(|number| bounds.contains(number)).map(Some).ok_or_else(problem)
    }

    /// Returns the room `name`. JSON has no percent-encoding: the string is the room's name.
    pub(crate) fn room(&self, name: &'static str) -> Result<RoomName, ApiError> {
        let room = self.string(name)?.ok_or(ApiError::RoomRequired)?;
        Ok(self.room_names.parse(room)?)
    }
}

impl FromRequest for JsonBody {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        // A request that waits for its client is not in flight.
        drop(request.extensions_mut().remove::<OwnedSemaphorePermit>());
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { Self::read(&request, payload).await })
    }
}

/// Validates the headers, and returns the body's length; `None` if it is chunked.
fn check_head(request: &HttpRequest) -> Result<Option<usize>, ApiError> {
    let mut types = request.headers().get_all(CONTENT_TYPE);
    let is_json = |value: &str| value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    let json = types.next().and_then(|value| value.to_str().ok()).is_some_and(is_json);
    if !json || types.next().is_some() {
        return Err(ApiError::bad_request("Content-Type must be application/json."));
    }
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.map(str::parse::<usize>) {
        Some(Ok(length)) if length <= MAX_BYTES => Ok(Some(length)),
        Some(_) => Err(ApiError::PayloadTooLarge),
        None => Ok((!request.headers().contains_key(TRANSFER_ENCODING)).then_some(0)),
    }
}

/// Reads a body, with a permit for its memory.
///
/// Stops at its length, because actix-web's payload has no end after `Upgrade: websocket`.
async fn read_bytes(
    mut payload: Payload,
    length: Option<usize>,
    budget: &BodyBudget,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), ApiError> {
    let (mut bytes, mut memory) = (Vec::new(), budget.acquire(0)?);
    while length.is_none_or(|length| bytes.len() < length)
        && let Some(chunk) = payload.next().await
    {
        let chunk = chunk.map_err(|_| ApiError::bad_request("The body is not complete."))?;
        let (before, after) = (bytes.len(), bytes.len() + chunk.len());
        if after > MAX_BYTES {
            return Err(ApiError::PayloadTooLarge);
        }
        memory.merge(budget.acquire(after.saturating_sub(UNCOUNTED) - before.saturating_sub(UNCOUNTED))?);
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(length.unwrap_or(MAX_BYTES));
    Ok((bytes, memory))
}
