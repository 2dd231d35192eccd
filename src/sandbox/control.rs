//! The HTTP interface under `/sandbox`: sets replies and lists requests. `docs/QA.md` documents it.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::record::RecordedRequest;
use super::reply::Reply;
use super::room_access::AllowList;
use super::script::{Key, MAX_REPLIES, OTHER_ENDPOINTS, ROOM_ACCESS, ROOM_ENDPOINTS, Script};

/// The path of the interface, beside Admin Control's own `/api`.
pub(super) const PATH: &str = "/sandbox";
/// Maximum size of a body, in bytes. More than the 4 MiB that an app server accepts by default, to test that limit.
pub(super) const MAX_BODY: usize = 8 * 1024 * 1024;
/// Maximum size of an allow list, in bytes of JSON. In memory, it takes up to twenty times as much.
const MAX_ALLOW_LIST: usize = 1024 * 1024;

/// A reply as it is set over HTTP.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyRequest<'a> {
    status: Option<u16>,
    #[serde(borrow, default, deserialize_with = "deserialize_present")]
    data: Option<&'a RawValue>,
    body: Option<String>,
    delay: Option<String>,
    #[serde(default)]
    hang: bool,
    #[serde(default)]
    truncate: bool,
    times: Option<u64>,
}

/// Takes `null` for a value of the type, not for an absent one.
pub(super) fn deserialize_present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A status and a message.
type Failure = (u16, String);

/// Handles a request. Without `body`, it was too large.
pub(super) fn handle(script: &Script, method: &str, target: &str, body: Option<&[u8]>) -> (u16, String) {
    let path = target.split('?').next().unwrap_or_default();
    let outcome = match (body, path.strip_prefix(PATH)) {
        (None, _) => Err((413, format!("A reply may have at most {} MiB.", MAX_BODY >> 20))),
        (Some(body), Some(path)) => run(script, method, &path.split('/').collect::<Vec<_>>(), body),
        (Some(_), None) => Err(not_found()),
    };
    match outcome {
        Ok(data) => (200, json!({"error": null, "data": data}).to_string()),
        Err(failure) => error_envelope(failure),
    }
}

fn run(script: &Script, method: &str, path: &[&str], body: &[u8]) -> Result<Value, Failure> {
    match (method, path) {
        ("GET", [""] | ["", ""]) => return Ok(describe_interface()),
        ("GET", ["", "replies"]) => return Ok(script.lock().replies.iter().map(show_reply).collect()),
        ("GET", ["", "requests"]) => {
            let record = &script.lock().record;
            let requests: Vec<Value> = record.requests.iter().map(show_request).collect();
            return Ok(json!({"total": record.total, "requests": requests}));
        }
        ("GET", ["", ROOM_ACCESS]) => return Ok(json!(script.lock().allow_list)),
        ("DELETE", ["", ROOM_ACCESS]) => script.lock().allow_list = AllowList::default(),
        ("PUT", ["", ROOM_ACCESS]) if body.len() > MAX_ALLOW_LIST => {
            return Err((413, format!("An allow list may have at most {} MiB.", MAX_ALLOW_LIST >> 20)));
        }
        ("PUT", ["", ROOM_ACCESS]) => {
            let list = serde_json::from_slice(body).map_err(|error| bad_request(format!("Not an allow list: {error}.")))?;
            script.lock().allow_list = list;
        }
        ("DELETE", ["", "replies"]) => script.lock().replies.clear(),
        ("DELETE", ["", "requests"]) => script.lock().record.clear(),
        ("DELETE", ["", "replies", reply @ ..]) => {
            let removed = script.lock().replies.remove(&parse_key(reply)?);
            removed.ok_or_else(|| (404, "No reply is set there.".to_owned()))?;
        }
        ("PUT", ["", "replies", reply @ ..]) => {
            let key = parse_key(reply)?;
            let request: ReplyRequest<'_> =
                serde_json::from_slice(body).map_err(|error| bad_request(format!("Not a reply: {error}.")))?;
            if !script.lock().try_set(key, request.into_reply()?) {
                return Err((507, format!("All replies together may take {} MiB: DELETE some.", MAX_REPLIES >> 20)));
            }
        }
        _ => return Err(not_found()),
    }
    Ok(Value::Null)
}

/// Parses `{endpoint}` or `{endpoint}/{room}`.
fn parse_key(path: &[&str]) -> Result<Key, Failure> {
    let (endpoint, room) = match path {
        [endpoint] => (*endpoint, ""),
        [endpoint, room] => (*endpoint, *room),
        _ => return Err(not_found()),
    };
    if !endpoints().contains(&endpoint) {
        return Err((404, format!("The endpoints are {}.", endpoints().join(", "))));
    }
    let room = percent_decode_str(room).decode_utf8().map_err(|_| bad_request("The room is not UTF-8."))?;
    if !room.is_empty() && OTHER_ENDPOINTS.contains(&endpoint) {
        return Err(bad_request(format!("{endpoint} has no room.")));
    }
    Ok((endpoint.to_owned(), room.into_owned()))
}

pub(super) fn error_envelope((code, message): Failure) -> (u16, String) {
    (code, json!({"data": null, "error": {"code": code, "message": message}}).to_string())
}

fn not_found() -> Failure {
    (404, format!("Not found. See GET {PATH}."))
}

fn bad_request(message: impl Into<String>) -> Failure {
    (400, message.into())
}

fn endpoints() -> Vec<&'static str> {
    [&ROOM_ENDPOINTS, OTHER_ENDPOINTS.as_slice(), &[ROOM_ACCESS]].concat()
}

/// Describes the interface briefly.
fn describe_interface() -> Value {
    json!({
        "endpoints": endpoints(),
        "routes": [
            "GET /sandbox/replies: lists the replies that are set",
            "PUT /sandbox/replies/{endpoint}/{room}, or /sandbox/replies/{endpoint} for all rooms: sets a reply",
            "DELETE of one of these, or of /sandbox/replies: restores the default",
            "PUT /sandbox/room-access: sets the allow list of the webhook; GET shows it, DELETE restores the default",
            "GET /sandbox/requests: lists the requests; DELETE clears the list",
        ],
        "reply": "an object of data, status, body, delay, hang, truncate, times",
    })
}

fn show_reply(((endpoint, room), reply): (&Key, &Reply)) -> Value {
    let Reply { status, body, delay, hang, truncate, times } = reply;
    let (room, delay) = (Some(room).filter(|room| !room.is_empty()), humantime::format_duration(*delay).to_string());
    json!({"endpoint": endpoint, "room": room, "status": status, "body": body, "delay": delay, "hang": hang,
        "truncate": truncate, "times": times})
}

impl ReplyRequest<'_> {
    fn into_reply(self) -> Result<Reply, Failure> {
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return Err(bad_request("status must be from 200 to 599."));
        }
        if self.times == Some(0) {
            return Err(bad_request("times must be 1 or more."));
        }
        let delay = humantime::parse_duration(self.delay.as_deref().unwrap_or("0s"))
            .map_err(|_| bad_request("delay must be a duration, as in \"2s\" or \"250ms\"."))?;
        if self.hang && (self.truncate || self.data.is_some() || self.body.is_some() || self.status.is_some()) {
            return Err(bad_request("hang goes with delay and times only."));
        }
        let reply = match (self.data, self.body, self.status) {
            (Some(_), Some(_), _) => return Err(bad_request("data or body, not both.")),
            (Some(data), None, status) => Reply { status: status.or(Some(200)), ..Reply::data(data.get()) },
            (None, Some(body), status) => Reply::body(status.unwrap_or(200), &body),
            (None, None, Some(status @ 400..)) => {
                Reply::body(status, &error_envelope((status, "This reply was set in the sandbox.".to_owned())).1)
            }
            (None, None, Some(_)) => return Err(bad_request("a status below 400 needs data or body.")),
            (None, None, None) => Reply::default(),
        };
        Ok(Reply { delay, hang: self.hang, truncate: self.truncate, times: self.times, ..reply })
    }
}

fn show_request(request: &RecordedRequest) -> Value {
    let header = |(name, value): &(String, String)| {
        let value = if name == "authorization" { "[redacted]" } else { value };
        (name.clone(), Value::from(value))
    };
    json!({
        "seconds": request.received_after.as_secs_f64(),
        "method": request.method,
        "target": request.target,
        "headers": request.headers.iter().map(header).collect::<serde_json::Map<_, _>>(),
        "body": String::from_utf8_lossy(&request.body),
    })
}
