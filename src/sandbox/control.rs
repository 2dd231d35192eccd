//! `/sandbox/…`: sets the replies of a running sandbox, and shows its requests. `docs/QA.md` documents it.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::record::Asked;
use super::reply::{Content, Reply};
use super::script::{ENDPOINTS, Key, MAX_REPLIES, Script, Takes, key};
use crate::middleware::loopback_host::{is_local, is_own_origin};

/// The path of the interface, beside Admin Control's own `/api`.
pub(super) const PATH: &str = "/sandbox";
/// The longest body, in bytes: more than the 4 MiB that an app server takes by default, so that this can be tried.
pub(super) const MAX_BODY: usize = 8 * 1024 * 1024;

/// A reply as it is set over HTTP. What is left out is as usual.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyRequest<'a> {
    status: Option<u16>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    body: Option<String>,
    delay: Option<String>,
    #[serde(default)]
    silence: bool,
    #[serde(default)]
    cut: bool,
    times: Option<u64>,
}

/// `null` is data too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A status and a message.
type Failure = (u16, String);

/// Returns a status and a body, in Admin Control's own envelope. Without `body`, it was too large.
pub(super) fn answer(script: &Script, method: &str, target: &str, body: Option<&[u8]>) -> (u16, String) {
    let path = target.split('?').next().unwrap_or_default();
    let outcome = match (body, path.strip_prefix(PATH)) {
        (None, _) => Err((413, format!("A reply of at most {} MiB is taken.", MAX_BODY / 1024 / 1024))),
        (Some(body), Some(path)) => run(script, method, &path.split('/').collect::<Vec<_>>(), body),
        (Some(_), None) => Err(not_found()),
    };
    match outcome {
        Ok(data) => (200, json!({"error": null, "data": data}).to_string()),
        Err(failure) => failed(failure),
    }
}

fn run(script: &Script, method: &str, path: &[&str], body: &[u8]) -> Result<Value, Failure> {
    match (method, path) {
        ("GET", [""] | ["", ""]) => return Ok(about()),
        ("GET", ["", "replies"]) => return Ok(script.replies().iter().map(show_reply).collect()),
        ("GET", ["", "asked"]) => {
            let asked: Vec<Value> = script.asked().iter().map(show_request).collect();
            return Ok(json!({"total": script.total(), "asked": asked}));
        }
        ("DELETE", ["", "replies"]) => script.clear(),
        ("DELETE", ["", "asked"]) => script.clear_record(),
        ("DELETE", ["", "replies", reply @ ..]) if !script.remove(&parse_key(reply)?) => {
            return Err((404, "No reply is set there.".to_owned()));
        }
        ("DELETE", ["", "replies", ..]) => {}
        ("PUT", ["", "replies", reply @ ..]) => {
            let key = parse_key(reply)?;
            let request: ReplyRequest<'_> =
                serde_json::from_slice(body).map_err(|error| bad(format!("Not a reply: {error}.")))?;
            if !script.try_set(key, request.into_reply()?) {
                let limit = MAX_REPLIES / 1024 / 1024;
                return Err((507, format!("All replies together may take {limit} MiB: DELETE some.")));
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
    let Some((_, takes)) = ENDPOINTS.iter().find(|(name, _)| *name == endpoint) else {
        return Err((404, format!("The endpoints are {}.", names().join(", "))));
    };
    let room = percent_decode_str(room).decode_utf8().map_err(|_| bad("The room is not UTF-8."))?;
    if !room.is_empty() && *takes != Takes::Room {
        return Err(bad(format!("{endpoint} has no room.")));
    }
    Ok(key(endpoint, Some(&*room).filter(|room| !room.is_empty())))
}

/// Refuses a request that a web page may have sent: to a name that is not local, or from a foreign origin.
pub(super) fn refusal<'a>(
    hosts: impl Iterator<Item = &'a str>,
    mut origins: impl Iterator<Item = &'a str>,
    listen: IpAddr,
) -> Option<(u16, String)> {
    let hosts: Vec<&str> = hosts.collect();
    let host = hosts.first().filter(|_| hosts.iter().all(|host| is_local(host, listen)));
    let Some(host) = host else {
        return Some(failed((
            421,
            "Host must be localhost, a loopback address, or the address that the sandbox listens on.".into(),
        )));
    };
    let foreign = origins.any(|origin| !is_own_origin(origin, host, listen));
    foreign.then(|| failed((403, "A page of another origin may not change or read the sandbox.".into())))
}

fn failed((code, message): Failure) -> (u16, String) {
    (code, json!({"data": null, "error": {"code": code, "message": message}}).to_string())
}

fn not_found() -> Failure {
    (404, format!("Not found. See GET {PATH}."))
}

fn bad(message: impl Into<String>) -> Failure {
    (400, message.into())
}

fn names() -> Vec<&'static str> {
    ENDPOINTS.iter().map(|(name, _)| *name).collect()
}

/// In short; `docs/QA.md` explains it.
fn about() -> Value {
    json!({
        "endpoints": names(),
        "routes": [
            "GET /sandbox/replies: what is set",
            "PUT /sandbox/replies/{endpoint}/{room}, or /sandbox/replies/{endpoint} for every room: sets a reply",
            "DELETE /sandbox/replies/{endpoint}/{room}, /sandbox/replies/{endpoint}, or /sandbox/replies for all: as usual again",
            "GET /sandbox/asked: what was asked, and how often; DELETE forgets it",
        ],
        "reply": "an object of data, status, body, delay, silence, cut, times",
    })
}

fn show_reply(((endpoint, room), reply): (&Key, &Reply)) -> Value {
    let (status, body) = match &reply.content {
        Content::Body(status, body) => (Some(status), Some(body)),
        Content::Silence | Content::Usual => (None, None),
    };
    json!({
        "endpoint": endpoint, "room": room, "status": status, "body": body, "times": reply.times, "cut": reply.cut,
        "delay": humantime::format_duration(reply.delay).to_string(),
        "silence": matches!(reply.content, Content::Silence),
    })
}

impl ReplyRequest<'_> {
    fn into_reply(self) -> Result<Reply, Failure> {
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return Err(bad("status must be from 200 to 599."));
        }
        if self.times == Some(0) {
            return Err(bad("times must be 1 or more."));
        }
        let delay = humantime::parse_duration(self.delay.as_deref().unwrap_or("0s"))
            .map_err(|_| bad("delay must be a duration, as in \"2s\" or \"250ms\"."))?;
        let reply = match (self.silence, self.data, self.body, self.status) {
            (true, None, None, None) if !self.cut => Reply::silence(),
            (true, ..) => return Err(bad("silence goes with delay and times only.")),
            (false, Some(_), Some(_), _) => return Err(bad("data or body, not both.")),
            (false, Some(data), None, status) => {
                Reply::body(status.unwrap_or(200), &format!(r#"{{"error":null,"data":{}}}"#, data.get()))
            }
            (false, None, Some(body), status) => Reply::body(status.unwrap_or(200), &body),
            (false, None, None, Some(status @ 400..)) => {
                Reply::body(status, &failed((status, "As the sandbox was told.".to_owned())).1)
            }
            (false, None, None, Some(_)) => return Err(bad("a status below 400 needs data or body.")),
            (false, None, None, None) => Reply::usual(),
        };
        Ok(Reply { delay, cut: self.cut, times: self.times, ..reply })
    }
}

fn show_request(asked: &Asked) -> Value {
    let header = |(name, value): &(String, String)| {
        let value = if name == "authorization" { "[redacted]" } else { value };
        (name.clone(), Value::from(value))
    };
    json!({
        "seconds": asked.after.as_secs_f64(),
        "method": asked.method,
        "target": asked.target,
        "headers": asked.headers.iter().map(header).collect::<serde_json::Map<_, _>>(),
        "body": String::from_utf8_lossy(&asked.body),
    })
}
