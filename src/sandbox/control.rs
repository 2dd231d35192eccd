//! `/sandbox/…`: what a sandbox answers, changed from outside while it runs, and what it was asked. For QA and for people
//! who write clients; `docs/QA.md` shows its use. Knows no HTTP framework.

use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::record::Asked;
use super::reply::Reply;
use super::script::{ENDPOINTS, MAX_REPLIES, Script, Takes};
use crate::loopback::{is_local, is_own_origin};

/// Where it is, beside Admin Control's own `/api`.
pub(super) const PATH: &str = "/sandbox";
/// So many bytes may a reply be set with: more than the 4 MiB that an app server takes by default, so that this can be tried.
pub(super) const MAX_BODY: usize = 8 * 1024 * 1024;

/// A reply as it is set over HTTP. What is left out is as usual.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted<'a> {
    status: Option<u16>,
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    body: Option<String>,
    #[serde(default, with = "duration")]
    delay: Duration,
    #[serde(default)]
    silence: bool,
    #[serde(default)]
    cut: bool,
    times: Option<u64>,
}

/// `null` is data too.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

mod duration {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, de::Error as _};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|_| D::Error::custom("delay must be a duration, as in \"2s\" or \"250ms\""))
    }
}

/// The part of a target that is this interface's own.
pub(super) fn path_of(target: &str) -> Option<&str> {
    let path = target.split('?').next().unwrap_or_default();
    path.strip_prefix(PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A status and a body, in Admin Control's own envelope.
pub(super) fn answer(script: &Script, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let outcome = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        [] | [""] if method == "GET" => Ok(about()),
        ["replies"] => replies(script, method),
        ["replies", endpoint] => reply(script, method, (endpoint, None), body),
        ["replies", endpoint, room] => reply(script, method, (endpoint, Some(room)), body),
        ["asked"] => asked(script, method),
        _ => Err(not_found()),
    };
    match outcome {
        Ok(data) => (200, json!({"error": null, "data": data}).to_string()),
        Err(failure) => failed(failure),
    }
}

/// The answer where a body is larger, or does not arrive.
pub(super) fn too_large() -> (u16, String) {
    failed((413, format!("A reply of at most {} MiB is taken.", MAX_BODY / 1024 / 1024)))
}

/// The refusal of a request that a web page may have sent: by a name that is not loopback's or `listen`, or from a foreign origin.
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

/// The answer where an address is this interface's own only in another spelling.
pub(super) fn nowhere() -> (u16, String) {
    failed(not_found())
}

fn failed((code, message): (u16, String)) -> (u16, String) {
    (code, json!({"data": null, "error": {"code": code, "message": message}}).to_string())
}

type Outcome = Result<Value, (u16, String)>;

fn not_found() -> (u16, String) {
    (404, format!("Not found. See GET {PATH}."))
}

fn bad(message: impl Into<String>) -> (u16, String) {
    (400, message.into())
}

fn names() -> Vec<&'static str> {
    ENDPOINTS.iter().map(|(name, _)| *name).collect()
}

fn about() -> Value {
    json!({
        "endpoints": names(),
        "routes": [
            "GET /sandbox/replies: what is set",
            "PUT /sandbox/replies/{endpoint}/{room}, or /sandbox/replies/{endpoint} for every room: sets a reply",
            "DELETE /sandbox/replies/{endpoint}/{room}, /sandbox/replies/{endpoint}, or /sandbox/replies for all: as usual again",
            "GET /sandbox/asked: what was asked, and how often; DELETE forgets it",
        ],
        "reply": {
            "data": "any JSON, sent in the envelope of a success",
            "status": "the HTTP status; without data or body, from 400 on, in the envelope of a failure",
            "body": "a text, sent as it is",
            "delay": "a duration to wait first, as \"2s\"",
            "silence": "true: no answer, ever",
            "cut": "true: the connection ends in the middle of the body",
            "times": "how often; then as usual",
        },
    })
}

fn replies(script: &Script, method: &str) -> Outcome {
    match method {
        "GET" => {
            let shown = |(endpoint, room, reply, times): (String, Option<String>, Reply, Option<u64>)| {
                let (status, body) = reply.status_and_body().unzip();
                json!({
                    "endpoint": endpoint, "room": room, "status": status, "body": body, "times": times,
                    "delay": humantime::format_duration(reply.delay()).to_string(),
                    "silence": reply.is_silence(), "cut": reply.cuts(),
                })
            };
            Ok(script.plans().into_iter().map(shown).collect())
        }
        "DELETE" => {
            script.take_all_back();
            Ok(Value::Null)
        }
        _ => Err(not_found()),
    }
}

fn reply(script: &Script, method: &str, (endpoint, room): (&str, Option<&str>), body: &[u8]) -> Outcome {
    let Some((_, takes)) = ENDPOINTS.iter().find(|(name, _)| *name == endpoint) else {
        return Err((404, format!("The endpoints are {}.", names().join(", "))));
    };
    let room =
        room.map(|room| percent_decode_str(room).decode_utf8()).transpose().map_err(|_| bad("The room is not UTF-8."))?;
    let room = room.as_deref().filter(|room| !room.is_empty());
    if room.is_some() && *takes != Takes::Room {
        return Err(bad(format!("{endpoint} has no room.")));
    }
    match method {
        "PUT" => {
            let wanted: Wanted<'_> = serde_json::from_slice(body).map_err(|error| bad(format!("Not a reply: {error}.")))?;
            let times = wanted.times;
            if times == Some(0) {
                return Err(bad("times must be 1 or more."));
            }
            if script.try_plan(endpoint, room, wanted.reply()?, times) {
                return Ok(Value::Null);
            }
            Err((507, format!("All replies together may take {} MiB: DELETE some.", MAX_REPLIES / 1024 / 1024)))
        }
        "DELETE" if script.take_back(endpoint, room) => Ok(Value::Null),
        "DELETE" => Err((404, "No reply is set there.".to_owned())),
        _ => Err(not_found()),
    }
}

impl Wanted<'_> {
    fn reply(self) -> Result<Reply, (u16, String)> {
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return Err(bad("status must be from 200 to 599."));
        }
        let reply = match (self.silence, self.data, self.body, self.status) {
            (true, None, None, None) if !self.cut => Reply::silence(),
            (true, ..) => return Err(bad("silence goes with delay and times only.")),
            (false, Some(_), Some(_), _) => return Err(bad("data or body, not both.")),
            (false, Some(data), None, status) => {
                Reply::body(status.unwrap_or(200), &format!(r#"{{"error":null,"data":{}}}"#, data.get()))
            }
            (false, None, Some(body), status) => Reply::body(status.unwrap_or(200), &body),
            (false, None, None, Some(status @ 400..)) => {
                let failure = json!({"data": null, "error": {"code": status, "message": "As the sandbox was told."}});
                Reply::body(status, &failure.to_string())
            }
            (false, None, None, Some(_)) => return Err(bad("a status below 400 needs data or body.")),
            (false, None, None, None) => Reply::usual(),
        };
        let reply = reply.after(self.delay);
        Ok(if self.cut { reply.cut_in_the_body() } else { reply })
    }
}

fn asked(script: &Script, method: &str) -> Outcome {
    match method {
        "GET" => {
            let asked: Vec<Value> = script.asked().iter().map(shown).collect();
            Ok(json!({"total": script.total(), "asked": asked}))
        }
        "DELETE" => {
            script.forget();
            Ok(Value::Null)
        }
        _ => Err(not_found()),
    }
}

fn shown(asked: &Asked) -> Value {
    // That it came is of interest; what it is stays with who sent it.
    let value = |name: &str, value: &str| if name == "authorization" { json!("[redacted]") } else { json!(value) };
    let headers: serde_json::Map<String, Value> =
        asked.headers.iter().map(|(name, text)| (name.clone(), value(name, text))).collect();
    json!({
        "seconds": asked.after.as_secs_f64(),
        "method": asked.method,
        "target": asked.target,
        "headers": headers,
        "body": String::from_utf8_lossy(&asked.body),
    })
}
