//! The sample rooms of a sandbox, and its default responses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::reply::Reply;

/// The sample rooms: a running meeting, one without transcript, and one that has ended.
pub const SAMPLE_ROOMS: [&str; 3] = ["testRoom", "quietRoom", "endedRoom"];

/// The key and the text of the ended meeting's summary. `dev` writes it into the summary store.
pub const SAMPLE_SUMMARY: (&str, &str) = (
    "endedRoom_1718871014/summary.txt",
    "Ann and Bo went through the bugs of the week. Four were closed, two moved to the next release, and Bo will write to the \
     team that reported the slow join.\n",
);

/// Seconds between two sentences of the catch-up.
const SENTENCE_INTERVAL: i64 = 20;
/// Number of sentences when the sandbox starts.
const INITIAL_SENTENCES: usize = 3;
const SENTENCES: [&str; 12] = [
    "Ann opened the call and went through the agenda: the release, the open bugs, the holiday rota.",
    "Bo reported that the Android build passes on all devices but one; the fix is in review.",
    "Ann asked whether the release can still go out on Thursday. The team agreed.",
    "Chidi showed the new waiting room. The team liked it; the wording of the button will change.",
    "Dana found that joining with a slow connection takes up to nine seconds and will measure where they go.",
    "Bo and Dana agreed to look at the slow join together after the call.",
    "Ann moved two bugs out of the release; both are cosmetic.",
    "Chidi asked for a second pair of eyes on the screen-sharing change. Emil took it.",
    "Emil reminded the team that the recording bucket is nearly full; old recordings go on Friday.",
    "The holiday rota was settled: Dana covers the first week, Chidi the second.",
    "Ann summed up: release on Thursday, slow join measured by Wednesday, recordings cleaned up on Friday.",
    "The call is in its questions round.",
];

/// Maximum number of sentences.
const MAX_SENTENCES: usize = 600;

/// Returns the `data` of an endpoint for a sample room.
///
/// `at` is in seconds since the start of the sandbox.
pub(super) fn sample(endpoint: &str, room: &str, at: i64) -> Option<Value> {
    match (endpoint, room) {
        ("call-catchup", "testRoom") => Some(catch_up(at).into()),
        ("call-catchup", "quietRoom") => Some("".into()),
        ("sessions-status", "testRoom") => Some(json!({"transcript_status": true, "recording_status": false})),
        ("sessions-status", "quietRoom") => Some(json!({"transcript_status": false, "recording_status": false})),
        ("call-summary", "endedRoom") => Some(summary_record(room, SAMPLE_SUMMARY.0)),
        ("call-catchup" | "sessions-status" | "call-summary", _) => None,
        ("meetings", _) => Some(ended()),
        ("configuration", _) => Some(configuration()),
        // The endpoint of a new pass-through.
        (_, "" | "testRoom" | "quietRoom") => Some(json!({"endpoint": endpoint, "room": room})),
        _ => None,
    }
}

/// Returns the `data` of an endpoint where every room exists.
///
/// The catch-up of a room is its name.
pub(super) fn echo(endpoint: &str, room: &str) -> Value {
    match endpoint {
        "call-catchup" => room.into(),
        "sessions-status" => json!({"transcript_status": true, "recording_status": false}),
        "call-summary" => summary_record(room, &format!("{room}_1718871014/summary.txt")),
        "meetings" => json!([]),
        "configuration" => configuration(),
        _ => json!({"endpoint": endpoint, "room": room}),
    }
}

/// Returns a catch-up that grows by a sentence every [`SENTENCE_INTERVAL`] seconds.
fn catch_up(at: i64) -> String {
    let count = INITIAL_SENTENCES.saturating_add(usize::try_from(at / SENTENCE_INTERVAL).unwrap_or(0));
    let questions = (1..).map(|number| format!("Question {number} was asked; Ann answered."));
    let sentences = SENTENCES.iter().map(|sentence| (*sentence).to_owned()).chain(questions);
    sentences.take(count.min(MAX_SENTENCES)).collect::<Vec<_>>().join(" ")
}

fn summary_record(room: &str, file_url: &str) -> Value {
    json!({"id": 113, "meeting_id": 2900, "room_name": room, "file_url": file_url})
}

fn ended() -> Value {
    json!([{
        "room_name": "endedRoom",
        "unique_id": "endedRoom_1718871014",
        "created_at": "2024-06-20T08:10:14.000Z",
        "destroyed_at": "2024-06-20T08:40:14.000Z",
    }])
}

fn configuration() -> Value {
    json!({"features": {
        "audio_call": true, "video_call": true, "live_chat": true, "waiting_room": true, "screen_sharing": true,
        "desktop_streaming": true, "moderator_control": true, "transcript": true, "auto_centering": true,
        "client_side_recording": true, "server_side_recording": true,
    }})
}

/// Returns a token in the form of a JWT, without a valid signature.
pub(super) fn proconf_token(body: &[u8]) -> Reply {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| request.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(role), Some(room), Some(participant)) = (text("role"), text("room"), text("participantName")) else {
        let message = "role, room and participantName are required";
        return Reply::body(400, &json!({"data": null, "error": {"code": 400, "message": message}}).to_string());
    };
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({"alg": "HS256", "typ": "JWT"}));
    let claims = part(&json!({"role": role, "room": room, "participantName": participant}));
    let token = format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode("not a signature"));
    Reply::data(&Value::from(token).to_string())
}
