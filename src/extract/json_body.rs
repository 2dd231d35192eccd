//! The body of a request: one JSON object of at most 64 KiB, whose members are asked for by name.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::in_flight::{Deadline, InFlightLimit};
use crate::response::ApiError;
use crate::response::connection_state::ConnectionState;
use crate::room::{self, NameComparison, RoomName};
use crate::strict_json::Object;

/// The longest body, in bytes.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// How much of each body does not count against the budget, in bytes, so that a login is never refused for the large bodies of others.
const UNCOUNTED: usize = 1024;
/// How much memory bodies may take beyond that, in bytes.
const BUDGET: usize = 4 << 20;

/// Limits the memory of request bodies, over all workers.
#[derive(Debug)]
pub struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET)))
    }
}

/// The members of a request's body.
pub(crate) struct Body {
    members: Object,
    room_names: NameComparison,
    /// Both kept while the request is in flight.
    _in_flight: Option<OwnedSemaphorePermit>,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Body {
    /// The string called `name`, which must be there and not be empty.
    pub(crate) fn text(&self, name: &'static str) -> Result<&str, ApiError> {
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
    pub(crate) fn line(&self, name: &'static str) -> Result<&str, ApiError> {
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
    pub(crate) fn room(&self, name: &'static str) -> Result<RoomName, ApiError> {
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
        let checked = check_head(request).and_then(|length| Ok((length, super::room::comparison(request)?)));
        let deadline = request.extensions().get::<Deadline>().copied();
        let payload = payload.take();
        // Waiting for a slow client does not count as work.
        drop(request.extensions_mut().remove::<OwnedSemaphorePermit>());
        let connection = request.conn_data::<Rc<ConnectionState>>().cloned();
        let limit = request.app_data::<web::Data<InFlightLimit>>().cloned();
        let budget = request.app_data::<web::Data<BodyBudget>>().cloned();
        Box::pin(async move {
            let (length, room_names) = checked?;
            let reading = read(payload, length, budget.as_ref().map(|budget| &budget.0));
            if let Some(connection) = &connection {
                connection.begin_body();
            }
            let (bytes, memory) = match deadline {
                Some(Deadline(at)) => tokio::time::timeout_at(at.into(), reading).await.unwrap_or(Err(ApiError::TooSlow))?,
                None => reading.await?,
            };
            if let Some(connection) = &connection {
                connection.complete_body();
            }
            let in_flight = limit.map(|limit| limit.acquire()).transpose()?;
            let members = serde_json::from_slice(&bytes)
                .map_err(|_| ApiError::bad_request("The body must be one JSON object with each member once."))?;
            Ok(Self { members, room_names, _in_flight: in_flight, _memory: memory })
        })
    }
}

/// Refuses what can be refused before the body is read, and returns its length; `None` if it comes in chunks.
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

/// Reads a body, with a permit for its memory. It ends by its length: behind `Upgrade: websocket`, actix-web's has no end.
async fn read(
    mut payload: Payload,
    length: Option<usize>,
    budget: Option<&Arc<Semaphore>>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ApiError> {
    let (mut bytes, mut memory) = (Vec::new(), None::<OwnedSemaphorePermit>);
    while length.is_none_or(|length| bytes.len() < length)
        && let Some(chunk) = payload.next().await
    {
        let chunk = chunk.map_err(|_| ApiError::bad_request("The body is not complete."))?;
        let counted = |bytes: usize| bytes.saturating_sub(UNCOUNTED);
        let more = counted(bytes.len() + chunk.len()) - counted(bytes.len());
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(ApiError::PayloadTooLarge);
        }
        if let Some(budget) = budget {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            let permit = Arc::clone(budget).try_acquire_many_owned(more).map_err(|_| ApiError::Overloaded)?;
            match &mut memory {
                Some(memory) => memory.merge(permit),
                None => memory = Some(permit),
            }
        }
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(length.unwrap_or(MAX_BYTES));
    Ok((bytes, memory))
}
