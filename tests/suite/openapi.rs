//! The document: what is served, printed and checked in is one and the same, and it says what the server does.

use std::path::Path;
use std::process::Command;

use crate::support::TestServer;
use crate::support::client::request;
use proconf_app_server::openapi;

#[test]
fn the_checked_in_copy_is_the_document() {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let copy = std::fs::read_to_string(copy).unwrap_or_default();
    assert!(copy == openapi::text(), "the API has changed; renew the copy: cargo run -- openapi > docs/openapi.json");
}

#[test]
fn the_command_prints_what_the_server_serves() {
    let server = TestServer::start();
    let shown = server.client().get("/openapi.json", None);
    assert_eq!((shown.status, shown.header("content-type")), (200, Some("application/json")));
    let output = Command::new(env!("CARGO_BIN_EXE_proconf-app-server")).arg("openapi").env_clear().output().unwrap();
    assert!(output.status.success());
    assert_eq!(shown.text(), String::from_utf8(output.stdout).unwrap());
}

#[test]
fn who_has_the_document_gets_a_304() {
    let server = TestServer::start();
    let first = server.client().get("/openapi.json", None);
    let etag = first.header("etag").unwrap();
    let mut again = request("GET", b"/openapi.json", None);
    again.truncate(again.len() - 2);
    again.extend(format!("If-None-Match: {etag}\r\n\r\n").as_bytes());
    let second = server.client().ask(&again);
    assert_eq!((second.status, second.body.len(), second.header("etag")), (304, 0, Some(etag)));
}

#[test]
fn the_page_to_try_the_api_loads_what_is_its_own_and_allows_nothing_else() {
    let server = TestServer::start();
    let page = server.client().get("/docs", None);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    for part in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.split("; ").any(|stated| stated == part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");

    let html = page.text();
    let loaded: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()))
        .filter(|url| !url.starts_with("data:"))
        .collect();
    assert_eq!(loaded, ["docs/swagger-ui-bundle.js", "docs/page.js", "docs/swagger-ui.css", "openapi.json"]);
    assert!(!html.contains("onload") && html.split("<script").skip(1).all(|script| script.contains("></script>")), "{html}");
    for (url, media_type, longer_than) in [
        ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8", 1_000_000),
        ("/docs/page.js", "text/javascript; charset=utf-8", 100),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8", 100_000),
    ] {
        let file = server.client().get(url, None);
        assert_eq!((file.status, file.header("content-type")), (200, Some(media_type)), "{url}");
        assert!(file.body.len() > longer_than && file.header("etag").is_some(), "{url}");
    }
    server.client().get("/docs/nothing.js", None).is_error(404, "Not found", "a file that is not there");
}
