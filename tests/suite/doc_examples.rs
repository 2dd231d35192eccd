//! The code examples of `docs/clients`, extracted and run against a server and a sandbox.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::client::Client;
use crate::support::identity_provider::{IdentityProvider, SigningKey};
use crate::support::openid_provider::{AUDIENCE, OpenIdProvider};
use crate::support::{SandboxServer, TestServer, tokens, wait_until};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proconf_app_server::clock::Clock;
use proconf_app_server::sandbox::{SAMPLE_SUMMARY, Script, WEBHOOK_SECRET};
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
        self.run_against(self.server.address, program, arguments)
    }

    /// Like [`Workspace::run`], with the server's address replaced by that of a proxy.
    fn run_against(&self, address: SocketAddr, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("BASE", format!("http://{address}"))
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
pub(super) fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(docs().join(page)).unwrap();
    let fence = format!("```{language}\n");
    let blocks: Vec<String> = text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "{page} has no {language}");
    blocks
}

/// Starts a proxy that loses the server's first response to `/auth/refresh`.
fn proxy_that_loses_a_refresh(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let is_lost = Arc::new(AtomicBool::new(false));
        for client in listener.incoming().map_while(Result::ok) {
            let is_lost = Arc::clone(&is_lost);
            // A client that leaves ends its thread.
            std::thread::spawn(move || forward_one_request(client, server, &is_lost).ok());
        }
    });
    address
}

fn forward_one_request(mut client: TcpStream, server: SocketAddr, is_lost: &AtomicBool) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let length = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_lowercase();
        let (head, _) = text.split_once("\r\n\r\n")?;
        let body = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        Some(head.len() + 4 + body.unwrap_or(0))
    };
    while length(&request).is_none_or(|length| request.len() < length) {
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    let is_refresh = request.starts_with(b"POST /auth/refresh ");
    // One request for each connection.
    let request = String::from_utf8_lossy(&request).replacen("\r\n", "\r\nX-Via: proxy\r\nConnection: close\r\n", 1);
    let request = request.replace("Connection: keep-alive\r\n", "").replace("connection: keep-alive\r\n", "");
    let mut upstream = TcpStream::connect(server)?;
    upstream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    upstream.read_to_end(&mut response)?;
    if is_refresh && !is_lost.swap(true, Ordering::SeqCst) {
        // Until the client closes the connection.
        return client.read(&mut buffer).map(drop);
    }
    client.write_all(&response)
}

/// A program that `tests/run` installs for Python, and one for Node.
fn python() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/venv/bin/python").display().to_string()
}

fn node_program(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/clients/node_modules/.bin").join(name).display().to_string()
}

/// Android's JSON library, which is part of Android.
const ANDROID_JSON: &str = "/usr/share/java/com.android.json.jar";

/// What Kotlin's usage example expects around it.
const KOTLIN_USAGE: &str = "import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.catch
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

class TextView(var text: String)
fun showLogin() = Unit
fun showFailure(failure: Throwable) = println(failure)
suspend fun usage(viewModelScope: CoroutineScope, catchUpView: TextView) {
";

impl Workspace {
    /// Compiles the client of docs/clients/kotlin.md with its driver, and returns the arguments of `java`.
    fn compile_kotlin(&self) -> Vec<String> {
        let blocks = blocks("clients/kotlin.md", "kotlin");
        let [client, usage] = blocks.as_slice() else { panic!("{} blocks", blocks.len()) };
        self.write("Proconf.kt", client);
        self.write("Usage.kt", &[KOTLIN_USAGE, usage, "}\n"].concat());
        self.write("Driver.kt", include_str!("doc_examples/Driver.kt"));
        let kotlin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/clients/node_modules/kotlin-compiler");
        let library = |name: &str| kotlin.join("lib").join(name).display().to_string();
        let libraries = [ANDROID_JSON.to_owned(), library("kotlinx-coroutines-core-jvm.jar")].join(":");
        let compiler = kotlin.join("bin/kotlinc").display().to_string();
        let files = ["Proconf.kt", "Usage.kt", "Driver.kt"];
        self.run(&compiler, &[&["-J-Xmx512m", "-Werror", "-cp", &libraries, "-d", "classes"], &files[..]].concat());
        let classes = format!("classes:{libraries}:{}", library("kotlin-stdlib.jar"));
        vec!["-cp".to_owned(), classes, "DriverKt".to_owned()]
    }
}

#[test]
fn kotlin_client_does_what_its_page_says() {
    // The JDK closes an unused stream only after its next line.
    let settings = [("APP_LIVE__POLL_INTERVAL", "1s"), ("APP_LIVE__MAX_PER_CALLER", "100")];
    let workspace = Workspace::with(&settings);
    let driver = workspace.compile_kotlin();
    let driver: Vec<&str> = driver.iter().map(String::as_str).collect();
    assert_eq!(workspace.run("java", &driver), "all statements are true\n");
    let proxy = proxy_that_loses_a_refresh(workspace.server.address);
    let lost_refresh = [&driver[..], &["lost-refresh"]].concat();
    assert_eq!(workspace.run_against(proxy, "java", &lost_refresh), "renewed\n");
}

#[test]
fn lost_refresh_response_does_not_end_the_session() {
    let workspace = Workspace::new();
    let [javascript, _] = &blocks("clients/javascript.md", "js")[..] else { panic!("two blocks") };
    let [client, _] = &blocks("clients/python.md", "python")[..] else { panic!("two blocks") };
    workspace.write("proconf.mjs", javascript);
    workspace.write("lost_refresh.mjs", include_str!("doc_examples/lost_refresh.mjs"));
    workspace.write("proconf.py", client);
    workspace.write("lost_refresh.py", include_str!("doc_examples/lost_refresh.py"));
    let recipes = blocks("clients/curl.md", "sh");
    let until_renewed = recipes.iter().position(|block| block.contains("renew()")).unwrap();
    workspace.write("recipes.sh", &recipes[..=until_renewed].concat());
    for (program, file) in [("node", "lost_refresh.mjs"), (&python(), "lost_refresh.py"), ("bash", "recipes.sh")] {
        let proxy = proxy_that_loses_a_refresh(workspace.server.address);
        let printed = workspace.run_against(proxy, program, &[file]);
        assert!(printed.contains("renewed\n"), "{file}: {printed}");
    }
}

#[test]
fn clients_use_tokens_of_an_identity_provider() {
    let provider = OpenIdProvider::start();
    let issuer = provider.issuer();
    let workspace = Workspace::with(&[("APP_OIDC__ISSUER", issuer.as_str()), ("APP_OIDC__AUDIENCE", AUDIENCE)]);
    workspace.write("provider_token", &provider.log_in("ann"));
    workspace.write("proconf.mjs", &blocks("clients/javascript.md", "js")[0]);
    workspace.write("provider_tokens.mjs", include_str!("doc_examples/provider_tokens.mjs"));
    workspace.write("proconf.py", &blocks("clients/python.md", "python")[0]);
    workspace.write("provider_tokens.py", include_str!("doc_examples/provider_tokens.py"));
    assert_eq!(workspace.run("node", &["provider_tokens.mjs"]), "accepted\n");
    assert_eq!(workspace.run(&python(), &["provider_tokens.py"]), "accepted\n");
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
    let options = "--noEmit --strict --checkJs --allowJs --target es2022 --lib es2022,dom,dom.iterable,dom.asynciterable \
                   --module esnext --moduleResolution bundler proconf.mjs live.mjs";
    let [live] = &self::blocks("LIVE.md", "js")[..] else { panic!("one block") };
    workspace.write("live.mjs", live);
    workspace.run(&node_program("tsc"), &options.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn python_client_does_what_its_page_says() {
    let workspace = Workspace::with(&[("APP_LIVE__POLL_INTERVAL", "1s")]);
    let blocks = blocks("clients/python.md", "python");
    let [client, usage] = blocks.as_slice() else { panic!("{} blocks", blocks.len()) };
    workspace.write("proconf.py", client);
    workspace.write("usage.py", usage);
    workspace.write("driver.py", include_str!("doc_examples/driver.py"));
    let printed = workspace.run(&python(), &["usage.py"]);
    assert!(printed.starts_with("Ann opened the call") && printed.contains("\n403 Forbidden (request "), "{printed}");
    assert_eq!(workspace.run(&python(), &["driver.py"]), "all statements are true\n");
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
    let collection = docs().join("clients/proconf.postman_collection.json");
    let address = format!("baseUrl=http://{}", workspace.server.address);
    // Newman's status is that of its assertions.
    let arguments = ["run", collection.to_str().unwrap(), "--env-var", &address, "--bail", "--timeout-request", "20000"];
    let printed = workspace.run(&node_program("newman"), &arguments);
    let items = serde_json::from_str(&std::fs::read_to_string(&collection).unwrap()).unwrap();
    let names = request_names(&items);
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(printed.contains(&format!(" {name}\n")), "{name} is not sent: {printed}");
    }
}

/// Returns the names of the requests in a collection and its folders.
fn request_names(item: &serde_json::Value) -> Vec<&str> {
    let name = item["name"].as_str().filter(|_| item.get("request").is_some());
    let items = item["item"].as_array().into_iter().flatten();
    name.into_iter().chain(items.flat_map(request_names)).collect()
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

/// A receiver of `docs/ACCESS.md`; ends when dropped.
struct Receiver {
    process: Child,
    address: SocketAddr,
}

impl Receiver {
    fn start(language: &str, program: &str, folder: &Path) -> Self {
        let [code] = &blocks("ACCESS.md", language)[..] else { panic!("one block") };
        // Python does not care about the name.
        std::fs::write(folder.join("receiver.mjs"), code).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(program)
            .arg("receiver.mjs")
            .current_dir(folder)
            .envs([("APP_ROOMS__WEBHOOK_SECRET", WEBHOOK_SECRET), ("PORT", &address.port().to_string())])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let receiver = Self { process, address };
        wait_until("the receiver listens", || TcpStream::connect(address).is_ok());
        receiver
    }

    /// Posts a call that was signed `age` seconds ago with this secret; returns the status.
    fn post(&self, secret: &str, age: i64, earlier_signature: &str) -> u16 {
        let body = br#"{"subject":"ann","issuer":"proconf-app-server","room":"r1"}"#;
        let sent_at = tokens::now() - age;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(&secret["whsec_".len()..]).unwrap());
        let tag = hmac::sign(&key, &[format!("msg_1.{sent_at}.").as_bytes(), body].concat());
        let headers = format!(
            "Webhook-Id: msg_1\r\nWebhook-Timestamp: {sent_at}\r\nWebhook-Signature: {earlier_signature}v1,{}\r\n",
            STANDARD.encode(tag)
        );
        Client::new(self.address).post_as("/", &headers, body).status
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn webhook_receivers_decide_as_their_page_says() {
    let other_secret = format!("whsec_{}", STANDARD.encode([7; 32]));
    // The provider's user has the id of the account.
    let key = SigningKey::p256("k1");
    let provider = IdentityProvider::start(&[&key]);
    for (language, program) in [("js", "node"), ("python", "python3")] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(language, program, folder.path());
        let url = format!("http://{}/room-access", receiver.address);
        let settings = |secret| {
            [
                ("APP_ROOMS__ACCESS", "webhook"),
                ("APP_ROOMS__WEBHOOK_URL", url.as_str()),
                ("APP_ROOMS__WEBHOOK_SECRET", secret),
            ]
        };
        let right = provider.server(&settings(WEBHOOK_SECRET));
        let wrong = TestServer::with(&settings(other_secret.as_str()));
        let get = |server: &TestServer, id: &str, target: &str| {
            server.client().get(target, Some(&tokens::user_with_id(id))).status
        };
        let of_provider = key.sign(&provider.claims());
        assert_eq!(right.client().get("/callCatchUp/r1", Some(&of_provider)).status, 403, "{language}: another issuer");
        for (id, target, status) in [
            ("ann", "/callCatchUp/r1", 200),
            ("ann", "/callCatchUp/r2", 403),
            ("ann", "/callCatchUp/constructor", 403),
            ("bob", "/callStatus/r1", 403),
            ("ann", "/meetings", 403),
        ] {
            assert_eq!(get(&right, id, target), status, "{language}: {id} {target}");
        }
        assert_eq!(get(&wrong, "ann", "/callCatchUp/r1"), 500, "{language}");
        // The other end closes the connection before the body is complete.
        let mut aborted = TcpStream::connect(receiver.address).unwrap();
        aborted.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{").unwrap();
        drop(aborted);
        assert_eq!(receiver.post(WEBHOOK_SECRET, 0, ""), 200, "{language}");
        assert_eq!(receiver.post(WEBHOOK_SECRET, 0, "v1,AAAA "), 200, "{language}: one of two signatures");
        assert_eq!(receiver.post(WEBHOOK_SECRET, 0, "v1,\u{e9} "), 200, "{language}: one of two signatures");
        assert_eq!(receiver.post(&other_secret, 0, ""), 401, "{language}: another secret");
        for age in [3600, -3600] {
            assert_eq!(receiver.post(WEBHOOK_SECRET, age, ""), 401, "{language}: {age}");
        }
        let unsigned = Client::new(receiver.address).post("/", r#"{"subject":"ann","room":"r1"}"#);
        assert_eq!(unsigned.status, 401, "{language}");
        assert_eq!(get(&right, "ann", "/callSummary/r1"), 404, "{language}: it still responds");
    }
}
