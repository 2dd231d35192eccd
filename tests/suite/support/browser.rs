//! Headless Chromium, driven over `WebDriver`; one at a time, to save memory.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The time limit of a condition that a test waits for, in milliseconds.
const SCRIPT_TIMEOUT: u64 = 20_000;

/// A browser with an empty profile, ended when it is dropped.
pub struct Browser {
    client: Option<Client>,
    runtime: Runtime,
    driver: Child,
    _profile: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A `WebDriver` command that is specific to Chromium.
#[derive(Debug)]
struct ChromiumCommand {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for ChromiumCommand {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    pub fn start() -> Self {
        // A failed test has ended its browser.
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // chromedriver ends if another program takes the free port that it chose.
        let (driver, port) = (0..5).find_map(|_| start_driver()).expect("chromedriver says its port");
        let profile = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let Value::Object(capabilities) = capabilities(&profile) else { unreachable!("an object") };
        builder.capabilities(capabilities);
        let client = runtime.block_on(builder.connect(&format!("http://127.0.0.1:{port}"))).expect("Chromium starts");
        Self { client: Some(client), runtime, driver, _profile: profile, _alone: alone }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// Loads a page, its modules included.
    pub fn open(&self, url: &str) {
        self.runtime.block_on(self.client().goto(url)).unwrap();
    }

    pub fn reload(&self) {
        self.runtime.block_on(self.client().refresh()).unwrap();
    }

    pub fn back(&self) {
        self.runtime.block_on(self.client().back()).unwrap();
    }

    /// Runs the body of a function in the page.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.runtime.block_on(self.client().execute(script, vec![])).unwrap()
    }

    /// Runs the body of a function whose last argument is the callback for its result.
    #[track_caller]
    pub fn run_async(&self, script: &str) -> Value {
        self.runtime.block_on(self.client().execute_async(script, vec![])).unwrap()
    }

    /// Sets the `Age` of the catch-ups that the page receives.
    pub fn set_age(&self, age: Duration) {
        self.run(&format!(
            "const original = window.fetch;
             window.fetch = async (path, ...more) => {{
                 const response = await original(path, ...more);
                 if (!path.startsWith('/callCatchUp')) return response;
                 const headers = new Headers(response.headers);
                 headers.set('Age', '{}');
                 return new Response(response.status === 304 ? null : await response.text(), {{status: response.status, headers}});
             }};",
            age.as_secs()
        ));
    }

    /// Waits until an expression is true; evaluates it whenever the document changes.
    #[track_caller]
    pub fn wait(&self, condition: &str) {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const holds = () => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }};
             const observer = new MutationObserver(() => holds() && finish(true));
             const timer = setTimeout(() => finish(false), {SCRIPT_TIMEOUT});
             const finish = (held) => {{ observer.disconnect(); clearTimeout(timer); done(held); }};
             observer.observe(document, {{subtree: true, childList: true, characterData: true, attributes: true}});
             if (holds()) finish(true);"
        );
        let held = self.run_async(&script) == json!(true);
        assert!(held, "timed out: {condition}\nthe page shows: {}", self.run("return document.body.innerText"));
    }

    /// Waits until the page shows `text`.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// Waits until an element exists and is visible.
    #[track_caller]
    pub fn wait_shown(&self, css: &str) {
        self.wait(&format!("document.querySelector({})?.checkVisibility()", json!(css)));
    }

    /// Returns the text content of an element.
    #[track_caller]
    pub fn text(&self, css: &str) -> String {
        let text = self.run(&format!("return document.querySelector({}).textContent", json!(css)));
        text.as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn click(&self, css: &str) {
        self.wait_shown(css);
        let click = async { self.client().find(Locator::Css(css)).await?.click().await };
        self.runtime.block_on(click).unwrap();
    }

    /// Replaces the text of a field.
    #[track_caller]
    pub fn type_into(&self, css: &str, text: &str) {
        self.wait_shown(css);
        let typing = async {
            let field = self.client().find(Locator::Css(css)).await?;
            field.clear().await?;
            field.send_keys(text).await
        };
        self.runtime.block_on(typing).unwrap();
    }

    /// Sends keys to the focused element.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let pressing = async { self.client().active_element().await?.send_keys(keys).await };
        self.runtime.block_on(pressing).unwrap();
    }

    /// Opens another tab and switches to it.
    pub fn new_tab(&self) {
        self.open_and_switch(true);
    }

    /// Opens another window and switches to it.
    pub fn new_window(&self) {
        self.open_and_switch(false);
    }

    fn open_and_switch(&self, as_tab: bool) {
        let opening = async {
            let tab = self.client().new_window(as_tab).await?;
            self.client().switch_to_window(tab.handle).await
        };
        self.runtime.block_on(opening).unwrap();
    }

    /// Switches to the tab with this number, from 0.
    pub fn switch_to_tab(&self, number: usize) {
        let switching = async {
            let tabs = self.client().windows().await?;
            self.client().switch_to_window(tabs[number].clone()).await
        };
        self.runtime.block_on(switching).unwrap();
    }

    /// Minimises the window.
    pub fn hide(&self) {
        self.runtime.block_on(self.client().minimize_window()).unwrap();
    }

    /// Restores the window.
    pub fn show(&self) {
        self.runtime.block_on(self.client().set_window_rect(0, 0, 1280, 900)).unwrap();
    }

    /// Runs a command of the Chrome `DevTools` protocol.
    pub fn command(&self, name: &str, parameters: &Value) -> Value {
        self.run_command("goog/cdp/execute", json!({"cmd": name, "params": parameters}))
    }

    /// Sets the size and the colour scheme of the page, with reduced motion.
    pub fn show_as(&self, width: u32, height: u32, scheme: &str) {
        self.command(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.command("Emulation.setEmulatedMedia", &features);
    }

    /// Returns the new entries of the browser's log, since the last call.
    pub fn log(&self) -> Vec<Value> {
        self.run_command("se/log", json!({"type": "browser"})).as_array().unwrap().clone()
    }

    /// Returns the requested URLs since the last call.
    pub fn requested(&self) -> Vec<String> {
        let entries = self.run_command("se/log", json!({"type": "performance"}));
        let message = |entry: &Value| serde_json::from_str::<Value>(entry["message"].as_str()?).ok();
        let messages = entries.as_array().unwrap().iter().filter_map(message).map(|mut entry| entry["message"].take());
        let requests = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        requests.filter_map(|message| Some(message["params"]["request"]["url"].as_str()?.to_owned())).collect()
    }

    fn run_command(&self, path: &'static str, body: Value) -> Value {
        self.runtime.block_on(self.client().issue_cmd(ChromiumCommand { path, body })).unwrap()
    }
}

/// Starts chromedriver and returns its port; `None` if it ended.
fn start_driver() -> Option<(Child, String)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver starts; tests/run installs it (Debian: chromium-driver)");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let Some(started) = lines.find(|line| line.contains("successfully on port")) else {
        driver.kill().unwrap();
        driver.wait().unwrap();
        return None;
    };
    let port = started.rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
    // Its further output is discarded; a full pipe would block it.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, port))
}

fn capabilities(profile: &TempDir) -> Value {
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
        // No other machine is reachable.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--window-size=1280,900",
    ];
    let profile = format!("--user-data-dir={}", profile.path().display());
    let arguments: Vec<&str> = arguments.into_iter().chain([profile.as_str()]).collect();
    json!({
        "browserName": "chrome",
        "timeouts": {"script": SCRIPT_TIMEOUT + 5_000},
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        "goog:chromeOptions": {"args": arguments},
    })
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let _ = self.runtime.block_on(client.close());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
