//! The contract's tables, row by row, for the routes there are.

use std::collections::BTreeSet;

use crate::support::client::request;
use crate::support::{TestServer, tokens};
use proconf_app_server::routes::{Access, TABLE};
use proconf_app_server::sandbox::Reply;

/// Every path of the table as a client would ask for it, with the methods that it has.
fn paths() -> Vec<(String, Vec<&'static str>)> {
    let all: BTreeSet<&str> = TABLE.iter().flat_map(|row| row.paths).copied().collect();
    all.into_iter()
        .map(|path| {
            let methods = TABLE.iter().filter(|row| row.paths.contains(&path)).map(|row| row.method.as_str());
            (path.replace("{roomName}", "r1"), methods.collect())
        })
        .collect()
}

#[test]
fn a_known_url_with_a_wrong_method_is_404_with_and_without_a_token() {
    let server = TestServer::start();
    let user = tokens::user();
    for (target, right) in paths() {
        let long = "X".repeat(1000);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "GETT", &long] {
            if !right.contains(&method) {
                for token in [None, Some(user.as_str())] {
                    let answer = server.client().ask(&request(method, target.as_bytes(), token));
                    answer.assert_error(404, "Not found", &format!("{method} {target}"));
                }
            }
        }
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn a_route_that_needs_a_caller_is_401_without_one_and_403_for_a_guest_where_it_needs_a_user() {
    let server = TestServer::start();
    for row in TABLE {
        for path in row.paths {
            let target = path.replace("{roomName}", "r1");
            if row.method == "HEAD" {
                // Its answer has no body; health.rs has it.
                continue;
            }
            let ask = |token: Option<&str>| server.client().ask(&request(row.method.as_str(), target.as_bytes(), token));
            match row.access {
                Access::Public => assert_ne!(ask(None).status, 401, "{target}"),
                Access::Token | Access::TokenOrTicket | Access::User => ask(None).assert_unauthorized(&target),
            }
            if row.access == Access::User {
                ask(Some(&tokens::guest("r1"))).assert_error(403, "Forbidden", &target);
            }
        }
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn every_documented_route_is_in_the_table() {
    let rows: BTreeSet<String> = TABLE.iter().map(|row| format!("{} {}", row.method, row.paths[0])).collect();
    let documented = [
        "GET /auth/joinmember",
        "GET /callCatchUp/{roomName}",
        "GET /callConfig",
        "GET /callStatus/{roomName}",
        "GET /callSummary/{roomName}",
        "GET /meetings",
        "POST /auth/login",
        "POST /auth/logout",
        "POST /auth/refresh",
        "POST /proconfToken",
    ];
    for route in documented {
        assert!(rows.contains(route), "{route}");
    }
}

#[test]
fn head_is_404_without_a_body() {
    let server = TestServer::start();
    for (target, methods) in paths() {
        if methods.contains(&"HEAD") {
            continue;
        }
        for token in [String::new(), format!("Authorization: Bearer {}\r\n", tokens::user())] {
            let mut connection = server.client().connect();
            connection.send(format!("HEAD {target} HTTP/1.1\r\nHost: t\r\n{token}Connection: close\r\n\r\n").as_bytes());
            let raw = connection.read_to_end();
            assert!(raw.starts_with("HTTP/1.1 404 ") && raw.ends_with("\r\n\r\n"), "{raw}");
        }
    }
}

#[test]
fn an_unknown_url_is_404_before_anybody_asks_for_a_token() {
    let server = TestServer::start();
    for target in [
        "//",
        "/callCatchU",
        "/callcatchup/r1",
        "/CALLCATCHUP/r1",
        "/callCatchUp/r1/",
        "/callCatchUp/r1/x",
        "/callCatchUp//r1",
        "//callCatchUp/r1",
        "/api/callCatchUp/r1",
        "/api/call-catchup/r1",
        "/x/../callCatchUp/r1",
        "/./callCatchUp/r1",
        "/callCatchUp;a=b",
        "/callCatchUp%2fr1",
        "/callCatchUp/r1/../../auth/joinmember",
        "/metrics",
        "/.env",
        "*",
    ] {
        server.client().get(target, None).assert_error(404, "Not found", target);
        server.client().get(target, Some(&tokens::user())).assert_error(404, "Not found", target);
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn the_checks_come_in_the_contracts_order() {
    let server = TestServer::start();
    let (client, guest) = (server.client(), tokens::guest("r1"));
    client.ask(&request("POST", b"/callCatchUp/..", None)).assert_error(404, "Not found", "method before token");
    client.get("/callCatchUp/%2e%2e", None).assert_unauthorized("token before input");
    client.get("/callCatchUp", None).assert_unauthorized("token before input");
    client.get("/callCatchUp/r2?roomName=r3", Some(&guest)).assert_error(
        400,
        "The room in the path and roomName in the query differ.",
        "input before permission",
    );
    client.get("/callCatchUp/r2", Some(&guest)).assert_error(403, "Forbidden", "permission before the work");
    assert_eq!(server.calls(), 0);
}

#[test]
fn every_answer_has_a_request_id_and_keeps_a_plain_one() {
    let server = TestServer::start();
    let ask = |id: &str| {
        let request = format!("GET /nothing HTTP/1.1\r\nHost: t\r\nX-Request-Id: {id}\r\n\r\n");
        server.client().ask(request.as_bytes()).header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(ask("my-id_1.2"), "my-id_1.2");
    let (one, two) = (ask("not plain"), ask("not plain"));
    assert!(one != "not plain" && one != two);
    assert_ne!(ask(&"x".repeat(65)), "x".repeat(65));
}

#[test]
fn what_admin_control_did_decides_what_the_client_gets() {
    let server = TestServer::start();
    let envelope = |error: &str| format!(r#"{{"error":{error},"data":null}}"#);
    let client = server.client();
    for (reply, status, message) in [
        (Reply::body(200, &envelope("null")), 200, ""),
        (Reply::body(201, &envelope("null")), 200, ""),
        (Reply::not_found(), 404, "Not found"),
        (Reply::body(404, "<html>the inside</html>"), 404, "Not found"),
        (Reply::body(200, &envelope(r#"{"code":404,"message":"the inside"}"#)), 404, "Not found"),
        (Reply::body(400, &envelope(r#"{"code":404,"message":"the inside"}"#)), 404, "Not found"),
        (Reply::body(200, &envelope(r#"{"code":401,"message":"the inside"}"#)), 500, "Internal server error"),
        (Reply::body(200, "<html>the inside</html>"), 500, "Internal server error"),
        (Reply::body(200, ""), 500, "Internal server error"),
        (Reply::body(200, r#"{"error":null}"#), 500, "Internal server error"),
        (Reply::body(200, r#"{"data":"the inside"}"#), 500, "Internal server error"),
        (Reply::body(200, r#"[null,"the inside"]"#), 500, "Internal server error"),
    ] {
        server.script.catch_up("r1", reply.clone());
        let answer = client.get("/callCatchUp/r1", Some(&tokens::user()));
        match status {
            200 => answer.assert_success("null"),
            _ => answer.assert_error(status, message, &format!("{reply:?}")),
        }
    }
    for status in [204, 205, 301, 302, 304, 307, 400, 401, 403, 405, 409, 410, 418, 422, 429, 500, 502, 503, 504] {
        server.script.catch_up("r1", Reply::body(status, &envelope(r#""the inside""#)));
        let answer = client.get("/callCatchUp/r1", Some(&tokens::user()));
        answer.assert_error(500, "Internal server error", &status.to_string());
    }
}
