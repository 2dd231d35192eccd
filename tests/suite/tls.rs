//! TLS to Admin Control: which certificates are accepted, and that an untrusted peer receives nothing.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::database::TestDatabase;
use crate::support::fake_upstream::{FakeUpstream, http, read_head};
use crate::support::process::ServerProcess;
use crate::support::response::Response;
use crate::support::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use crate::support::tls::{Authority, Certificate, TlsStream, TlsUpstream, cut, end, expired, for_clients, not_yet_valid};
use crate::support::{SECRET, TestServer, tokens};

const GOOD: &str = r#"{"error":null,"data":"good"}"#;
/// The header value that only Admin Control may receive.
const AUTHORIZATION: &str = "Bearer the-authorization-of-this-deployment";
/// The bound for failures without a deadline; both timeouts of Admin Control are 10 s here.
const SOON: Duration = Duration::from_secs(5);

/// Starts a server that trusts `authority` alone.
fn server_trusting(base_url: &str, authority: &Authority) -> ServerProcess {
    with(base_url, &[("SSL_CERT_FILE", &authority.file())])
}

fn with(base_url: &str, settings: &[(&str, &str)]) -> ServerProcess {
    let ours = [
        ("APP_ADMIN_CONTROL__AUTHORIZATION", AUTHORIZATION),
        ("APP_ADMIN_CONTROL__TIMEOUT", "10s"),
        ("APP_ADMIN_CONTROL__CONNECT_TIMEOUT", "10s"),
        ("APP_CATCH_UP__EXPLAIN_ABSENCE", "false"),
    ];
    ServerProcess::start(base_url, &[&ours, settings].concat())
}

/// Requests a route with pooled connections, or the one without.
fn fetch(client: &Client, endpoint: &str) -> Response {
    if endpoint == "proconf-token" {
        let wanted = r#"{"role":"member","room":"r1","participantName":"Ann"}"#;
        return client.post_with("/proconfToken", &tokens::user(), wanted);
    }
    client.get("/callCatchUp/r1", Some(&tokens::user()))
}

const ENDPOINTS: [&str; 2] = ["call-catchup", "proconf-token"];

/// Responds to each request with its target.
fn echo(mut tls: TlsStream) {
    while let Some(head) = read_head(&mut tls) {
        assert!(head.contains(AUTHORIZATION), "{head}");
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        tls.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
        let target = head.split(' ').nth(1).unwrap();
        if tls.write_all(http("200 OK", &format!(r#"{{"error":null,"data":{target:?}}}"#)).as_bytes()).is_err() {
            return;
        }
    }
}

/// Asserts a 500 on each route, and one log line with its reason.
fn assert_fails(server: &ServerProcess, reason: &str, cause: &str, within: Duration, label: &str) {
    for endpoint in ENDPOINTS {
        let logged = server.logged();
        let started = Instant::now();
        fetch(&server.client(), endpoint).assert_error(500, "Internal server error", label);
        let took = started.elapsed();
        assert!(took < within, "{label}: {endpoint} took {took:?}");
        server.line(logged, |line| line["message"] == "request" && line["status"] == 500);
        let failures = server.lines(logged, |line| line["message"] == "Admin Control failed");
        assert_eq!(failures.len(), 1, "{label}: {failures:#?}");
        let (logged_cause, endpoint_of) = (failures[0]["cause"].as_str().unwrap(), &failures[0]["endpoint"]);
        assert_eq!((&failures[0]["reason"], endpoint_of), (&reason.into(), &endpoint.into()), "{label}: {logged_cause}");
        assert!(logged_cause.contains(cause), "{label}: {logged_cause}");
    }
    assert_eq!(server.lines(0, |line| line["level"] == "ERROR").len(), 0, "{label}");
}

#[test]
fn invalid_certificate_is_rejected_and_nothing_is_sent() {
    let (ours, other, namesake) = (Authority::new(), Authority::named("an unknown authority"), Authority::new());
    let names = ["localhost", "127.0.0.1"];
    for (case, certificate, host, cause) in [
        ("an unknown authority", other.sign(&names), "localhost", "UnknownIssuer"),
        ("the same name as the trusted authority", namesake.sign(&names), "localhost", "BadSignature"),
        ("self-signed", Certificate::self_signed(&names), "localhost", "invalid peer certificate"),
        ("another name", ours.sign(&["elsewhere.example"]), "localhost", "not valid for name"),
        ("a subdomain", ours.sign(&["*.localhost"]), "localhost", "not valid for name"),
        ("a name, no address", ours.sign(&["localhost"]), "127.0.0.1", "not valid for name"),
        ("another address", ours.sign(&["127.0.0.2"]), "127.0.0.1", "not valid for name"),
        ("expired", ours.sign_with(&names, expired), "localhost", "expired"),
        ("not yet valid", ours.sign_with(&names, not_yet_valid), "localhost", "not valid yet"),
        ("a client certificate", ours.sign_with(&names, for_clients), "localhost", "invalid peer certificate"),
    ] {
        let peer = TlsUpstream::serving(certificate.config(), echo);
        let server = server_trusting(&peer.url(host, "/api"), &ours);
        assert_fails(&server, "certificate", cause, SOON, case);
        assert_eq!(peer.trusted(), 0, "{case}: nothing is sent");
        assert_eq!(peer.peer.connections(), ENDPOINTS.len(), "{case}: no retry");
    }
}

#[test]
fn unlisted_authority_is_not_trusted() {
    let authority = Authority::new();
    let peer = TlsUpstream::serving(authority.sign(&["localhost"]).config(), echo);
    let server = with(&peer.url("localhost", "/api"), &[]);
    assert_fails(&server, "certificate", "UnknownIssuer", SOON, "the system's trust store");
    assert_eq!(peer.trusted(), 0);
}

#[test]
fn valid_certificate_is_accepted_for_any_form_of_base_url() {
    let authority = Authority::new();
    let names = ["localhost", "127.0.0.1", "::1"];
    for (address, host, path) in [
        ("127.0.0.1:0", "localhost", "/api"),
        ("127.0.0.1:0", "localhost", "/api/"),
        ("127.0.0.1:0", "LocalHost", "/deep/er/api"),
        ("127.0.0.1:0", "127.0.0.1", ""),
        ("127.0.0.1:0", "127.0.0.1", "/"),
        ("[::1]:0", "[::1]", "/api"),
    ] {
        let peer = TlsUpstream::serving_on(address, authority.sign(&names).config(), echo);
        let server = server_trusting(&peer.url(host, path), &authority);
        let base = path.trim_end_matches('/');
        for _ in 0..3 {
            fetch(&server.client(), "call-catchup").assert_success(&format!(r#""{base}/call-catchup/r1""#));
            fetch(&server.client(), "proconf-token").assert_success(&format!(r#""{base}/proconf-token""#));
        }
        assert!(peer.trusted() >= 4, "a connection for each token");
    }
}

#[test]
fn authority_is_read_from_a_file_or_a_folder() {
    let (authority, other) = (Authority::new(), Authority::new());
    let both = format!("{}/both.pem", authority.folder());
    std::fs::write(&both, ["# A comment\n", &other.pem(), "\n", &authority.pem()].concat()).unwrap();
    let folders = format!("{}:/nowhere:{}", other.folder(), authority.folder());
    let (file, folder, other_file) = (authority.file(), authority.folder(), other.file());
    let config = authority.sign_through_intermediate(&["localhost"]).config();
    let peer = TlsUpstream::serving(config, echo);
    for settings in [
        &[("SSL_CERT_FILE", file.as_str())][..],
        &[("SSL_CERT_FILE", &both)],
        &[("SSL_CERT_DIR", &folder)],
        &[("SSL_CERT_DIR", &folders)],
        &[("SSL_CERT_FILE", &other_file), ("SSL_CERT_DIR", &folder)],
    ] {
        let server = with(&peer.url("localhost", "/api"), settings);
        fetch(&server.client(), "call-catchup").assert_success(r#""/api/call-catchup/r1""#);
    }
}

#[test]
fn tls_1_2_is_used_when_the_peer_lacks_1_3() {
    let authority = Authority::new();
    let config = authority.sign(&["localhost"]).config_of(&[&rustls::version::TLS12]);
    let peer = TlsUpstream::serving(config, echo);
    let server = server_trusting(&peer.url("localhost", "/api"), &authority);
    fetch(&server.client(), "call-catchup").assert_success(r#""/api/call-catchup/r1""#);
}

#[test]
fn plain_text_peer_receives_no_request() {
    let authority = Authority::new();
    for (case, response, reason, cause) in [
        ("plain HTTP", http("400 Bad Request", "The plain HTTP request was sent to HTTPS port"), "not-connected", "TLS: "),
        ("a good response in plain HTTP", http("200 OK", GOOD), "not-connected", "TLS: "),
        ("closed at once", String::new(), "connection", "eof"),
    ] {
        let received = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&received);
        let peer = FakeUpstream::serving(move |mut stream, _| {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).unwrap_or(0);
            let _ = stream.write_all(response.as_bytes());
            recorder.lock().unwrap().extend_from_slice(&bytes[..read]);
        });
        let server = server_trusting(&format!("https://localhost:{}/api", peer.port), &authority);
        assert_fails(&server, reason, cause, SOON, case);
        let received = String::from_utf8_lossy(&received.lock().unwrap()).into_owned();
        assert!(received.contains("localhost"), "the TLS ClientHello");
        for secret in [AUTHORIZATION, "the-authorization", "call-catchup", "proconf-token", "HTTP/1"] {
            assert!(!received.contains(secret), "{case}: {received}");
        }
    }
}

#[test]
fn stalled_handshake_ends_at_the_connect_timeout() {
    let authority = Authority::new();
    let silent = FakeUpstream::serving(|mut stream, _| while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {});
    let (file, short) = (authority.file(), ("APP_ADMIN_CONTROL__CONNECT_TIMEOUT", "500ms"));
    let server = with(&format!("https://localhost:{}/api", silent.port), &[("SSL_CERT_FILE", &file), short]);
    assert_fails(&server, "timed-out", "timed out", SOON, "a silent handshake");
    assert_eq!(silent.connections(), ENDPOINTS.len(), "no retry");

    // The first bytes of a ServerHello, one at a time.
    let dripping = FakeUpstream::serving(|mut stream, _| {
        let mut bytes = [0x16, 0x03, 0x03, 0x40, 0x00, 0x02, 0x00, 0x3f, 0xfc].into_iter().chain(std::iter::repeat(3));
        while stream.write_all(&[bytes.next().unwrap()]).is_ok() {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    });
    let server = with(&format!("https://localhost:{}/api", dripping.port), &[("SSL_CERT_FILE", &file), short]);
    assert_fails(&server, "timed-out", "timed out", SOON, "a dripping handshake");
}

#[test]
fn truncated_tls_response_is_rejected() {
    let authority = Authority::new();
    let config = authority.sign(&["localhost"]).config();
    let chunks = |chunks: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let one = format!("{:x}\r\n{GOOD}\r\n", GOOD.len());
    for (case, response, ends, accepted) in [
        // A man in the middle can truncate a response that is otherwise valid.
        ("no length, cut", format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{GOOD}"), cut as fn(TlsStream), false),
        ("no length, in HTTP/1.0, cut", format!("HTTP/1.0 200 OK\r\n\r\n{GOOD}"), cut, false),
        ("chunks, cut before the last one", chunks(&one), cut, false),
        ("more announced, cut", format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{GOOD}"), cut, false),
        ("more announced, ended", format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{GOOD}"), end, false),
        ("half a head, ended", "HTTP/1.1 200 OK\r\nContent-Le".to_owned(), end, false),
        // The whole response was there before the cut.
        ("a length, cut after it", http("200 OK", GOOD), cut, true),
        ("all chunks, cut after them", chunks(&format!("{one}0\r\n\r\n")), cut, true),
    ] {
        let peer = TlsUpstream::serving(Arc::clone(&config), move |mut tls| {
            read_head(&mut tls);
            let _ = tls.write_all(response.as_bytes());
            let _ = tls.flush();
            ends(tls);
        });
        let server = server_trusting(&peer.url("localhost", "/api"), &authority);
        let response = fetch(&server.client(), "call-catchup");
        if accepted {
            response.assert_success(r#""good""#);
        } else {
            response.assert_error(500, "Internal server error", case);
            let line = server.line(0, |line| line["message"] == "Admin Control failed");
            let reason = line["reason"].as_str().unwrap();
            assert!(["length-mismatch", "connection", "not-the-envelope"].contains(&reason), "{case}: {line}");
        }
    }
}

#[test]
fn bucket_is_verified_by_the_same_authorities() {
    let (authority, other) = (Authority::new(), Authority::new());
    let admin_control = TlsUpstream::serving(authority.sign(&["localhost"]).config(), |mut tls| {
        while read_head(&mut tls).is_some() {
            let record = r#"{"error":null,"data":{"room_name":"r1","file_url":"r1_17/summary.txt"}}"#;
            let _ = tls.write_all(http("200 OK", record).as_bytes());
        }
    });
    let s3 = S3::start_with(Some(authority.sign(&["127.0.0.1"]).config()));
    s3.put("r1_17/summary.txt", b"the text");
    let (url, file) = (admin_control.url("localhost", "/api"), format!("{}/all.pem", authority.folder()));
    std::fs::write(&file, authority.pem()).unwrap();
    let bucket = format!("s3://{BUCKET}");
    let settings = [
        ("APP_ADMIN_CONTROL__BASE_URL", url.as_str()),
        ("APP_SUMMARIES__URL", &bucket),
        ("AWS_ENDPOINT", &s3.endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("SSL_CERT_FILE", &file),
    ];
    // From the environment of the process, and from `.env`.
    get_summary(&ServerProcess::start(&url, &settings).client()).assert_success(r#""the text""#);
    get_summary(&TestServer::with(&settings).client()).assert_success(r#""the text""#);

    let s3 = S3::start_with(Some(other.sign(&["127.0.0.1"]).config()));
    s3.put("r1_17/summary.txt", b"the text");
    let settings = settings.map(|(name, value)| (name, if name == "AWS_ENDPOINT" { s3.endpoint.as_str() } else { value }));
    get_summary(&TestServer::with(&settings).client()).assert_error(500, "Internal server error", "another authority");
}

fn get_summary(client: &Client) -> Response {
    client.get("/callSummary/r1", Some(&tokens::user()))
}

/// Runs a command of the binary; returns the exit code, standard output and standard error.
fn run(command: &str, settings: &[(&str, &str)]) -> (i32, String, String) {
    let (folder, database) = (tempfile::tempdir().unwrap(), TestDatabase::new());
    let output = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"))
        .arg(command)
        .current_dir(folder.path())
        .env_clear()
        .envs([("APP_SERVER__LISTEN", "127.0.0.1:0"), ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0")])
        .envs([("APP_AUTH__JWT_SECRET", SECRET), ("APP_DATABASE__URL", database.url.as_str())])
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn unreadable_authorities_exit_78_and_name_the_variable() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (nowhere, empty, other) =
        (format!("{}/nowhere", folder.path().display()), file("empty", ""), file("text", "text\n"));
    let broken = file("broken", &authority.pem().replace("-----END", "-----BEGIN"));
    let half = file("half", &format!("{}{}", authority.pem(), &authority.pem()[..200]));
    let no_certificate = file("none", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let (folder, good) = (folder.path().display().to_string(), authority.file());
    let https = ("APP_ADMIN_CONTROL__BASE_URL", "https://127.0.0.1:1/api");
    for (variable, value) in [
        ("SSL_CERT_FILE", &nowhere),
        ("SSL_CERT_FILE", &empty),
        ("SSL_CERT_FILE", &other),
        ("SSL_CERT_FILE", &broken),
        ("SSL_CERT_FILE", &half),
        ("SSL_CERT_FILE", &no_certificate),
        ("SSL_CERT_FILE", &folder),
        ("SSL_CERT_DIR", &nowhere),
        ("SSL_CERT_DIR", &good),
    ] {
        for command in ["serve", "check-config"] {
            let (code, _, output) = run(command, &[https, (variable, value)]);
            assert_eq!(code, 78, "{variable}={value}: {output}");
            assert!(output.starts_with(&format!("{variable} must lead to certificates")), "{output}");
            assert_eq!(output.lines().count(), 1, "{output}");
        }
    }
    // Without TLS the certificate paths are not validated.
    let plain = TestServer::start();
    let (code, output, error) =
        run("check-config", &[("APP_ADMIN_CONTROL__BASE_URL", &plain.sandbox_url()), ("SSL_CERT_FILE", &nowhere)]);
    assert_eq!(code, 0, "{output}{error}");
}

#[test]
fn check_config_reports_the_certificate_and_its_trust_store() {
    let (authority, other) = (Authority::new(), Authority::new());
    let peer = TlsUpstream::serving(authority.sign(&["localhost"]).config(), echo);
    let (url, good, wrong) = (peer.url("localhost", "/api"), authority.file(), other.file());
    let base = [("APP_ADMIN_CONTROL__BASE_URL", url.as_str()), ("APP_ADMIN_CONTROL__AUTHORIZATION", AUTHORIZATION)];
    let (code, output, error) = run("check-config", &[&base[..], &[("SSL_CERT_FILE", &good)]].concat());
    assert_eq!(code, 0, "{output}{error}");
    let accepted = "# Admin Control: ok, reachable, with a certificate of what SSL_CERT_FILE and SSL_CERT_DIR name\n";
    assert!(output.contains(accepted) && output.contains(&format!("SSL_CERT_FILE={good}\n")), "{output}");

    let (code, output, _) = run("check-config", &[&base[..], &[("SSL_CERT_FILE", &wrong)]].concat());
    let rejected = "# Admin Control: FAILED, its certificate is not accepted: ";
    let line = output.lines().find(|line| line.starts_with(rejected)).unwrap_or_else(|| panic!("{output}"));
    assert!(code == 69 && line.ends_with("looked for in what SSL_CERT_FILE and SSL_CERT_DIR name"), "{line}");
    let (code, output, _) = run("check-config", &base);
    assert!(code == 69 && output.contains(rejected), "{output}");
}
