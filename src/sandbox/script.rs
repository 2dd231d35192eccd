//! What a sandbox answers, room by room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::meeting;
use super::record::{Asked, Record};
use super::reply::Reply;
use crate::clock::Clock;

/// What a request to an endpoint carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Room,
    Nothing,
    Body,
}

/// The endpoints of the contract. Any other one is answered for `GET`, with a room or without.
pub(super) const ENDPOINTS: &[(&str, Takes)] = &[
    ("call-catchup", Takes::Room),
    ("call-summary", Takes::Room),
    ("sessions-status", Takes::Room),
    ("configuration", Takes::Nothing),
    ("meetings", Takes::Nothing),
    ("proconf-token", Takes::Body),
];

fn takes(endpoint: &str, what: Takes) -> bool {
    let plain = !endpoint.is_empty() && endpoint.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    ENDPOINTS.iter().find(|(name, _)| *name == endpoint).map_or(plain, |(_, takes)| *takes == what)
}

/// How many bytes all replies that are set over HTTP may take together.
pub(super) const MAX_REPLIES: usize = 64 * 1024 * 1024;
/// What one takes beside its room and its body; about a kilobyte, so that there are never many to add up.
const OVERHEAD: usize = 1024;

/// What to answer. Clones are the same script, so that it can be changed under a running sandbox.
#[derive(Clone)]
pub struct Script(Arc<Mutex<State>>);

struct State {
    /// Answers set for one endpoint, and one room or (`None`) all of them, before everything else.
    set: BTreeMap<(String, Option<String>), Planned>,
    rest: Rest,
    record: Record,
}

/// A reply, and how often it is still to be given; `None` for ever.
struct Planned {
    reply: Reply,
    times: Option<u64>,
}

/// What rooms answer that no reply was set for.
enum Rest {
    /// Every room exists, and its catch-up is its name: a mix-up shows itself.
    Echo,
    /// The sample rooms exist, and no other.
    Samples { clock: Clock, started_at: i64 },
}

impl Script {
    /// Every room exists; its catch-up is its own name. Everything that is asked is kept: for tests, which do not run for days.
    #[must_use]
    pub fn echo() -> Self {
        Self::with(Rest::Echo, Record::of_everything())
    }

    /// The sample rooms of [`SAMPLE_ROOMS`](super::SAMPLE_ROOMS): a meeting that goes on, one that ended, one without a transcript.
    #[must_use]
    pub fn samples(clock: Clock) -> Self {
        let started_at = clock.unix_seconds();
        Self::with(Rest::Samples { clock, started_at }, Record::of_the_last())
    }

    fn with(rest: Rest, record: Record) -> Self {
        Self(Arc::new(Mutex::new(State { set: BTreeMap::new(), rest, record })))
    }

    /// From now on, `GET call-catchup/{room}` is answered with `reply`.
    pub fn catch_up(&self, room: &str, reply: Reply) {
        self.set("call-catchup", room, reply);
    }

    /// From now on, `endpoint` is answered with `reply`, for `room`, or for no room (`""`) where the endpoint has none.
    pub fn set(&self, endpoint: &str, room: &str, reply: Reply) {
        self.plan(endpoint, Some(room), reply, None);
    }

    /// The next so many times, or (`None`) from now on, `endpoint` is answered with `reply`, for `room`, or (`None`) for every
    /// room that has no reply of its own.
    pub fn plan(&self, endpoint: &str, room: Option<&str>, reply: Reply, times: Option<u64>) {
        self.state().set.insert((endpoint.to_owned(), room.map(str::to_owned)), Planned { reply, times });
    }

    /// The same, if all replies together take no more than [`MAX_REPLIES`]; says whether it was set.
    pub(super) fn try_plan(&self, endpoint: &str, room: Option<&str>, reply: Reply, times: Option<u64>) -> bool {
        let mut state = self.state();
        let key = (endpoint.to_owned(), room.map(str::to_owned));
        let size = |(_, room): &(String, Option<String>), reply: &Reply| {
            OVERHEAD + room.as_ref().map_or(0, String::len) + reply.len()
        };
        let others = state.set.iter().filter(|(other, _)| **other != key);
        let total = size(&key, &reply) + others.map(|(key, planned)| size(key, &planned.reply)).sum::<usize>();
        if total <= MAX_REPLIES {
            state.set.insert(key, Planned { reply, times });
        }
        total <= MAX_REPLIES
    }

    /// Takes back what was set for `endpoint` and `room`, and says whether anything was.
    pub(super) fn take_back(&self, endpoint: &str, room: Option<&str>) -> bool {
        self.state().set.remove(&(endpoint.to_owned(), room.map(str::to_owned))).is_some()
    }

    /// Takes back everything that was set.
    pub(super) fn take_all_back(&self) {
        self.state().set.clear();
    }

    /// What is set: endpoint, room, and how often it is still to be given.
    pub(super) fn plans(&self) -> Vec<(String, Option<String>, Reply, Option<u64>)> {
        let state = self.state();
        let plan = |((endpoint, room), planned): (&(String, Option<String>), &Planned)| {
            (endpoint.clone(), room.clone(), planned.reply.clone(), planned.times)
        };
        state.set.iter().map(plan).collect()
    }

    /// What was asked, in the order it arrived: all of it of an [`echo`](Self::echo), the last of it of the samples.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state().record.asked()
    }

    /// How much was asked in all.
    pub(super) fn total(&self) -> u64 {
        self.state().record.total()
    }

    /// Forgets what was asked.
    pub(super) fn forget(&self) {
        self.state().record.forget();
    }

    /// Records what was asked and finds the answer.
    pub(super) fn reply_to(&self, asked: Asked) -> Reply {
        let mut state = self.state();
        let reply = state.reply_to(&asked);
        state.record.add(asked);
        reply
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reply_to(&mut self, asked: &Asked) -> Reply {
        let path = asked.target.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (asked.method.as_str(), segments.as_slice()) {
            ("POST", ["api", endpoint @ "proconf-token"]) => self.set_or(endpoint, "", |_| proconf_token(&asked.body)),
            ("GET", ["api", endpoint]) if takes(endpoint, Takes::Nothing) => {
                self.set_or(endpoint, "", |state| state.usual(endpoint, ""))
            }
            ("GET", ["api", endpoint, room]) if takes(endpoint, Takes::Room) => match percent_decode_str(room).decode_utf8()
            {
                Ok(room) if !room.is_empty() => self.set_or(endpoint, &room, |state| state.usual(endpoint, &room)),
                _ => Reply::not_found(),
            },
            _ => Reply::not_found(),
        }
    }

    fn usual(&self, endpoint: &str, room: &str) -> Reply {
        let found = match endpoint {
            "configuration" => Some(meeting::configuration()),
            "meetings" => Some(self.meetings()),
            "call-catchup" => self.catch_up(room),
            "sessions-status" => self.status(room),
            "call-summary" => self.summary(room),
            // Of an endpoint that a new pass-through asks: what it was asked for, where its room exists.
            _ => (room.is_empty() || self.status(room).is_some()).then(|| json!({"endpoint": endpoint, "room": room})),
        };
        found.as_ref().map_or_else(Reply::not_found, data)
    }

    /// The reply that was set for the room, or for all rooms, or the usual one.
    fn set_or(&mut self, endpoint: &str, room: &str, usual: impl FnOnce(&Self) -> Reply) -> Reply {
        let planned = self.take(endpoint, Some(room)).or_else(|| self.take(endpoint, None));
        planned.unwrap_or_else(Reply::usual).or_usual(|| usual(self))
    }

    /// The reply that was set, given once more.
    fn take(&mut self, endpoint: &str, room: Option<&str>) -> Option<Reply> {
        let key = (endpoint.to_owned(), room.map(str::to_owned));
        let planned = self.set.get_mut(&key)?;
        let reply = planned.reply.clone();
        if let Some(left) = &mut planned.times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.set.remove(&key);
            }
        }
        Some(reply)
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
    use std::time::Duration;
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
            "/api/configuration/testRoom",
            "/api/proconf-token",
            "/api/call-topics/nowhere",
            "/api/No%20name",
            "/api/",
            "/call-catchup/testRoom",
            "/api/call-catchup/%FF",
            "/",
        ] {
            assert_eq!(body_of(&script, "GET", target, b"").0, 404, "{target}");
        }
        assert_eq!(body_of(&script, "POST", "/api/configuration", b"").0, 404);
    }

    #[test]
    fn endpoint_that_a_new_pass_through_asks_answers_with_what_it_was_asked_for() {
        for script in [Script::samples(Clock::system()), Script::echo()] {
            let of_room = data_of(&script, "/api/call-topics/testRoom");
            assert_eq!(of_room, json!({"endpoint": "call-topics", "room": "testRoom"}));
            assert_eq!(data_of(&script, "/api/languages"), json!({"endpoint": "languages", "room": ""}));
            script.set("call-topics", "testRoom", Reply::data("[1]"));
            assert_eq!(data_of(&script, "/api/call-topics/testRoom"), json!([1]));
        }
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
