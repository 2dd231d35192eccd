//! The replies of a sandbox, for each endpoint and room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use percent_encoding::percent_decode_str;

use super::meeting;
use super::record::{Record, RecordedRequest};
use super::reply::Reply;
use super::room_access::{self, AllowList};
use crate::clock::Clock;

/// The endpoints of the contract that have a room.
pub(super) const ROOM_ENDPOINTS: [&str; 3] = ["call-catchup", "call-summary", "sessions-status"];
/// The endpoints of the contract that have no room.
pub(super) const OTHER_ENDPOINTS: [&str; 3] = ["configuration", "meetings", PROCONF_TOKEN];
/// The webhook for access to rooms, as an endpoint whose replies can be set.
pub(super) const ROOM_ACCESS: &str = "room-access";
const PROCONF_TOKEN: &str = "proconf-token";

/// Maximum size of all replies that are set over HTTP, in bytes.
pub(super) const MAX_REPLIES: usize = 64 * 1024 * 1024;
/// Size of a reply beside its room and its body, in bytes. Generous, to limit the number of replies too.
const OVERHEAD: usize = 1024;

/// The replies of a sandbox. Clones share them, so that they can be changed while it runs.
#[derive(Clone)]
pub struct Script(Arc<Mutex<ScriptState>>);

/// The replies and the record of a sandbox.
pub(super) struct ScriptState {
    pub replies: BTreeMap<Key, Reply>,
    defaults: Defaults,
    pub record: Record,
    pub allow_list: AllowList,
}

/// An endpoint and a room. An empty room stands for all rooms, or for none.
pub(super) type Key = (String, String);

/// The replies where none is set.
enum Defaults {
    /// Every room exists, and its catch-up is its name.
    Echo,
    /// Only the sample rooms exist.
    Samples { clock: Clock, started_at: i64 },
}

impl Script {
    /// Creates a script where every room exists and its catch-up is its name. Its record is unbounded.
    #[must_use]
    pub fn echo() -> Self {
        Self::new(Defaults::Echo, Record::unbounded())
    }

    /// Creates a script with the [`SAMPLE_ROOMS`](super::SAMPLE_ROOMS). Its record is bounded.
    #[must_use]
    pub fn samples(clock: Clock) -> Self {
        let started_at = clock.unix_seconds();
        Self::new(Defaults::Samples { clock, started_at }, Record::bounded())
    }

    fn new(defaults: Defaults, record: Record) -> Self {
        Self(Arc::new(Mutex::new(ScriptState {
            replies: BTreeMap::new(),
            defaults,
            record,
            allow_list: AllowList::default(),
        })))
    }

    /// Sets the reply to `GET call-catchup/{room}`.
    pub fn catch_up(&self, room: &str, reply: Reply) {
        self.set("call-catchup", room, reply);
    }

    /// Sets the reply of `endpoint` for `room`; for all other rooms if `room` is empty.
    pub fn set(&self, endpoint: &str, room: &str, reply: Reply) {
        self.lock().replies.insert((endpoint.to_owned(), room.to_owned()), reply);
    }

    /// Returns the recorded requests in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().record.requests.iter().cloned().collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ScriptState> {
        // A test that panicked with the lock has failed already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScriptState {
    /// Sets a reply if all together take at most [`MAX_REPLIES`] bytes. Returns whether it is set.
    pub(super) fn try_set(&mut self, key: Key, reply: Reply) -> bool {
        let others = self.replies.iter().filter(|(other, _)| **other != key);
        let total = size(&key, &reply) + others.map(|(key, reply)| size(key, reply)).sum::<usize>();
        if total <= MAX_REPLIES {
            self.replies.insert(key, reply);
        }
        total <= MAX_REPLIES
    }

    /// Records a request and returns its reply.
    pub(super) fn reply_to(&mut self, request: RecordedRequest) -> Reply {
        let reply = self.find_reply(&request).unwrap_or_else(Reply::not_found);
        self.record.add(request);
        reply
    }

    fn find_reply(&mut self, request: &RecordedRequest) -> Option<Reply> {
        let path = request.target.split('?').next().unwrap_or_default();
        if request.method == "POST" && path == room_access::PATH {
            let room = room_access::room_of(request);
            return self.merge_replies(ROOM_ACCESS, &room, |script| Some(script.allow_list.reply_to(request)));
        }
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (endpoint, room) = match (request.method.as_str(), segments.as_slice()) {
            ("POST", ["api", PROCONF_TOKEN]) => (PROCONF_TOKEN, ""),
            ("GET", ["api", PROCONF_TOKEN]) => return None,
            ("GET", ["api", endpoint]) if !ROOM_ENDPOINTS.contains(endpoint) => (*endpoint, ""),
            ("GET", ["api", endpoint, room]) if !OTHER_ENDPOINTS.contains(endpoint) && !room.is_empty() => {
                (*endpoint, *room)
            }
            _ => return None,
        };
        if endpoint.is_empty() || !endpoint.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            return None;
        }
        let room = percent_decode_str(room).decode_utf8().ok()?;
        self.merge_replies(endpoint, &room, |script| match &script.defaults {
            _ if endpoint == PROCONF_TOKEN => Some(meeting::proconf_token(&request.body)),
            Defaults::Echo => Some(Reply::data(&meeting::echo(endpoint, &room).to_string())),
            Defaults::Samples { clock, started_at } => meeting::sample(endpoint, &room, clock.unix_seconds() - started_at)
                .map(|data| Reply::data(&data.to_string())),
        })
    }

    /// Returns the reply that is set; what it leaves out is from `default`.
    fn merge_replies(&mut self, endpoint: &str, room: &str, default: impl FnOnce(&Self) -> Option<Reply>) -> Option<Reply> {
        let set = self.use_reply(endpoint, room).or_else(|| self.use_reply(endpoint, "")).unwrap_or_default();
        if set.hang || set.body.is_some() {
            return Some(set);
        }
        let default = default(self)?;
        Some(Reply { status: default.status, body: default.body, ..set })
    }

    /// Returns the reply that is set, and counts it.
    fn use_reply(&mut self, endpoint: &str, room: &str) -> Option<Reply> {
        let key = (endpoint.to_owned(), room.to_owned());
        let reply = self.replies.get_mut(&key)?;
        if let Some(times) = &mut reply.times {
            *times = times.saturating_sub(1);
        }
        let reply = reply.clone();
        if reply.times == Some(0) {
            self.replies.remove(&key);
        }
        Some(reply)
    }
}

/// Returns the memory of a reply, in bytes.
fn size((_, room): &Key, reply: &Reply) -> usize {
    OVERHEAD + room.len() + reply.body.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;
    use std::time::UNIX_EPOCH;

    fn body_of(script: &Script, method: &str, target: &str, body: &[u8]) -> (u16, Value) {
        let reply = script.lock().reply_to(RecordedRequest::new(method, target, std::iter::empty(), body));
        (reply.status.unwrap(), serde_json::from_str(&reply.body.unwrap()).unwrap())
    }

    fn data_of(script: &Script, target: &str) -> Value {
        let (status, mut body) = body_of(script, "GET", target, b"");
        assert_eq!((status, &body["error"]), (200, &Value::Null), "{target}");
        body["data"].take()
    }

    #[test]
    fn all_six_endpoints_respond_as_in_the_contract() {
        let script = Script::samples(Clock::system());
        assert!(data_of(&script, "/api/call-catchup/testRoom").is_string());
        assert!(data_of(&script, "/api/sessions-status/testRoom")["transcript_status"].is_boolean());
        assert_eq!(data_of(&script, "/api/configuration")["features"].as_object().unwrap().len(), 11);
        assert_eq!(data_of(&script, "/api/meetings")[0]["room_name"], "endedRoom");
        let summary = data_of(&script, "/api/call-summary/endedRoom");
        assert!(summary["file_url"].as_str().unwrap().starts_with("endedRoom_"), "{summary}");
        let request = br#"{"role":"member","room":"r1","participantName":"Ann"}"#;
        let (status, token) = body_of(&script, "POST", "/api/proconf-token", request);
        assert_eq!((status, token["data"].as_str().unwrap().split('.').count()), (200, 3));
        assert_eq!(body_of(&script, "POST", "/api/proconf-token", b"{}").0, 400);
    }

    #[test]
    fn unknown_room_or_endpoint_is_404() {
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
    fn unknown_endpoint_returns_its_name_and_room() {
        for script in [Script::samples(Clock::system()), Script::echo()] {
            let of_room = data_of(&script, "/api/call-topics/testRoom");
            assert_eq!(of_room, json!({"endpoint": "call-topics", "room": "testRoom"}));
            assert_eq!(data_of(&script, "/api/languages"), json!({"endpoint": "languages", "room": ""}));
            script.set("call-topics", "testRoom", Reply::data("[1]"));
            assert_eq!(data_of(&script, "/api/call-topics/testRoom"), json!([1]));
        }
    }

    #[test]
    fn catch_up_of_the_sample_meeting_grows() {
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
