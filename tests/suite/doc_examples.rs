//! The code examples of `docs/clients`, extracted and run against a server and a sandbox.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{SandboxServer, TestServer};
use proconf_app_server::clock::Clock;
use proconf_app_server::sandbox::{SAMPLE_SUMMARY, Script};
use tempfile::TempDir;

#[path = "../../examples/postman.rs"]
#[expect(dead_code, reason = "its main")]
mod postman;

/// The account that `dev` has and the pages name.
const DEMO_EMAIL: &str = "demo@example.com";
const DEMO_PASSWORD: &str = "demo of a late joiner";

/// A server with an account and the sample rooms, and a working folder.
struct Workspace {
    server: TestServer,
    sandbox: SandboxServer,
    folder: TempDir,
}

impl Workspace {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let sandbox = SandboxServer::start(Script::samples(Clock::system()));
        let base_url = [("APP_ADMIN_CONTROL__BASE_URL", sandbox.base_url.as_str())];
        let server = TestServer::with(&[&base_url, settings].concat());
        server.add_user(DEMO_EMAIL, DEMO_PASSWORD);
        Self { server, sandbox, folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Runs a program in the folder, asserts its success, and returns its output.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("BASE", format!("http://{}", self.server.address))
            .env("SANDBOX", format!("http://{}/sandbox", self.sandbox.address))
            .envs([("EMAIL", DEMO_EMAIL), ("PASSWORD", DEMO_PASSWORD)])
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs it"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (printed, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{program}: {}\n{printed}\n{errors}", output.status);
        printed
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Returns the code blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(docs().join(page)).unwrap();
    let fence = format!("```{language}\n");
    let blocks: Vec<String> = text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "{page} has no {language}");
    blocks
}

#[test]
fn curl_recipes_print_what_their_page_says() {
    let workspace = Workspace::new();
    workspace.write("recipes.sh", &blocks("clients/curl.md", "sh").concat());
    let printed = workspace.run("bash", &["recipes.sh"]);
    let mut rest = printed.as_str();
    for line in [
        "signed in as A User",
        "Ann opened the call",
        "new: Ann opened the call",
        "nothing new",
        "renewed",
        "nothing new",
        "retry: 3000",
        "id: \"",
        "data: {\"error\":null,\"data\":\"Ann opened the call",
        "its own room: 200",
        "another room: 403",
        "in a path: 404",
        "in a query: 404",
        "HTTP/1.1 404 Not Found",
        "x-request-id: ",
        r#"{"data":null,"error":{"code":404,"message":"Not found"}}"#,
        r#"{"error":null,"data":null}"#,
    ] {
        let at = rest.find(line).unwrap_or_else(|| panic!("no {line:?} in the rest of\n{printed}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn qa_guide_faults_print_what_the_guide_says() {
    let workspace = Workspace::with(&[("APP_CATCH_UP__FRESH_FOR", "5s")]);
    workspace.write("faults.sh", &blocks("QA.md", "sh").concat());
    let failure = r#"500 {"data":null,"error":{"code":500,"message":"Internal server error"}}"#;
    let expected = [
        r#"200 {"error":null,"data":"What was said so far."}"#,
        failure,
        failure,
        failure,
        r#"404 {"data":null,"error":{"code":404,"message":"Not found"}}"#,
        "1",
    ];
    assert_eq!(workspace.run("bash", &["faults.sh"]).lines().collect::<Vec<_>>(), expected);
    let page = std::fs::read_to_string(docs().join("QA.md")).unwrap();
    for line in expected {
        assert!(page.contains(&format!("`{line}`")), "{line} is not in docs/QA.md");
    }
}

#[test]
fn javascript_client_does_what_its_page_says() {
    let workspace = Workspace::with(&[("APP_LIVE__POLL_INTERVAL", "1s")]);
    let blocks = blocks("clients/javascript.md", "js");
    let [client, usage] = blocks.as_slice() else { panic!("{} blocks", blocks.len()) };
    workspace.write("proconf.mjs", client);
    workspace.write("usage.mjs", usage);
    workspace.write("driver.mjs", include_str!("doc_examples/driver.mjs"));
    let printed = workspace.run("node", &["usage.mjs"]);
    assert!(printed.starts_with("Ann opened the call"), "{printed}");
    let last = printed.lines().last().unwrap();
    assert!(last.starts_with("403 Forbidden (request ") && !last.contains("null"), "{printed}");
    assert_eq!(workspace.run("node", &["driver.mjs"]), "all statements are true\n");
}

#[test]
fn postman_collection_matches_the_openapi_document() {
    let copy = std::fs::read_to_string(docs().join("clients/proconf.postman_collection.json")).unwrap_or_default();
    let renew = "cargo run --example postman > docs/clients/proconf.postman_collection.json";
    assert!(copy == postman::text(), "the API has changed; renew the collection: {renew}");
}

#[test]
fn postman_collection_passes_newman_on_a_new_server() {
    let workspace = Workspace::new();
    workspace.server.put_summary(SAMPLE_SUMMARY.0, SAMPLE_SUMMARY.1);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let newman = root.join("tests/suite/clients/node_modules/.bin/newman");
    let collection = docs().join("clients/proconf.postman_collection.json");
    let address = format!("baseUrl=http://{}", workspace.server.address);
    // Newman's status is that of its assertions.
    let arguments = ["run", collection.to_str().unwrap(), "--env-var", &address, "--bail", "--timeout-request", "20000"];
    let printed = workspace.run(newman.to_str().unwrap(), &arguments);
    assert!(printed.contains("callSummary") && printed.contains("logout"), "{printed}");
}

#[test]
fn status_table_has_every_documented_status() {
    let page = std::fs::read_to_string(docs().join("clients/README.md")).unwrap();
    let document = serde_json::from_str::<serde_json::Value>(proconf_app_server::routes::openapi::DOCUMENT).unwrap();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap().values());
    for status in operations.flat_map(|operation| operation["responses"].as_object().unwrap().keys()) {
        assert!(page.contains(&format!("\n| {status} | ")), "{status} is not in docs/clients/README.md");
    }
}
