//! `APP_ROOMS__NAMES`: whether two spellings of a name are one room.

use std::net::SocketAddr;

use proconf_app_server::sandbox::Reply;
use serde_json::{Value, json};

use crate::room_names::{percent_encoded, request_everywhere};
use crate::support::events::Events;
use crate::support::redis::Redis;
use crate::support::replicas::{Replicas, calls_of, get, wait_until_stored};
use crate::support::response::Response;
use crate::support::{TestServer, tokens};

const JITSI: (&str, &str) = ("APP_ROOMS__NAMES", "jitsi");
const FRESH: (&str, &str) = ("APP_CATCH_UP__FRESH_FOR", "60s");
const STALE: (&str, &str) = ("APP_CATCH_UP__STALE_IF_ERROR", "60s");
/// One poll, and no further one during a test.
const ONE_POLL: (&str, &str) = ("APP_LIVE__POLL_INTERVAL", "60s");

/// Pairs of spellings of one room.
const SPELLINGS: [(&str, &str); 4] = [("testRoom", "TESTROOM"), ("комната", "КОМНАТА"), ("r1", "r１"), ("é", "e\u{301}")];

/// Pairs of different rooms in both modes.
const OTHERS: [(&str, &str); 4] = [("testRoom", "testRooms"), ("testRoom", "testRoom "), ("r1", "r1\u{200b}"), ("ı", "i")];

fn get_room(server: &TestServer, route: &str, room: &str, token: &str) -> Response {
    server.client().get(&format!("{route}/{}", percent_encoded(room)), Some(token))
}

fn ticket(server: &TestServer, room: &str, token: &str) -> String {
    let response = server.client().post_with("/auth/streamticket", token, &json!({"room": room}).to_string());
    response.data().as_str().unwrap().to_owned()
}

fn live(room: &str, ticket: &str) -> String {
    format!("/callCatchUp/{}/live?ticket={ticket}", percent_encoded(room))
}

fn first_event(address: SocketAddr, room: &str) -> Value {
    let event = Events::subscribe(address, &percent_encoded(room), &tokens::user()).next().expect("an event");
    serde_json::from_str(&event.data.unwrap()).unwrap()
}

/// Stores a summary of `room` under the key of the sandbox's record.
fn put_summary(server: &TestServer, room: &str) {
    server.put_summary(&format!("{room}_1718871014/summary.txt"), room);
}

/// Requests `one`, then, while Admin Control fails, `other`, on each cached route.
fn get_while_admin_control_fails(server: &TestServer, one: &str, other: &str) -> [Response; 3] {
    let endpoints = ["call-catchup", "sessions-status", "call-summary"];
    let routes = ["/callCatchUp", "/callStatus", "/callSummary"];
    put_summary(server, one);
    for endpoint in endpoints {
        server.script.set(endpoint, "", Reply::default());
    }
    for route in routes {
        get_room(server, route, one, &tokens::user()).data();
    }
    for endpoint in endpoints {
        server.script.set(endpoint, "", Reply::body(500, "{}"));
    }
    routes.map(|route| get_room(server, route, other, &tokens::user()))
}

#[track_caller]
fn assert_guest_rejected(server: &TestServer, one: &str, other: &str) {
    for (place, response) in request_everywhere(server, other, &tokens::guest(one)) {
        response.assert_error(403, "Forbidden", &format!("{other:?} at {place} for a guest of {one:?}"));
    }
    let ticket = ticket(server, one, &tokens::user());
    server.client().get(&live(other, &ticket), None).assert_error(403, "Forbidden", "a ticket of another room");
    assert_eq!(server.calls(), 0);
}

#[test]
fn other_room_is_rejected_in_both_modes() {
    for settings in [&[][..], &[JITSI]] {
        let server = TestServer::with(settings);
        for (one, other) in OTHERS {
            assert_guest_rejected(&server, one, other);
        }
    }
}

#[test]
fn other_spelling_is_another_room_by_default() {
    let server = TestServer::with(&[FRESH, STALE]);
    for (one, other) in SPELLINGS {
        assert_guest_rejected(&server, one, other);
        let both = format!("/callCatchUp/{}?roomName={}", percent_encoded(one), percent_encoded(other));
        server.client().get(&both, Some(&tokens::user())).assert_error(
            400,
            "The room in the path and roomName in the query differ.",
            one,
        );
    }
    for (one, other) in SPELLINGS {
        for response in get_while_admin_control_fails(&server, one, other) {
            response.assert_error(500, "Internal server error", other);
        }
    }
}

#[test]
fn guest_enters_its_room_in_any_spelling_with_jitsi() {
    let server = TestServer::with(&[JITSI]);
    for (one, other) in SPELLINGS {
        let (guest, before) = (tokens::guest(one), server.calls());
        put_summary(&server, other);
        assert_eq!(get_room(&server, "/callCatchUp", other, &guest).data(), other);
        get_room(&server, "/callStatus", other, &guest).data();
        assert_eq!(get_room(&server, "/callSummary", other, &guest).data(), other);
        let both = format!("/callCatchUp/{}?roomName={}", percent_encoded(other), percent_encoded(one));
        assert_eq!(server.client().get(&both, Some(&guest)).data(), other, "the spelling of the path");
        let body = json!({"role": "member", "room": other, "participantName": "Ann"}).to_string();
        server.client().post_with("/proconfToken", &guest, &body).data();
        for call in &server.script.requests()[before..] {
            let raw = call.target.rsplit('/').next().unwrap();
            let forwarded = match serde_json::from_slice::<Value>(&call.body) {
                Ok(body) => body["room"].as_str().unwrap().to_owned(),
                Err(_) => percent_encoding::percent_decode_str(raw).decode_utf8().unwrap().into_owned(),
            };
            assert_eq!(forwarded, other, "{call:?}");
        }
    }
}

#[test]
fn ticket_opens_the_stream_in_any_spelling_with_jitsi() {
    let server = TestServer::with(&[JITSI, ONE_POLL]);
    for (one, other) in SPELLINGS {
        let ticket = ticket(&server, other, &tokens::guest(one));
        let event = Events::open(server.address, &live(one, &ticket), "").next().expect("an event");
        assert!(event.data.unwrap().contains(one));
    }
}

#[test]
fn spellings_share_cache_entries_with_jitsi() {
    let server = TestServer::with(&[JITSI, FRESH, STALE]);
    for (one, other) in SPELLINGS {
        let [catch_up, status, summary] = get_while_admin_control_fails(&server, one, other);
        assert_eq!((catch_up.data(), summary.data()), (one.into(), one.into()));
        assert_eq!(status.status, 200);
    }
}

#[test]
fn spellings_share_one_poll_with_jitsi_only() {
    for (settings, shown) in [(&[ONE_POLL][..], "TESTROOM"), (&[ONE_POLL, JITSI], "testRoom")] {
        let server = TestServer::with(settings);
        let mut watching = Events::subscribe(server.address, "testRoom", &tokens::user());
        watching.next().expect("an event");
        assert_eq!(first_event(server.address, "TESTROOM")["data"], shown);
        drop(watching);
    }
}

#[test]
fn ended_meeting_is_found_by_folded_name_with_jitsi_only() {
    for (settings, reason) in [(&[][..], "none-yet"), (&[JITSI], "meeting-ended")] {
        let server = TestServer::with(settings);
        for endpoint in ["call-catchup", "sessions-status"] {
            server.script.set(endpoint, "", Reply::not_found());
        }
        server.script.set("meetings", "", Reply::data(r#"[{"room_name":"TestRoom"}, {"room_name":"other"}]"#));
        let response = get_room(&server, "/callCatchUp", "testrOOM", &tokens::user());
        assert_eq!((response.status, response.header("x-catch-up-reason")), (404, Some(reason)));
        assert_eq!(
            get_room(&server, "/callCatchUp", "testrOO", &tokens::user()).header("x-catch-up-reason"),
            Some("none-yet")
        );
    }
}

#[test]
fn replicas_share_spellings_with_jitsi_only() {
    for (settings, calls) in [(&[][..], 2), (&[JITSI], 1)] {
        let redis = Redis::start();
        let replicas = Replicas::with(2, &redis.url(), settings);
        get(replicas.client(0), "testRoom").assert_success(r#""testRoom""#);
        wait_until_stored(&redis, 1);
        assert_eq!(get(replicas.client(1), "TESTROOM").status, 200);
        assert_eq!(replicas.calls(), calls);
    }
}

#[test]
fn replicas_with_different_modes_share_nothing() {
    let redis = Redis::start();
    let exact = Replicas::with(1, &redis.url(), &[]);
    let jitsi = Replicas::with(1, &redis.url(), &[JITSI, ("APP_ADMIN_CONTROL__BASE_URL", &exact.sandbox.base_url)]);
    get(jitsi.client(0), "TESTROOM").assert_success(r#""TESTROOM""#);
    wait_until_stored(&redis, 1);
    get(exact.client(0), "testroom").assert_success(r#""testroom""#);
    assert_eq!(calls_of(&exact.script), 2);
}

#[test]
fn summary_record_is_matched_in_any_spelling_in_both_modes() {
    for settings in [&[][..], &[JITSI]] {
        let server = TestServer::with(settings);
        let record = |room_name: &str, file_url: &str| {
            let record = json!({"id": 1, "room_name": room_name, "file_url": file_url}).to_string();
            server.script.set("call-summary", "TestRoom", Reply::data(&record));
            get_room(&server, "/callSummary", "TestRoom", &tokens::guest("TestRoom"))
        };
        server.put_summary("testroom_17/s.txt", "lower case");
        server.put_summary("TESTROOM_17/s.txt", "upper case");
        server.put_summary("testroom_2_17/s.txt", "another room's");
        for (room_name, file_url) in [
            ("testrooms", "testroom_17/s.txt"),
            ("testroom_2", "testroom_2_17/s.txt"),
            ("testroom", "testroom_2_17/s.txt"),
            ("testroom", "testroom/s.txt"),
            ("testroom", "testroom_/s.txt"),
            ("testroom", "_17/s.txt"),
            ("", "testroom_17/s.txt"),
        ] {
            record(room_name, file_url).assert_error(500, "Internal server error", &format!("{room_name:?} {file_url}"));
        }
        assert_eq!(record("testroom", "testroom_17/s.txt").data(), "lower case");
        assert_eq!(record("TESTROOM", "testroom_17/s.txt").data(), "lower case");
        assert_eq!(record("testroom", "TESTROOM_17/s.txt").data(), "upper case", "the key is read unfolded");
        record("testroom", "TestRoom_17/s.txt").assert_error(404, "Not found", "the key is read unfolded");
    }
}
