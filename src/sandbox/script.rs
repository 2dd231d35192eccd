//! What a sandbox answers, room by room, and a record of what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::meeting;
use crate::clock::Clock;

/// One answer.
#[derive(Debug, Clone)]
pub struct Reply {
    delay: Duration,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Body { status: u16, body: String, cut: bool },
    Silence,
}

impl Reply {
    /// Success with this `data`, which must be JSON and is sent as it is.
    #[must_use]
    pub fn data(json: &str) -> Self {
        Self::body(200, &format!(r#"{{"error":null,"data":{json}}}"#))
    }

    /// This status and this body.
    #[must_use]
    pub fn body(status: u16, body: &str) -> Self {
        Self { delay: Duration::ZERO, what: What::Body { status, body: body.to_owned(), cut: false } }
    }

    /// The failure that Admin Control has for what it does not know.
    #[must_use]
    pub fn not_found() -> Self {
        Self::body(404, r#"{"data":null,"error":{"code":404,"message":"Not found"}}"#)
    }

    /// No answer, ever; the connection stays open.
    #[must_use]
    pub fn silence() -> Self {
        Self { delay: Duration::ZERO, what: What::Silence }
    }

    /// The same, but not before `delay` has passed.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The same, but the connection is cut in the middle of the body.
    #[must_use]
    pub fn cut_in_the_body(mut self) -> Self {
        if let What::Body { cut, .. } = &mut self.what {
            *cut = true;
        }
        self
    }

    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    pub(super) fn cuts(&self) -> bool {
        matches!(self.what, What::Body { cut: true, .. })
    }

    pub(super) fn status_and_body(&self) -> Option<(u16, String)> {
        match &self.what {
            What::Body { status, body, .. } => Some((*status, body.clone())),
            What::Silence => None,
        }
    }
}

/// One request that a sandbox got.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query as they came over the wire.
    pub target: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    pub(super) fn new(method: &str, target: &str, headers: impl Iterator<Item = (String, String)>, body: &[u8]) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: headers.collect(), body: body.to_vec() }
    }
}

/// What to answer. Clones are the same script, so that a test can change it under a running sandbox.
#[derive(Clone)]
pub struct Script(Arc<Mutex<State>>);

struct State {
    /// Answers set for one endpoint and one room, before everything else.
    set: BTreeMap<(&'static str, String), Reply>,
    rest: Rest,
    /// What was asked; kept for tests alone, where a sandbox does not run for days.
    asked: Option<Vec<Asked>>,
}

/// What rooms answer that no reply was set for.
enum Rest {
    /// Every room exists, and its catch-up is its name: a mix-up shows itself.
    Echo,
    /// The sample rooms exist, and no other.
    Samples { clock: Clock, started_at: i64 },
}

impl Script {
    /// Every room exists; its catch-up is its own name.
    #[must_use]
    pub fn echo() -> Self {
        Self::with(Rest::Echo, Some(Vec::new()))
    }

    /// The sample rooms of [`SAMPLE_ROOMS`](super::SAMPLE_ROOMS): a meeting that goes on, one that ended, one without a transcript.
    #[must_use]
    pub fn samples(clock: Clock) -> Self {
        let started_at = clock.unix_seconds();
        Self::with(Rest::Samples { clock, started_at }, None)
    }

    fn with(rest: Rest, asked: Option<Vec<Asked>>) -> Self {
        Self(Arc::new(Mutex::new(State { set: BTreeMap::new(), rest, asked })))
    }

    /// From now on, `GET call-catchup/{room}` is answered with `reply`.
    pub fn catch_up(&self, room: &str, reply: Reply) {
        self.set("call-catchup", room, reply);
    }

    /// From now on, `endpoint` is answered with `reply`, for `room`, or for no room (`""`) where the endpoint has none.
    pub fn set(&self, endpoint: &'static str, room: &str, reply: Reply) {
        self.state().set.insert((endpoint, room.to_owned()), reply);
    }

    /// Everything that was asked of an [`echo`](Self::echo), in the order it arrived. The samples keep no record.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone().unwrap_or_default()
    }

    /// Records what was asked and finds the answer.
    pub(super) fn reply_to(&self, asked: Asked) -> Reply {
        let mut state = self.state();
        let reply = state.reply_to(&asked);
        if let Some(record) = &mut state.asked {
            record.push(asked);
        }
        reply
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reply_to(&self, asked: &Asked) -> Reply {
        let path = asked.target.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (asked.method.as_str(), segments.as_slice()) {
            ("GET", ["api", endpoint @ "configuration"]) => self.set_or(endpoint, "", || data(&meeting::configuration())),
            ("GET", ["api", endpoint @ "meetings"]) => self.set_or(endpoint, "", || data(&self.meetings())),
            ("POST", ["api", endpoint @ "proconf-token"]) => self.set_or(endpoint, "", || proconf_token(&asked.body)),
            ("GET", ["api", endpoint, room]) => match percent_decode_str(room).decode_utf8() {
                Ok(room) if !room.is_empty() => self.of_room(endpoint, &room),
                _ => Reply::not_found(),
            },
            _ => Reply::not_found(),
        }
    }

    fn of_room(&self, endpoint: &str, room: &str) -> Reply {
        self.set_or(endpoint, room, || {
            let found = match endpoint {
                "call-catchup" => self.catch_up(room),
                "sessions-status" => self.status(room),
                "call-summary" => self.summary(room),
                _ => None,
            };
            found.as_ref().map_or_else(Reply::not_found, data)
        })
    }

    /// The reply that was set, or the usual one.
    fn set_or(&self, endpoint: &str, room: &str, usual: impl FnOnce() -> Reply) -> Reply {
        let set = self.set.iter().find(|((of, name), _)| *of == endpoint && name == room);
        set.map_or_else(usual, |(_, reply)| reply.clone())
    }

    fn catch_up(&self, room: &str) -> Option<Value> {
        match &self.rest {
            Rest::Echo => Some(room.into()),
            Rest::Samples { clock, started_at } => {
                meeting::catch_up(room, clock.unix_seconds() - started_at).map(Value::from)
            }
        }
    }

    fn status(&self, room: &str) -> Option<Value> {
        match self.rest {
            Rest::Echo => Some(json!({"transcript_status": true, "recording_status": false})),
            Rest::Samples { .. } => meeting::status(room),
        }
    }

    fn summary(&self, room: &str) -> Option<Value> {
        match self.rest {
            Rest::Echo => Some(meeting::summary_record(room, &format!("{room}_1718871014/summary.txt"))),
            Rest::Samples { .. } => meeting::summary(room),
        }
    }

    fn meetings(&self) -> Value {
        match self.rest {
            Rest::Echo => json!([]),
            Rest::Samples { .. } => meeting::ended(),
        }
    }
}

fn data(data: &Value) -> Reply {
    Reply::data(&data.to_string())
}

/// A token in the shape of Admin Control's own, signed by nobody.
fn proconf_token(body: &[u8]) -> Reply {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| asked.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("role"), text("room"), text("participantName")) {
        (Some(role), Some(room), Some(name)) => data(&meeting::proconf_token(role, room, name).into()),
        _ => {
            Reply::body(400, r#"{"data":null,"error":{"code":400,"message":"role, room and participantName are required"}}"#)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    fn body_of(script: &Script, method: &str, target: &str, body: &[u8]) -> (u16, Value) {
        let reply = script.reply_to(Asked::new(method, target, std::iter::empty(), body));
        let (status, body) = reply.status_and_body().unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }

    fn data_of(script: &Script, target: &str) -> Value {
        let (status, mut body) = body_of(script, "GET", target, b"");
        assert_eq!((status, &body["error"]), (200, &Value::Null), "{target}");
        body["data"].take()
    }

    #[test]
    fn all_six_endpoints_answer_as_the_contract_documents() {
        let script = Script::samples(Clock::system());
        assert!(data_of(&script, "/api/call-catchup/testRoom").is_string());
        assert!(data_of(&script, "/api/sessions-status/testRoom")["transcript_status"].is_boolean());
        assert_eq!(data_of(&script, "/api/configuration")["features"].as_object().unwrap().len(), 11);
        assert_eq!(data_of(&script, "/api/meetings")[0]["room_name"], "endedRoom");
        let summary = data_of(&script, "/api/call-summary/endedRoom");
        assert!(summary["file_url"].as_str().unwrap().starts_with("endedRoom_"), "{summary}");
        let asked = br#"{"role":"member","room":"r1","participantName":"Ann"}"#;
        let (status, token) = body_of(&script, "POST", "/api/proconf-token", asked);
        assert_eq!((status, token["data"].as_str().unwrap().split('.').count()), (200, 3));
        assert_eq!(body_of(&script, "POST", "/api/proconf-token", b"{}").0, 400);
    }

    #[test]
    fn rooms_and_endpoints_that_do_not_exist_are_404() {
        let script = Script::samples(Clock::system());
        for target in [
            "/api/call-catchup/nowhere",
            "/api/call-catchup/",
            "/api/call-catchup",
            "/api/call-catchup/testRoom/",
            "/api/nothing/testRoom",
            "/call-catchup/testRoom",
            "/api/call-catchup/%FF",
            "/",
        ] {
            assert_eq!(body_of(&script, "GET", target, b"").0, 404, "{target}");
        }
        assert_eq!(body_of(&script, "POST", "/api/configuration", b"").0, 404);
    }

    #[test]
    fn the_catch_up_of_the_sample_meeting_grows_while_it_runs() {
        let seconds = Arc::new(AtomicU64::new(1_000_000));
        let shown = Arc::clone(&seconds);
        let script = Script::samples(Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(shown.load(Ordering::SeqCst))));
        let read = |at: u64| {
            seconds.store(1_000_000 + at, Ordering::SeqCst);
            data_of(&script, "/api/call-catchup/testRoom").as_str().unwrap().to_owned()
        };
        let (at_once, later, at_the_end) = (read(0), read(60), read(100_000));
        assert!(!at_once.is_empty());
        assert!(later.starts_with(&at_once) && later.len() > at_once.len());
        assert!(at_the_end.starts_with(&later) && at_the_end.len() > later.len());
    }
}
