//! Summaries in Google Cloud Storage and Azure Blob Storage, in their emulators. docs/QA.md says how to run these tests.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

#[cfg(feature = "gcs")]
use crate::support::check_config::check_config;
use crate::support::check_config::check_line;
use crate::support::{TestServer, tokens, wait_until};

const KEY: &str = "r1_1718871014/summary.txt";

/// An emulator; ended when it is dropped.
struct Emulator {
    port: u16,
    child: Child,
}

impl Emulator {
    /// Starts the program that `variable` names.
    fn start(variable: &str, arguments: impl Fn(&str) -> Vec<String>) -> Self {
        let program = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names the emulator (docs/QA.md)"));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        let child = command.args(arguments(&port.to_string())).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let emulator = Self { port, child };
        wait_until("the emulator listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        emulator
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a summary that is there, one that is not, and one from a bucket that does not exist.
#[track_caller]
fn assert_summaries(bucket: &str, settings: &[(&str, &str)]) {
    let (prefix, elsewhere, missing) =
        (format!("{bucket}/all/of it"), format!("{bucket}/elsewhere"), format!("{bucket}-missing"));
    let at = |url| [settings, &[("APP_SUMMARIES__URL", url)]].concat();
    let line = check_line("summary store", &at(&prefix));
    assert!(line.ends_with(": ok, the bucket can be listed"), "{line}");
    let get = |url| TestServer::with(&at(url)).client().get("/callSummary/r1", Some(&tokens::user()));
    assert_eq!(get(&prefix).data(), "the text");
    get(&elsewhere).assert_error(404, "Not found", "no file");
    let line = check_line("summary store", &at(&missing));
    assert!(line.contains("FAILED, status "), "{line}");
}

#[cfg(feature = "gcs")]
#[test]
fn summary_is_read_from_google_cloud_storage() {
    let folder = tempfile::tempdir().unwrap();
    crate::support::s3::write(&folder.path().join("summaries"), &format!("all/of it/{KEY}"), b"the text");
    let data = folder.path().display().to_string();
    let emulator = Emulator::start("TEST_FAKE_GCS_SERVER", |port| {
        // Without its own name it serves only the JSON interface at `/`.
        let host = format!("127.0.0.1:{port}");
        let options = ["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-data", &data, "-port", port];
        [&options[..], &["-public-host", &host]].concat().into_iter().map(str::to_owned).collect()
    });
    let account = r#"{"private_key":"canary","private_key_id":"canary","client_email":"","disable_oauth":true}"#;
    let settings = [("GOOGLE_BASE_URL", emulator.url("")), ("GOOGLE_SERVICE_ACCOUNT_KEY", account.to_owned())];
    assert_summaries("gs://summaries", &settings.each_ref().map(|(name, value)| (*name, value.as_str())));
}

#[cfg(feature = "gcs")]
#[test]
fn credentials_of_google_that_are_no_regular_file_exit_78() {
    for name in ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"] {
        // A FIFO would be waited for.
        for path in ["/", "/dev/null"] {
            let (code, text) = check_config(&[("APP_SUMMARIES__URL", "gs://bucket"), (name, path)]);
            assert_eq!((code, text.as_str()), (78, &*format!("{name} cannot be read: not a regular file\n")));
        }
    }
}

#[cfg(feature = "azure")]
#[test]
fn summary_is_read_from_azure_blob_storage() {
    // The public account of every Azurite.
    let account = "devstoreaccount1";
    let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let emulator = Emulator::start("TEST_AZURITE", |port| {
        let options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", port];
        options.map(str::to_owned).to_vec()
    });
    azure::put(&emulator, account, key, "summaries", "restype:container", "");
    azure::put(&emulator, account, key, &format!("summaries/all/of%20it/{KEY}"), "", "the text");
    let endpoint = emulator.url(&format!("/{account}"));
    let name = ("AZURE_STORAGE_ACCOUNT_NAME", account);
    assert_summaries("az://summaries", &[name, ("AZURE_STORAGE_ACCOUNT_KEY", key), ("AZURE_STORAGE_ENDPOINT", &endpoint)]);
    let wrong = [("APP_SUMMARIES__URL", "az://summaries"), ("AZURE_STORAGE_ACCOUNT_KEY", "Y2FuYXJ5"), name];
    let line = check_line("summary store", &[&wrong[..], &[("AZURE_STORAGE_ENDPOINT", &endpoint)]].concat());
    assert!(line.ends_with("FAILED, status 403, AuthorizationFailure"), "{line}");
}

#[cfg(feature = "azure")]
mod azure {
    use std::io::{Read as _, Write as _};

    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Command, Emulator};

    /// Creates a container or a blob, by a request signed with the account's key.
    pub fn put(emulator: &Emulator, account: &str, key: &str, path: &str, query: &str, body: &str) {
        let date = Command::new("date").env("LC_ALL", "C").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).output().unwrap();
        let date = String::from_utf8(date.stdout).unwrap().trim().to_owned();
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        let headers = format!("x-ms-blob-type:BlockBlob\nx-ms-date:{date}\nx-ms-version:2021-08-06\n");
        let query_line = if query.is_empty() { String::new() } else { format!("\n{query}") };
        let text = format!("PUT\n\n\n{length}\n\n\n\n\n\n\n\n\n{headers}/{account}/{account}/{path}{query_line}");
        let signature = sign(&Key::new(HMAC_SHA256, &STANDARD.decode(key).unwrap()), text.as_bytes());
        let signature = STANDARD.encode(signature.as_ref());
        let target = format!("/{account}/{path}{}", if query.is_empty() { "" } else { "?restype=container" });
        let headers = headers.replace('\n', "\r\n");
        let request = format!(
            "PUT {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nAuthorization: SharedKey {account}:{signature}\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            emulator.port,
            body.len()
        );
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", emulator.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 201"), "{response}");
    }
}
