//! Compressed static files: pages, assets and the OpenAPI document.

use std::io::Read as _;

use flate2::read::GzDecoder;

use crate::support::response::Response;
use crate::support::{TestServer, tokens};

/// Pages, the document, and an asset of each page.
fn targets(server: &TestServer) -> Vec<String> {
    let script = |page: &str| {
        let page = server.client().get(page, None);
        let (_, source) = page.text().split_once("src=\"").unwrap();
        format!("/{}", source.split('"').next().unwrap().trim_start_matches('/'))
    };
    vec!["/".to_owned(), "/docs".to_owned(), "/openapi.json".to_owned(), script("/"), script("/docs")]
}

fn get(server: &TestServer, target: &str, headers: &str) -> Response {
    server.client().request(format!("GET {target} HTTP/1.1\r\nHost: t\r\n{headers}\r\n").as_bytes())
}

#[test]
fn file_is_compressed_only_for_clients_that_prefer_gzip() {
    let server = TestServer::start();
    for target in targets(&server) {
        let plain = get(&server, &target, "");
        assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{target}");
        assert_eq!(plain.header("vary"), Some("Accept-Encoding"), "{target}");
        for (accepted, is_compressed) in [
            ("gzip", true),
            ("GZIP", true),
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, gzip;q=0.2", true),
            ("identity;q=0.5, gzip;q=0.8", true),
            ("gzip, *;q=0", true),
            ("gzip;q=0", false),
            ("gzip;q=0.5, identity", false),
            ("identity", false),
            ("br", false),
            ("*", false),
            ("*;q=0", false),
            ("gzip;q=x", false),
            ("", false),
        ] {
            let response = get(&server, &target, &format!("Accept-Encoding: {accepted}\r\n"));
            assert_eq!((response.status, response.header("vary")), (200, Some("Accept-Encoding")), "{target} {accepted}");
            assert_eq!(response.header("content-type"), plain.header("content-type"), "{target} {accepted}");
            let coding = is_compressed.then_some("gzip");
            assert_eq!(response.header("content-encoding"), coding, "{target} {accepted}");
            // A strong entity tag names one sequence of bytes.
            assert_eq!(response.header("etag") == plain.header("etag"), !is_compressed, "{target} {accepted}");
            let mut body = Vec::new();
            if is_compressed {
                assert!(response.body.len() < plain.body.len(), "{target} {accepted}");
                GzDecoder::new(response.body.as_slice()).read_to_end(&mut body).unwrap();
            } else {
                body.clone_from(&response.body);
            }
            assert!(body == plain.body, "{target} {accepted}");
        }
    }
}

#[test]
fn compressed_file_is_revalidated_by_its_own_etag() {
    let server = TestServer::start();
    for target in targets(&server) {
        let plain = get(&server, &target, "").header("etag").unwrap().to_owned();
        let compressed = get(&server, &target, "Accept-Encoding: gzip\r\n");
        let etag = compressed.header("etag").unwrap();
        let again = get(&server, &target, &format!("Accept-Encoding: gzip\r\nIf-None-Match: {etag}\r\n"));
        assert_eq!((again.status, again.header("etag"), again.header("vary")), (304, Some(etag), Some("Accept-Encoding")));
        assert_eq!((again.header("content-encoding"), again.body.len()), (None, 0), "{target}");
        let other = get(&server, &target, &format!("Accept-Encoding: gzip\r\nIf-None-Match: {plain}\r\n"));
        assert_eq!((other.status, &other.body), (200, &compressed.body), "{target}: the client has other bytes");
        let request = format!("HEAD {target} HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n");
        let mut connection = server.client().connect();
        connection.send(request.as_bytes());
        let head = connection.read_to_end();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        for name in ["content-length", "content-encoding", "etag", "vary"] {
            let line = format!("\r\n{name}: {}\r\n", compressed.header(name).unwrap());
            assert!(head.to_lowercase().contains(&line.to_lowercase()), "{target}: {line} {head}");
        }
    }
}

#[test]
fn api_responses_are_never_compressed() {
    let server = TestServer::start();
    let long = "\"".to_owned() + &"word ".repeat(10_000) + "\"";
    server.script.catch_up("r1", proconf_app_server::sandbox::Reply::data(&long));
    let token = format!("Accept-Encoding: gzip\r\nAuthorization: Bearer {}\r\n", tokens::user());
    for target in ["/callCatchUp/r1", "/callConfig", "/meetings", "/nowhere", "/health/live"] {
        let response = get(&server, target, &token);
        assert_eq!((response.header("content-encoding"), response.header("vary")), (None, None), "{target}");
    }
}
