//! `POST /auth/streamticket`: a ticket opens one stream of one room, once.

use std::time::Duration;

use serde_json::json;

use crate::support::client::request;
use crate::support::events::Events;
use crate::support::{TestServer, tokens, wait_until};

const USED: &str = "stream_tickets";

fn ticket_of(server: &TestServer, token: &str, room: &str) -> String {
    let response = server.client().post_with("/auth/streamticket", token, &json!({"room": room}).to_string());
    response.data().as_str().unwrap().to_owned()
}

fn live(room: &str, ticket: &str) -> String {
    format!("/callCatchUp/{room}/live?ticket={ticket}")
}

/// Opens a stream, and waits for its first event.
fn open(server: &TestServer, target: &str) -> Events {
    let mut events = Events::open(server.address, target, "");
    assert_eq!(events.next().unwrap().data.as_deref(), Some(r#"{"error":null,"data":"r1"}"#));
    events
}

#[test]
fn ticket_opens_one_stream_once_on_any_replica() {
    let server = TestServer::start();
    let replica = server.replica(&[]);
    for (number, token) in [tokens::user(), tokens::guest("r1")].iter().enumerate() {
        let ticket = ticket_of(&server, token, "r1");
        let target = format!("/callCatchUp/r1/live?x=y&ticket={ticket}");
        let (first, second) = if number == 0 { (&server, &replica) } else { (&replica, &server) };
        open(first, &target);
        for server in [first, second] {
            server.client().get(&target, None).assert_unauthorized("used");
        }
    }
}

#[test]
fn ticket_used_twenty_times_at_once_opens_one_stream() {
    let server = TestServer::start();
    let replica = server.replica(&[]);
    let target = live("r1", &ticket_of(&server, &tokens::user(), "r1"));
    let mut statuses = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..20)
            .map(|number| {
                let (server, target) = (if number % 2 == 0 { &server } else { &replica }, &target);
                scope.spawn(move || {
                    let mut connection = server.client().connect();
                    connection.send(&request("GET", target.as_bytes(), None));
                    connection.read().unwrap().status
                })
            })
            .collect();
        opening.into_iter().map(|opening| opening.join().unwrap()).collect::<Vec<_>>()
    });
    statuses.sort_unstable();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 19, "{statuses:?}");
    assert_eq!(server.rows(USED), 1);
}

#[test]
fn ticket_outside_its_room_route_or_lifetime_is_rejected() {
    let server = TestServer::start();
    let (client, user) = (server.client(), tokens::user());
    let ticket = ticket_of(&server, &user, "r1");
    client.get(&live("r1", &ticket), Some(&user)).assert_unauthorized("a token and a ticket");
    client.get("/callCatchUp/r1", Some(&ticket)).assert_unauthorized("a ticket as a token");
    client.get(&format!("/callCatchUp/r1?ticket={ticket}"), None).assert_unauthorized("on another route");
    client.get(&live("r1", &user), None).assert_unauthorized("a token as a ticket");
    client.get(&format!("{}&ticket={ticket}", live("r1", &ticket)), None).assert_unauthorized("twice");
    client.get(&live("r1", ""), None).assert_unauthorized("empty");
    client.get(&live("r1", &format!("{ticket}x")), None).assert_unauthorized("changed");
    server.clock.advance(Duration::from_secs(31));
    client.get(&live("r1", &ticket), None).assert_unauthorized("too late");
    for (token, room, status, message) in [
        (&tokens::guest("r1"), "r2", 403, "Forbidden"),
        (&user, "", 400, "Room name required in query param."),
        (&user, "..", 400, "Room name is not valid."),
    ] {
        let body = json!({"room": room}).to_string();
        client.post_with("/auth/streamticket", token, &body).assert_error(status, message, room);
    }
    client.post("/auth/streamticket", r#"{"room":"r1"}"#).assert_unauthorized("no token");
    assert_eq!((server.calls(), server.rows(USED)), (0, 0));
}

#[test]
fn rejected_ticket_leaves_no_row_and_can_still_be_used() {
    let server = TestServer::start();
    let client = server.client();
    for (used, token) in [(0, tokens::user()), (1, tokens::guest("r1"))] {
        let ticket = ticket_of(&server, &token, "r1");
        client.get(&live("r2", &ticket), None).assert_error(403, "Forbidden", "another room");
        for (room, sentence) in [("%2e%2e", "Room name is not valid."), ("", "Room name required in query param.")] {
            client.get(&live(room, &ticket), None).assert_error(400, sentence, room);
        }
        let two = "The room in the path and roomName in the query differ.";
        client.get(&format!("{}&roomName=r2", live("r1", &ticket)), None).assert_error(400, two, "two rooms");
        client.post(&live("r1", &ticket), "{}").assert_error(404, "Not found", "another method");
        client.get(&live("r1", &ticket), Some(&token)).assert_unauthorized("a token and a ticket");
        assert_eq!(server.rows(USED), used);
        open(&server, &live("r1", &ticket));
        assert_eq!(server.rows(USED), used + 1);
    }
}

#[test]
fn ticket_of_a_revoked_session_is_rejected_and_leaves_no_row() {
    let server = TestServer::with_account(&[]);
    let login = server.log_in().data();
    let ticket = ticket_of(&server, login["token"].as_str().unwrap(), "r1");
    server.client().post("/auth/logout", &json!({"refreshToken": login["refreshToken"]}).to_string()).assert_success("null");
    server.client().get(&live("r1", &ticket), None).assert_unauthorized("revoked");
    server.client().get(&live("r2", &ticket), None).assert_unauthorized("revoked, before the room is checked");
    assert_eq!((server.calls(), server.rows(USED)), (0, 0));
}

#[test]
fn used_tickets_are_pruned_once_no_replica_accepts_them() {
    let server = TestServer::start();
    let target = live("r1", &ticket_of(&server, &tokens::user(), "r1"));
    open(&server, &target);
    // More rows than four steps delete.
    let expired = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 9000) \
                   INSERT INTO stream_tickets (id, expires_at) SELECT 'expired-' || n, n FROM numbers";
    server.execute_sql(expired);
    // A server prunes all expired rows at its start.
    let replica = server.replica(&[]);
    wait_until("expired rows are pruned", || server.rows(USED) == 1);
    replica.client().get(&target, None).assert_unauthorized("used, and its row is kept");
}
