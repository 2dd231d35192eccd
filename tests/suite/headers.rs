//! CORS, security headers, and request headers that must have no effect.

use crate::support::client::Client;
use crate::support::client::request;
use crate::support::response::Response;
use crate::support::{TestServer, tokens};

const ORIGIN: &str = "https://app.example.com";

fn with_origins() -> TestServer {
    TestServer::with(&[("APP_SERVER__CORS_ORIGINS", "https://app.example.com,http://localhost:3000")])
}

fn fetch(server: &TestServer, line: &str, headers: &str) -> Response {
    server.client().request(format!("{line} HTTP/1.1\r\nHost: t\r\n{headers}\r\n").as_bytes())
}

fn cors(response: &Response) -> Vec<&(String, String)> {
    response.headers.iter().filter(|(name, _)| name.starts_with("access-control-")).collect()
}

#[test]
fn unlisted_origin_gets_no_cors_headers() {
    let server = with_origins();
    for origin in [
        "https://evil.com",
        "null",
        "*",
        "https://app.example.com.evil.com",
        "https://evilapp.example.com",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://app.example.com:443",
        "https://APP.example.com",
        "https://app.example.com/",
        "https://app.example.com, https://evil.com",
        "",
    ] {
        for line in ["GET /callConfig", "OPTIONS /callConfig", "OPTIONS /nowhere"] {
            let headers = format!("Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\n");
            let response = fetch(&server, line, &headers);
            assert!(cors(&response).is_empty(), "{line} of {origin:?}: {response:?}");
            assert_eq!(response.header("vary"), Some("Origin"), "caches must not mix them up");
            assert_eq!(response.status, if line.starts_with("GET") { 401 } else { 404 }, "{line} of {origin:?}");
        }
    }
    let response = fetch(
        &TestServer::start(),
        "OPTIONS /callConfig",
        &format!("Origin: {ORIGIN}\r\nAccess-Control-Request-Method: GET\r\n"),
    );
    response.assert_error(404, "Not found", "no origin is allowed by default");
    assert!(cors(&response).is_empty() && response.header("vary").is_none());
}

#[test]
fn listed_origin_may_read_every_response_without_cookies() {
    let server = with_origins();
    for origin in [ORIGIN, "http://localhost:3000"] {
        let headers = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n"
        );
        let response = fetch(&server, "OPTIONS /callCatchUp/r1", &headers);
        assert_eq!((response.status, response.body.as_slice()), (204, b"".as_slice()));
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
        assert_eq!(response.header("access-control-allow-methods"), Some("GET, POST, DELETE"));
        assert_eq!(
            response.header("cache-control"),
            Some("no-store"),
            "as on every response; a browser keeps it by its max-age"
        );
        let allowed = response.header("access-control-allow-headers").unwrap().to_lowercase();
        assert!(
            ["authorization", "content-type", "if-none-match", "traceparent", "tracestate", "baggage", "x-requested-with"]
                .iter()
                .all(|name| allowed.contains(name)),
            "{allowed}"
        );
        assert!(response.header("x-request-id").is_some());
        for (line, status) in [("GET /callConfig", 401), ("GET /nowhere", 404), ("POST /auth/login", 400)] {
            let response = fetch(&server, line, &format!("Origin: {origin}\r\n"));
            assert_eq!((response.status, response.header("access-control-allow-origin")), (status, Some(origin)), "{line}");
            assert_eq!(response.header("vary"), Some("Origin"), "{line}");
            assert_eq!(response.header("access-control-allow-credentials"), None, "{line}");
            let exposed = response.header("access-control-expose-headers").unwrap();
            for name in
                ["ETag", "Age", "X-Request-Id", "X-Catch-Up-Reason", "X-Not-Found", "WWW-Authenticate", "Retry-After"]
            {
                assert!(exposed.contains(name), "{exposed}");
            }
        }
    }
    // Not a preflight request.
    fetch(&server, "OPTIONS /callConfig", &format!("Origin: {ORIGIN}\r\n")).assert_error(404, "Not found", "no preflight");
}

#[test]
fn preflight_with_a_bad_host_is_400() {
    let headers = format!("Host: t, evil\r\nOrigin: {ORIGIN}\r\nAccess-Control-Request-Method: GET\r\n");
    let response = with_origins().client().request(format!("OPTIONS /callConfig HTTP/1.1\r\n{headers}\r\n").as_bytes());
    response.assert_error(400, "Host must name one host.", "preflight");
    assert_eq!(response.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(response.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    assert!(response.header("x-request-id").is_some());
}

#[test]
fn every_response_has_the_security_headers() {
    let server = TestServer::start();
    let token = tokens::user();
    let good = server.client().get("/callCatchUp/r1", Some(&token));
    let etag = good.header("etag").unwrap();
    let not_modified =
        fetch(&server, "GET /callCatchUp/r1", &format!("Authorization: Bearer {token}\r\nIf-None-Match: {etag}\r\n"));
    for (status, response) in [
        (200, &good),
        (304, &not_modified),
        (400, &fetch(&server, "GET /callStatus", &format!("Authorization: Bearer {token}\r\n"))),
        (401, &fetch(&server, "GET /callConfig", "")),
        (404, &fetch(&server, "GET /nowhere", "")),
        (413, &fetch(&server, "POST /auth/login", "Content-Type: application/json\r\nContent-Length: 100000\r\n")),
    ] {
        assert_eq!(response.status, status);
        for (name, value) in [
            ("x-content-type-options", Some("nosniff")),
            ("referrer-policy", Some("no-referrer")),
            ("cross-origin-resource-policy", Some("same-origin")),
            ("content-security-policy", Some("default-src 'none'; frame-ancestors 'none'")),
            ("strict-transport-security", None),
            ("server", None),
            ("x-powered-by", None),
            ("set-cookie", None),
        ] {
            assert_eq!(response.header(name), value, "{name} of {status}");
        }
        assert!(response.header("cache-control").is_some(), "of {status}");
    }
}

#[test]
fn hsts_is_sent_only_behind_a_trusted_tls_proxy() {
    let trusted = TestServer::with(&[("APP_SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]);
    let hsts = |server: &TestServer, headers: &str| {
        fetch(server, "GET /callConfig", headers).header("strict-transport-security").map(str::to_owned)
    };
    let year = Some("max-age=31536000; includeSubDomains".to_owned());
    assert_eq!(hsts(&trusted, "X-Forwarded-Proto: https\r\n"), year);
    assert_eq!(hsts(&trusted, "X-Forwarded-Proto: http, HTTPS\r\n"), year);
    assert_eq!(hsts(&trusted, "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n"), year);
    for headers in ["", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Proto: https, http\r\n", "X-Forwarded-Proto: httpss\r\n"]
    {
        assert_eq!(hsts(&trusted, headers), None, "{headers}");
    }
    assert_eq!(hsts(&TestServer::start(), "X-Forwarded-Proto: https\r\n"), None, "an untrusted client");
}

#[test]
fn host_and_forwarding_headers_are_never_reflected() {
    let server = TestServer::start();
    let token = tokens::user();
    let normal = server.client().get("/callCatchUp/r1", Some(&token));
    let long = "h".repeat(7 << 10);
    let forwarded = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Server: evil.example\r\nForwarded: host=evil.example\r\n";
    let overrides =
        "X-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\nX-HTTP-Method-Override: DELETE\r\nX-Forwarded-Prefix: /evil\r\n";
    for (host, more, status) in [
        ("evil.example", "", 200),
        ("127.0.0.1:1", "", 200),
        (long.as_str(), "", 200),
        ("t", forwarded, 200),
        ("t", overrides, 200),
        ("evil.example/path", "", 400),
        ("user:evil@evil.example", "", 400),
    ] {
        let head = format!("GET /callCatchUp/r1 HTTP/1.1\r\nHost: {host}\r\n{more}Authorization: Bearer {token}\r\n\r\n");
        let response = server.client().request(head.as_bytes());
        let case = host.chars().take(30).collect::<String>();
        assert_eq!(response.status, status, "{case}: {response:?}");
        assert!(status == 400 || response.body == normal.body, "{case}: {response:?}");
        assert!(!format!("{:?}{}", response.headers, response.text()).contains("evil"), "{case}: {response:?}");
    }
    let absolute = request("GET", b"http://evil.example/callCatchUp/r1", Some(&token));
    let response = server.client().request(&absolute);
    assert!(response.status == 400 && !format!("{response:?}").contains("evil"), "{response:?}");
    for call in server.script.requests() {
        assert!(!call.target.contains("evil") && !call.target.contains("hhhh"), "{}", call.target);
    }
}

#[test]
fn management_listener_sends_the_security_headers() {
    let server = TestServer::start();
    for target in ["/metrics", "/health/live", "/health/ready", "/nothing"] {
        let response = Client::new(server.management).get(target, None);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            assert_eq!(response.header(name), Some(value), "{target}");
        }
    }
}
