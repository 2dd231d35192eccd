//! The console: its files over HTTP, and (in the submodules) its behaviour in a browser.

mod accessibility;
mod browser;
mod hostile;
mod identity;
mod invitations;
mod tabs;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::TestServer;
use crate::support::client::request;
use crate::support::response::Response;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("static/console")
}

/// Returns the name and the content of each file.
fn files() -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder()).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// Returns the URL path of the page's files.
fn folder_of(server: &TestServer) -> String {
    let page = server.client().get("/", None);
    let (_, from) = page.text().split_once("src=\"").unwrap();
    let (address, _) = from.split_once("main.js\"").unwrap();
    address.to_owned()
}

fn address_of(server: &TestServer, name: &str) -> String {
    if name == "index.html" { "/".to_owned() } else { format!("{}{name}", folder_of(server)) }
}

fn if_none_match(target: &str, etag: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: t\r\nIf-None-Match: {etag}\r\n\r\n").into_bytes()
}

#[test]
fn file_is_served_without_a_token_with_its_media_type() {
    let server = TestServer::start();
    for (name, bytes) in files() {
        let response = server.client().get(&address_of(&server, &name), None);
        let media_type = match name.rsplit('.').next().unwrap() {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert_eq!((response.status, response.header("content-type")), (200, Some(media_type)), "{name}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{name}");
        let is_page = name == "index.html";
        let caching = if is_page { "no-cache" } else { "public, max-age=31536000, immutable" };
        assert_eq!(response.header("cache-control"), Some(caching), "{name}");
        let text = response.text().replace(&folder_of(&server), "/console/");
        assert!(text.as_bytes() == bytes, "{name}: its content is served unchanged");
        assert_eq!(response.body == bytes, !is_page, "{name}: only the page is changed");
    }
}

#[test]
fn page_may_load_and_call_only_its_own_server() {
    let server = TestServer::start();
    for target in ["/", "/?room=R", "/?room=%3Cscript%3E", "/?"] {
        let response = server.client().get(target, None);
        assert_eq!(response.header("content-security-policy"), Some(POLICY), "{target}");
        assert_eq!(response.header("cross-origin-opener-policy"), Some("same-origin"), "{target}");
        assert_eq!(response.header("set-cookie"), None, "{target}");
    }
}

#[test]
fn current_file_gets_304_and_outdated_one_the_new_file() {
    let server = TestServer::start();
    for (name, bytes) in files() {
        let target = address_of(&server, &name);
        let first = server.client().get(&target, None);
        let etag = first.header("etag").unwrap();
        let again = server.client().request(&if_none_match(&target, etag));
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(etag)), "{name}");
        let older = server.client().request(&if_none_match(&target, "\"older\""));
        assert!(older.status == 200 && older.body == first.body && (name == "index.html" || older.body == bytes), "{name}");
    }
}

#[test]
fn settings_of_a_deployment_name_no_sample_rooms() {
    let server = TestServer::start();
    server
        .client()
        .get("/console/settings", None)
        .assert_success(r#"{"passwordLogin":true,"guestLinks":true,"sampleRooms":[]}"#);
}

#[test]
fn path_traversal_in_any_spelling_gets_404() {
    let server = TestServer::start();
    let steps = [
        "..",
        "%2e%2e",
        ".%2e",
        "%2e.",
        "%252e%252e",
        "..%00",
        "..;",
        "%c0%ae%c0%ae",
        "%uff0e%uff0e",
        "....",
        ".%00.",
        "..\\",
        "%2e%2e%5c",
        "\\..",
        "~",
        ".",
        "%2e",
    ];
    let ends = ["etc/passwd", "Cargo.toml", ".env", "var/app.db", "static/console/index.html"];
    let mut targets: Vec<String> = steps
        .iter()
        .flat_map(|step| ["/", "%2f", "%5c", "%252f"].map(|slash| format!("/console/{step}{slash}{step}{slash}")))
        .flat_map(|start| ends.map(|end| format!("{start}{end}")))
        .collect();
    targets.extend(
        [
            "/console",
            "/console/",
            "/console//",
            "/console/index.html",
            "/console/.git/config",
            "/console/.env",
            "/console/%2e%67it",
            "/console/main.js.map",
            "/console/main.mjs",
            "/console/main.js/",
            "/console/main.js%00",
            "/console/main.js%20",
            "/console/Main.js",
            "/console/main",
            "/console//main.js",
            "/console/./main.js",
            "/console/x/../main.js",
            "/console/%2fetc%2fpasswd",
            "/console/%00",
            "/console/README.md",
            "/console/app.db",
            "/static/console/main.js",
            "/index.html",
            "/favicon.ico",
            "/robots.txt",
            "/.git/config",
            "/.env",
            "/main.js",
        ]
        .map(str::to_owned),
    );
    let (folder, own) = (folder_of(&server), targets.clone());
    targets.extend(own.iter().filter_map(|target| Some(format!("{folder}{}", target.strip_prefix("/console/")?))));
    targets.extend(["/console/main.js", "/console/x/main.js", "/console/AAAAAAAAAAAAAAAAAAAAAA/main.js"].map(str::to_owned));
    assert!(targets.len() > 600, "{}", targets.len());
    for target in targets {
        server.client().get(&target, None).assert_error(404, "Not found", &target);
    }
}

/// Returns spellings of another site's URL that some servers mistake for a path of their own.
fn foreign_urls() -> Vec<String> {
    let starts = [
        "/",
        "//",
        "///",
        "////",
        "/\\",
        "/\\\\",
        "\\\\",
        "/%5c",
        "/%2f",
        "/%2f%2f",
        "/%5c%5c",
        "/%09/",
        "/%09//",
        "/%0a/",
        "/%0d/",
        "/%0d%0a",
        "/%00/",
        "/%20/",
        "/./",
        "/.//",
        "/../",
        "/..//",
        "/;/",
        "/;@",
        "/@",
        "/:/",
        "/x//",
        "/console//",
        "/console/",
        "/console/..//",
        "/console/%2f",
        "/http://",
        "/http:/",
        "/https:",
        "/https:///",
        "/%68ttp://",
        "/\u{2215}",
        "/\u{ff0f}",
        "http://",
        "https://",
        "https:/",
        "https:",
        "javascript:alert(1)//",
        "data:text/html,",
    ];
    let hosts = ["evil.example", "evil.example:80", "a@evil.example", "2130706433", "[::1]", "evil%E3%80%82example"];
    let ends = ["", "/", "/%2e%2e", "/..", "/%2f..", "%2f%2e%2e", "?", "#", "/..;/"];
    let with_host = |start: &'static str| hosts.into_iter().map(move |host| format!("{start}{host}"));
    starts.into_iter().flat_map(with_host).flat_map(|start| ends.map(|end| format!("{start}{end}"))).collect()
}

#[test]
fn no_url_redirects_to_another_site() {
    let server = TestServer::start();
    let assert_no_redirect = |response: Response, case: &str| {
        let redirects = response.header("location").is_some() || response.header("refresh").is_some();
        assert!(!(300..400).contains(&response.status) && !redirects, "{case}: {response:?}");
    };
    let all = foreign_urls();
    assert!(all.len() > 2000, "{}", all.len());
    for (number, payload) in all.iter().enumerate() {
        assert_no_redirect(server.client().request(&request("GET", payload.as_bytes(), None)), payload);
        let name = ["next", "url", "redirect", "room"][number % 4];
        let target = format!("/?{name}={payload}");
        assert_no_redirect(server.client().request(&request("GET", target.as_bytes(), None)), &target);
    }
}

#[test]
fn source_has_no_unsafe_dom_or_inline_script() {
    let forbidden = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "Function(",
        "setHTMLUnsafe",
        "parseFromString",
        "createContextualFragment",
        "srcdoc",
        "javascript:",
        "localStorage",
        "document.cookie",
        "import(",
        "http://",
        "https://",
        "window.open",
    ];
    let mut bytes_read = 0;
    for (name, bytes) in files() {
        let text = String::from_utf8(bytes).unwrap();
        bytes_read += text.len();
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for word in forbidden {
            assert!(!text.contains(word), "{name} has {word}");
        }
        if name == "index.html" {
            let lower = text.to_lowercase();
            for inline in
                [" style=", "<style", " onclick=", " onload=", " onerror=", " onsubmit=", "<script>", "<base", "<iframe"]
            {
                assert!(!lower.contains(inline), "{name} has {inline}");
            }
            let is_handler = |word: &str| word.starts_with("on") && word.contains("=\"");
            assert!(!lower.split_whitespace().any(is_handler), "{name} has a handler");
            assert_eq!(lower.matches("<script").count(), lower.matches("<script type=\"module\" src=\"/console/").count());
        }
        assert!(text.lines().count() <= 700, "{name} is short enough to read");
    }
    assert!(bytes_read > 20_000, "the sources were read");
}
