//! The contract's rules that hold for every route: unknown paths, other methods, the order of checks, request ids.

use std::collections::BTreeSet;

use crate::support::client::request;
use crate::support::{TestServer, tokens};
use proconf_app_server::routes::{Access, TABLE};
use proconf_app_server::sandbox::Reply;

/// Every path of the route table, with a room, and its methods.
fn paths() -> Vec<(String, Vec<&'static str>)> {
    let all: BTreeSet<&str> = TABLE.iter().flat_map(|row| row.paths).copied().collect();
    all.into_iter()
        .map(|path| {
            let methods = TABLE.iter().filter(|row| row.paths.contains(&path)).map(|row| row.method.as_str());
            (path.replace("{roomName}", "r1").replace("{id}", "i1"), methods.collect())
        })
        .collect()
}

#[test]
fn known_path_with_another_method_is_404() {
    let server = TestServer::start();
    let user = tokens::user();
    for (target, right) in paths() {
        let long = "X".repeat(1000);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "GETT", &long] {
            if !right.contains(&method) {
                for token in [None, Some(user.as_str())] {
                    let response = server.client().request(&request(method, target.as_bytes(), token));
                    response.assert_error(404, "Not found", &format!("{method} {target}"));
                    assert_eq!(response.header("x-not-found"), Some("method"), "{method} {target}");
                }
            }
        }
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn protected_route_without_a_permitted_token_is_rejected() {
    let server = TestServer::start();
    for row in TABLE {
        for path in row.paths {
            let target = path.replace("{roomName}", "r1");
            if row.method == "HEAD" {
                // Its response has no body; `health` tests it.
                continue;
            }
            let fetch =
                |token: Option<&str>| server.client().request(&request(row.method.as_str(), target.as_bytes(), token));
            match row.access {
                Access::Public => assert_ne!(fetch(None).status, 401, "{target}"),
                Access::Token | Access::TokenOrTicket | Access::TokenOrApiKey | Access::User => {
                    fetch(None).assert_unauthorized(&target);
                }
            }
            if row.access == Access::User {
                fetch(Some(&tokens::guest("r1"))).assert_error(403, "Forbidden", &target);
            }
        }
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn documented_routes_are_in_the_table() {
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
            connection.send(format!("HEAD {target} HTTP/1.1\r\nHost: t\r\n{token}\r\n").as_bytes());
            connection.send(b"GET /nowhere HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
            let both = connection.read_to_end();
            assert_eq!(both.matches("HTTP/1.1 404 ").count(), 2, "{both}");
            assert_eq!(both.matches(r#"{"data":null"#).count(), 1, "only the second response has a body: {both}");
        }
    }
}

#[test]
fn unknown_path_is_404_with_or_without_a_token() {
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
        let response = server.client().get(target, None);
        response.assert_error(404, "Not found", target);
        assert_eq!(response.header("x-not-found"), Some("unknown-route"), "{target}");
        server.client().get(target, Some(&tokens::user())).assert_error(404, "Not found", target);
    }
    assert_eq!(server.calls(), 0);
}

#[test]
fn unknown_room_is_404_and_named_so() {
    let server = TestServer::start();
    for endpoint in ["call-catchup", "call-summary", "sessions-status"] {
        server.script.set(endpoint, "r1", Reply::not_found());
    }
    for target in ["/callCatchUp/r1", "/callSummary/r1", "/callStatus/r1"] {
        let response = server.client().get(target, Some(&tokens::user()));
        response.assert_error(404, "Not found", target);
        assert_eq!(response.header("x-not-found"), Some("unknown-room"), "{target}");
    }
}

#[test]
fn head_of_pages_and_files_is_get_without_a_body() {
    let server = TestServer::start();
    let page = server.client().get("/", None);
    let file = page.text().split('"').find(|value| value.starts_with("/console/")).unwrap().to_owned();
    for target in ["/", "/docs", "/openapi.json", &file] {
        let expected = server.client().get(target, None);
        let mut connection = server.client().connect();
        connection.send(format!("HEAD {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes());
        let head = connection.read_to_end().to_lowercase();
        assert!(head.starts_with("http/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        for name in ["content-length", "content-type", "etag"] {
            let line = format!("{name}: {}\r\n", expected.header(name).unwrap().to_lowercase());
            assert!(head.contains(&line), "{target}: {line} {head}");
        }
    }
}

#[test]
fn docs_with_a_slash_redirects_to_docs() {
    let response = TestServer::start().client().get("/docs/", None);
    assert_eq!((response.status, response.header("location")), (308, Some("/docs")));
}

#[test]
fn checks_run_in_the_documented_order() {
    let server = TestServer::start();
    let (client, guest) = (server.client(), tokens::guest("r1"));
    client.request(&request("POST", b"/callCatchUp/..", None)).assert_error(404, "Not found", "method before token");
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
fn plain_request_id_is_echoed_and_others_are_replaced() {
    let server = TestServer::start();
    let fetch = |id: &str| {
        let request = format!("GET /nothing HTTP/1.1\r\nHost: t\r\nX-Request-Id: {id}\r\n\r\n");
        server.client().request(request.as_bytes()).header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(fetch("my-id_1.2"), "my-id_1.2");
    let (one, two) = (fetch("not plain"), fetch("not plain"));
    assert!(one != "not plain" && one != two);
    assert_ne!(fetch(&"x".repeat(65)), "x".repeat(65));
}

/// `faults` has the other statuses and bodies.
#[test]
fn upstream_response_maps_to_the_documented_status() {
    let server = TestServer::start();
    let envelope = |error: &str| format!(r#"{{"error":{error},"data":null}}"#);
    let client = server.client();
    for (reply, status, message) in [
        (Reply::body(200, &envelope("null")), 200, ""),
        (Reply::body(201, &envelope("null")), 200, ""),
        (Reply::body(400, &envelope(r#"{"code":404,"message":"the inside"}"#)), 404, "Not found"),
        (Reply::body(200, r#"{"data":"the inside"}"#), 500, "Internal server error"),
    ] {
        server.script.catch_up("r1", reply.clone());
        let response = client.get("/callCatchUp/r1", Some(&tokens::user()));
        match status {
            200 => response.assert_success("null"),
            _ => response.assert_error(status, message, &format!("{reply:?}")),
        }
    }
    for status in [405, 409, 418, 422, 504] {
        server.script.catch_up("r1", Reply::body(status, &envelope(r#""the inside""#)));
        let response = client.get("/callCatchUp/r1", Some(&tokens::user()));
        response.assert_error(500, "Internal server error", &status.to_string());
    }
}
