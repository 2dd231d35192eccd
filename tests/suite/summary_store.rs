//! The bucket of summaries: credentials of a role, outbound proxies, and causes of failures.
//!
//! Services that hand out credentials are fakes on loopback, which the settings name before the first request.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proconf_app_server::sandbox::Reply;
use serde_json::json;

use crate::support::check_config::{check_config, check_line};
use crate::support::fake_upstream::{FakeUpstream, http, read_head};
use crate::support::process::ServerProcess;
use crate::support::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use crate::support::tls::{Authority, TlsUpstream, end};
use crate::support::{TestServer, tokens};

const KEY: &str = "r1_1718871014/summary.txt";
const URL: (&str, &str) = ("APP_SUMMARIES__URL", "s3://summaries");
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
const INSTANCE: (&str, &str) = ("APP_SUMMARIES__INSTANCE_CREDENTIALS", "true");

/// Credentials as the metadata service and the container service return them.
fn credentials() -> String {
    let never = "2096-01-01T00:00:00Z";
    json!({"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": "a-session", "Expiration": never}).to_string()
}

/// An S3 server with one summary.
fn s3_with_summary() -> S3 {
    assert_eq!(BUCKET, "summaries");
    let s3 = S3::start();
    s3.put(KEY, b"the text");
    s3
}

#[track_caller]
fn assert_summary(server: &TestServer) {
    assert_eq!(server.client().get("/callSummary/r1", Some(&tokens::user())).data(), "the text");
}

/// A fake of the metadata service of EC2, version 2. Counts the credentials that it hands out.
fn metadata_service() -> (FakeUpstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let service = FakeUpstream::serving(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let has_token = head.to_lowercase().contains("x-aws-ec2-metadata-token: a-token");
            let (status, body) = match head.split_whitespace().nth(1).unwrap() {
                "/latest/api/token" if head.starts_with("PUT ") => ("200 OK", "a-token".to_owned()),
                _ if !has_token => ("401 Unauthorized", String::new()),
                "/latest/meta-data/iam/security-credentials/" => ("200 OK", "a-role".to_owned()),
                "/latest/meta-data/iam/security-credentials/a-role" => {
                    counter.fetch_add(1, Ordering::SeqCst);
                    ("200 OK", credentials())
                }
                _ => ("404 Not Found", String::new()),
            };
            let _ = stream.write_all(http(status, &body).as_bytes());
        }
    });
    (service, count)
}

#[test]
fn instance_role_reads_the_bucket_if_it_is_permitted() {
    let (s3, (metadata, handed_out)) = (s3_with_summary(), metadata_service());
    let endpoint = format!("http://127.0.0.1:{}", metadata.port);
    let settings = [URL, ("AWS_ENDPOINT", &s3.endpoint), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)];
    let (code, text) = check_config(&settings);
    assert!(code == 78 && text.starts_with("APP_SUMMARIES__URL needs AWS_ACCESS_KEY_ID"), "{text}");
    assert_eq!(metadata.connections(), 0, "no call without permission");

    let settings = [&settings[..], &[INSTANCE]].concat();
    let line = check_line("summary store", &settings);
    assert!(line.ends_with(": ok, the bucket can be listed"), "{line}");
    let server = TestServer::with(&settings);
    assert_summary(&server);
    server.script.set("call-summary", "r1", Reply::data(r#"{"room_name":"r1","file_url":"r1_1/none.txt"}"#));
    server.client().get("/callSummary/r1", Some(&tokens::user())).assert_error(404, "Not found", "no file");
    assert_eq!(handed_out.load(Ordering::SeqCst), 2, "one for check-config, and one for two reads");
}

#[test]
fn failing_metadata_service_is_named() {
    let s3 = s3_with_summary();
    let denies = FakeUpstream::with_response(http("403 Forbidden", "canary"));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (port, cause) in [(denies.port, "status 403"), (port, "connection refused")] {
        let endpoint = format!("http://127.0.0.1:{port}");
        let named = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str());
        let line = check_line("summary store", &[URL, INSTANCE, named, ("AWS_ENDPOINT", &s3.endpoint)]);
        assert!(line.ends_with(&format!("FAILED, no credentials from the metadata service: {cause}")), "{line}");
    }
}

#[test]
fn container_role_reads_the_bucket() {
    let (s3, folder) = (s3_with_summary(), tempfile::tempdir().unwrap());
    let token = folder.path().join("token").display().to_string();
    std::fs::write(&token, "a-pod-token").unwrap();
    let service = FakeUpstream::serving(|mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let is_known =
                head.to_lowercase().contains("authorization: a-pod-token") && head.starts_with("GET /v1/credentials ");
            let (status, body) = if is_known { ("200 OK", credentials()) } else { ("401 Unauthorized", String::new()) };
            let _ = stream.write_all(http(status, &body).as_bytes());
        }
    });
    let uri = format!("http://127.0.0.1:{}/v1/credentials", service.port);
    let settings = [URL, ("AWS_ENDPOINT", &s3.endpoint), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)];
    let (code, text) = check_config(&settings);
    assert!(code == 78 && text.starts_with("APP_SUMMARIES__URL needs"), "without a token the store would query EC2: {text}");
    assert_summary(&TestServer::with(&[&settings[..], &[("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token)]].concat()));
}

#[test]
fn web_identity_reads_the_bucket() {
    let (s3, authority) = (s3_with_summary(), Authority::new());
    let token = format!("{}/token", authority.folder());
    std::fs::write(&token, "a-web-token").unwrap();
    let service = TlsUpstream::serving(authority.sign(&["localhost"]).config(), |mut tls| {
        let head = read_head(&mut tls).unwrap();
        assert!(head.contains("WebIdentityToken=a-web-token") && head.contains("RoleArn=arn"), "{head}");
        let body = format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId>\
             <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>a-session</SessionToken>\
             <Expiration>2096-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
             </AssumeRoleWithWebIdentityResponse>"
        );
        let _ = tls.write_all(http("200 OK", &body).as_bytes());
        end(tls);
    });
    let sts = service.url("localhost", "");
    let settings = [URL, ("AWS_ENDPOINT", &s3.endpoint), ("AWS_WEB_IDENTITY_TOKEN_FILE", &token)];
    let (code, text) = check_config(&settings);
    assert!(code == 78 && text.starts_with("APP_SUMMARIES__URL needs"), "without a role the store would query EC2: {text}");
    let role = [("AWS_ROLE_ARN", "arn"), ("AWS_ENDPOINT_URL_STS", &sts), ("SSL_CERT_FILE", &authority.file())];
    assert_summary(&TestServer::with(&[&settings[..], &role].concat()));
}

#[test]
fn credential_with_a_line_break_is_rejected_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token").display().to_string();
    std::fs::write(&token, "canary\n").unwrap();
    for (name, value, problem) in [
        ("AWS_ACCESS_KEY_ID", "canary\n", "must be printable ASCII"),
        ("AWS_SESSION_TOKEN", "canary\r", "must be printable ASCII"),
        ("AWS_REGION", "canar\u{fd}", "must be printable ASCII"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.as_str(), "must have a token of printable ASCII"),
    ] {
        let (code, text) = check_config(&[URL, ("AWS_SECRET_ACCESS_KEY", "x"), (name, value)]);
        assert!(code == 78 && text.starts_with(&format!("{name} {problem}")), "{code}: {text}");
        assert!(!text.contains("canar"), "{text}");
    }
}

#[test]
fn profile_of_aws_is_rejected_by_name() {
    for more in [&[][..], &[INSTANCE]] {
        let (code, text) = check_config(&[&[URL, ("AWS_PROFILE", "canary")], more].concat());
        assert!(code == 78 && text.starts_with("AWS_PROFILE is not supported"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn store_without_its_feature_is_rejected() {
    for (url, feature, is_enabled) in
        [("gs://bucket", "gcs", cfg!(feature = "gcs")), ("az://container", "azure", cfg!(feature = "azure"))]
    {
        let (code, text) = check_config(&[("APP_SUMMARIES__URL", url)]);
        assert!(code == 78 && text.starts_with("APP_SUMMARIES__URL needs "), "{text}");
        assert_eq!(text.contains(&format!("--features {feature}")), !is_enabled, "{text}");
    }
}

#[test]
fn proxy_variables_are_ignored_and_the_setting_is_not() {
    let (s3, canary) = (s3_with_summary(), FakeUpstream::canary());
    let elsewhere = format!("http://127.0.0.1:{}", canary.port);
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let variables = names.map(|name| (name, elsewhere.as_str()));
    let record = json!({"error": null, "data": {"room_name": "r1", "file_url": KEY}}).to_string();
    let admin_control = FakeUpstream::with_response(http("200 OK", &record));
    let summary = |settings: &[(&str, &str)]| {
        let server = ServerProcess::start(&admin_control.base_url(), &[settings, &variables, &KEYS, &[URL]].concat());
        server.client().get("/callSummary/r1", Some(&tokens::user())).data()
    };
    // An address, and a name.
    for endpoint in [s3.endpoint.clone(), s3.endpoint.replace("127.0.0.1", "localhost")] {
        assert_eq!(summary(&[("AWS_ENDPOINT", &endpoint)]), "the text", "{endpoint}");
    }
    assert_eq!(canary.connections(), 0);

    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let proxy = FakeUpstream::serving(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            seen.lock().unwrap().push(head);
            let file = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nLast-Modified: Wed, 01 Jul 2026 00:00:00 GMT\r\nContent-Length: 8\r\n\r\n";
            let _ = stream.write_all(format!("{file}by proxy").as_bytes());
        }
    });
    let url = format!("http://ann:canary@127.0.0.1:{}", proxy.port);
    let text = summary(&[("APP_SUMMARIES__PROXY", &url), ("AWS_ENDPOINT", "http://storage.invalid")]);
    assert_eq!((text, canary.connections()), (json!("by proxy"), 0));
    let head = heads.lock().unwrap().remove(0);
    assert!(head.starts_with("GET http://storage.invalid/summaries/r1_"), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic "), "{head}");

    for bad in ["canary", "ftp://canary:1", "http://127.0.0.1/canary"] {
        let (code, text) = check_config(&[("APP_SUMMARIES__PROXY", bad)]);
        assert!(code == 78 && text.starts_with("APP_SUMMARIES__PROXY must be a URL"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn bucket_failure_is_named_without_the_response() {
    let error = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>canary</Message></Error>");
    let fake = |status: &str, code: &str| {
        format!("http://127.0.0.1:{}", FakeUpstream::with_response(http(status, &error(code))).port)
    };
    let (s3, free) = (s3_with_summary(), TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let tls = S3::start_with(Some(Authority::new().sign(&["127.0.0.1"]).config()));
    let other = Authority::named("another");
    let authority = other.file();
    let wrong_key = ("AWS_SECRET_ACCESS_KEY", "canary-of-a-key");
    for (endpoint, more, says) in [
        (s3.endpoint.clone(), wrong_key, "status 403, SignatureDoesNotMatch"),
        (fake("403 Forbidden", "AccessDenied"), KEYS[1], "status 403, AccessDenied"),
        (fake("403 Forbidden", "InvalidAccessKeyId"), KEYS[1], "status 403, InvalidAccessKeyId"),
        (fake("404 Not Found", "NoSuchBucket"), KEYS[1], "status 404, NoSuchBucket"),
        (fake("403 Forbidden", "<canary>"), KEYS[1], "status 403"),
        (fake("503 Slow Down", "SlowDown"), KEYS[1], "status 503, SlowDown"),
        (format!("http://{free}"), KEYS[1], "connection refused"),
        ("http://storage.invalid".to_owned(), KEYS[1], "failed to lookup address information: Name or service not known"),
        (
            tls.endpoint,
            ("SSL_CERT_FILE", &authority),
            "its certificate is not accepted: invalid peer certificate: UnknownIssuer",
        ),
    ] {
        let settings = [&KEYS[..], &[URL, ("AWS_ENDPOINT", &endpoint), more]].concat();
        let line = check_line("summary store", &settings);
        assert!(line.ends_with(&format!("FAILED, {says}")), "{says}: {line}");
    }
}

#[test]
fn untrusted_certificate_of_the_bucket_is_logged() {
    let record = json!({"error": null, "data": {"room_name": "r1", "file_url": KEY}}).to_string();
    let admin_control = FakeUpstream::with_response(http("200 OK", &record));
    let s3 = S3::start_with(Some(Authority::new().sign(&["127.0.0.1"]).config()));
    let other = Authority::named("another");
    let trusted = other.file();
    let settings = [&KEYS[..], &[URL, ("AWS_ENDPOINT", &s3.endpoint), ("SSL_CERT_FILE", &trusted)]].concat();
    let server = ServerProcess::start(&admin_control.base_url(), &settings);
    server.client().get("/callSummary/r1", Some(&tokens::user())).assert_error(500, "Internal server error", "untrusted");
    let line = server.line(0, |line| line["message"] == "a summary could not be read");
    assert_eq!(line["cause"], "the store failed: its certificate is not accepted: invalid peer certificate: UnknownIssuer");
}
