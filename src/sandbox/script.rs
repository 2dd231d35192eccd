//! What a sandbox answers, room by room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::meeting;
use super::record::{Asked, Record};
use super::reply::{Content, Reply};
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

/// The limit on the bytes of all replies that are set over HTTP.
pub(super) const MAX_REPLIES: usize = 64 * 1024 * 1024;
/// The bytes of a reply beside its room and its body. Generous, so that their number stays small.
const OVERHEAD: usize = 1024;

/// What to answer. Clones are the same script, so that it can be changed under a running sandbox.
#[derive(Clone)]
pub struct Script(Arc<Mutex<State>>);

struct State {
    /// The replies that are set, before everything else, for an endpoint and a room, or (`None`) all rooms.
    set: BTreeMap<Key, Reply>,
    usual: Usual,
    record: Record,
}

pub(super) type Key = (String, Option<String>);

/// What is replied where nothing is set.
enum Usual {
    /// Every room exists, and its catch-up is its name, so that a mix-up is visible.
    Echo,
    /// The sample rooms exist, and no other.
    Samples { clock: Clock, started_at: i64 },
}

impl Script {
    /// Creates a script where every room exists and its catch-up is its name. The record is unbounded, for tests.
    #[must_use]
    pub fn echo() -> Self {
        Self::with(Usual::Echo, Record::unbounded())
    }

    /// Creates a script with the [`SAMPLE_ROOMS`](super::SAMPLE_ROOMS).
    #[must_use]
    pub fn samples(clock: Clock) -> Self {
        let started_at = clock.unix_seconds();
        Self::with(Usual::Samples { clock, started_at }, Record::bounded())
    }

    fn with(usual: Usual, record: Record) -> Self {
        Self(Arc::new(Mutex::new(State { set: BTreeMap::new(), usual, record })))
    }

    /// Sets the reply to `GET call-catchup/{room}`.
    pub fn catch_up(&self, room: &str, reply: Reply) {
        self.set("call-catchup", room, reply);
    }

    /// Sets the reply of `endpoint` for `room`, or for no room (`""`) where the endpoint has none.
    pub fn set(&self, endpoint: &str, room: &str, reply: Reply) {
        self.plan(endpoint, Some(room), reply, None);
    }

    /// Sets the next `times` replies, or (`None`) all, of `endpoint` for `room`, or (`None`) for rooms without an own reply.
    pub fn plan(&self, endpoint: &str, room: Option<&str>, reply: Reply, times: Option<u64>) {
        self.state().set.insert(key(endpoint, room), Reply { times, ..reply });
    }

    /// Sets a reply if all together take no more than [`MAX_REPLIES`] bytes, and returns whether it is set.
    pub(super) fn try_set(&self, key: Key, reply: Reply) -> bool {
        let mut state = self.state();
        let others = state.set.iter().filter(|(other, _)| **other != key);
        let total = size(&key, &reply) + others.map(|(key, reply)| size(key, reply)).sum::<usize>();
        if total <= MAX_REPLIES {
            state.set.insert(key, reply);
        }
        total <= MAX_REPLIES
    }

    /// Removes a reply, and returns whether it was set.
    pub(super) fn remove(&self, key: &Key) -> bool {
        self.state().set.remove(key).is_some()
    }

    /// Removes all replies.
    pub(super) fn clear(&self) {
        self.state().set.clear();
    }

    /// Returns the replies that are set.
    pub(super) fn replies(&self) -> BTreeMap<Key, Reply> {
        self.state().set.clone()
    }

    /// Returns the requests in the order they arrived: all of [`echo`](Self::echo), the last ones of [`samples`](Self::samples).
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state().record.asked.iter().cloned().collect()
    }

    /// Returns how many requests there were.
    pub(super) fn total(&self) -> u64 {
        self.state().record.total
    }

    /// Clears the record of requests.
    pub(super) fn clear_record(&self) {
        self.state().record.clear();
    }

    /// Records a request and returns its reply.
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

pub(super) fn key(endpoint: &str, room: Option<&str>) -> Key {
    (endpoint.to_owned(), room.map(str::to_owned))
}

/// The memory of a reply, in bytes.
fn size((_, room): &Key, reply: &Reply) -> usize {
    let body = if let Content::Body(_, body) = &reply.content { body.len() } else { 0 };
    OVERHEAD + room.as_ref().map_or(0, String::len) + body
}

impl State {
    fn reply_to(&mut self, asked: &Asked) -> Reply {
        let path = asked.target.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (endpoint, room) = match (asked.method.as_str(), segments.as_slice()) {
            ("POST", ["api", endpoint @ "proconf-token"]) => (*endpoint, "".into()),
            ("GET", ["api", endpoint]) if takes(endpoint, Takes::Nothing) => (*endpoint, "".into()),
            ("GET", ["api", endpoint, room]) if takes(endpoint, Takes::Room) && !room.is_empty() => {
                let Ok(room) = percent_decode_str(room).decode_utf8() else { return Reply::not_found() };
                (*endpoint, room)
            }
            _ => return Reply::not_found(),
        };
        let set = self.take(endpoint, Some(&room)).or_else(|| self.take(endpoint, None)).unwrap_or_else(Reply::usual);
        match set.content {
            Content::Usual => Reply { content: self.usual(endpoint, &room, &asked.body).content, ..set },
            _ => set,
        }
    }

    fn usual(&self, endpoint: &str, room: &str, body: &[u8]) -> Reply {
        let data = match &self.usual {
            _ if endpoint == "proconf-token" => return proconf_token(body),
            Usual::Echo => Some(meeting::echo(endpoint, room)),
            Usual::Samples { clock, started_at } => meeting::sample(endpoint, room, clock.unix_seconds() - started_at),
        };
        data.as_ref().map_or_else(Reply::not_found, reply_with)
    }

    /// Returns the reply that is set, which counts as given.
    fn take(&mut self, endpoint: &str, room: Option<&str>) -> Option<Reply> {
        let key = key(endpoint, room);
        let reply = self.set.get_mut(&key)?;
        if let Some(times) = &mut reply.times {
            *times = times.saturating_sub(1);
        }
        let reply = reply.clone();
        if reply.times == Some(0) {
            self.set.remove(&key);
        }
        Some(reply)
    }
}

fn reply_with(data: &Value) -> Reply {
    Reply::data(&data.to_string())
}

/// A token in the shape of Admin Control's own, signed by nobody.
fn proconf_token(body: &[u8]) -> Reply {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| asked.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("role"), text("room"), text("participantName")) {
        (Some(role), Some(room), Some(name)) => reply_with(&meeting::proconf_token(role, room, name).into()),
        _ => {
            Reply::body(400, r#"{"data":null,"error":{"code":400,"message":"role, room and participantName are required"}}"#)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;
    use std::time::UNIX_EPOCH;

    fn body_of(script: &Script, method: &str, target: &str, body: &[u8]) -> (u16, Value) {
        let reply = script.reply_to(Asked::new(method, target, std::iter::empty(), body));
        let Content::Body(status, body) = reply.content else { panic!("{reply:?}") };
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
