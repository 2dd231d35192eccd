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
