//! The OpenAPI document and the page that shows it.

use std::process::Command;
use std::sync::LazyLock;

use proconf_app_server::room::NameComparison;
use proconf_app_server::routes::openapi::DOCUMENT;
use proptest::prelude::*;
use regex::Regex;

use crate::support::TestServer;
use crate::support::client::request;

/// The documented pattern of a room name.
static ROOM_PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
    Regex::new(document["components"]["schemas"]["RoomName"]["pattern"].as_str().unwrap()).unwrap()
});

#[test]
fn room_pattern_refuses_forbidden_names() {
    let rejected =
        ["", " ", "   ", ".", "..", "*", "*;x", "..;", "a/b", "a\\b", "a\n", "＊", "．．", "‥", ".․", "℀", "a／b"];
    for name in rejected {
        assert!(!ROOM_PATTERN.is_match(name), "{name:?}");
    }
    for name in ["r1", " a", "...", "**", "*a", ".a", "..a", ";..", " *", "100%", "комната", "🎥", "…", "‥.", "．．．"]
    {
        assert!(ROOM_PATTERN.is_match(name), "{name:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Omits what no pattern can express: escapes, and the length in bytes.
    #[test]
    fn room_pattern_admits_what_the_server_admits(name in r"([.．․﹒‥︰…*﹡＊;；﹔ /／＼℅a\u{0}\u{85}\u{338}]|[^%％﹪]){0,6}") {
        prop_assert_eq!(ROOM_PATTERN.is_match(&name), NameComparison::Exact.parse(&name).is_ok(), "{:?}", name);
    }
}

#[test]
fn command_prints_the_served_document() {
    let server = TestServer::start();
    let response = server.client().get("/openapi.json", None);
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    let output = Command::new(env!("CARGO_BIN_EXE_proconf-app-server")).arg("openapi").env_clear().output().unwrap();
    assert!(output.status.success());
    assert_eq!(response.text(), String::from_utf8(output.stdout).unwrap());
}

#[test]
fn document_with_matching_etag_is_304() {
    let server = TestServer::start();
    let first = server.client().get("/openapi.json", None);
    let etag = first.header("etag").unwrap();
    let mut again = request("GET", b"/openapi.json", None);
    again.truncate(again.len() - 2);
    again.extend(format!("If-None-Match: {etag}\r\n\r\n").as_bytes());
    let second = server.client().request(&again);
    assert_eq!((second.status, second.body.len(), second.header("etag")), (304, 0, Some(etag)));
}

#[test]
fn docs_page_loads_only_its_own_files() {
    let server = TestServer::start();
    let page = server.client().get("/docs", None);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    for part in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.split("; ").any(|directive| directive == part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");

    let html = page.text();
    let loaded: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()))
        .filter(|url| !url.starts_with("data:"))
        .collect();
    let folder = loaded[0].trim_end_matches("swagger-ui-bundle.js");
    let hash = folder.strip_prefix("docs/").and_then(|rest| rest.strip_suffix('/')).unwrap();
    assert!(hash.len() > 20 && !hash.contains('/'), "{folder}");
    let files = ["swagger-ui-bundle.js", "page.js", "swagger-ui.css", "page.css"].map(|file| format!("{folder}{file}"));
    assert_eq!(loaded, [files[0].as_str(), &files[1], &files[2], &files[3], "openapi.json"]);
    assert!(!html.contains("onload") && html.split("<script").skip(1).all(|script| script.contains("></script>")), "{html}");
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    for (file, media_type, longer_than) in [
        (&files[0], "text/javascript; charset=utf-8", 1_000_000),
        (&files[1], "text/javascript; charset=utf-8", 100),
        (&files[2], "text/css; charset=utf-8", 100_000),
        (&files[3], "text/css; charset=utf-8", 100),
    ] {
        let url = format!("/{file}");
        let file = server.client().get(&url, None);
        assert_eq!((file.status, file.header("content-type")), (200, Some(media_type)), "{url}");
        assert!(file.body.len() > longer_than && file.header("etag").is_some(), "{url}");
        // Immutable, because the hash of the content is in the path; any other path is a 404.
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"), "{url}");
        for other in [url.replace(hash, "x"), url.replace(&format!("{hash}/"), ""), url.replace(hash, "..")] {
            server.client().get(&other, None).assert_error(404, "Not found", &other);
        }
    }
    server.client().get(&format!("/{folder}nothing.js"), None).assert_error(404, "Not found", "an unknown file");
}
