//! A browser of one's own: headless Chromium, driven over `WebDriver`. One at a time, because a machine for tests is small.

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

/// Milliseconds that a page may take for anything a test waits for.
const SCRIPT_TIMEOUT: u64 = 20_000;

/// A browser with an empty profile, ended when it is dropped.
pub struct Browser {
    client: Option<Client>,
    runtime: Runtime,
    driver: Child,
    _profile: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A command that only some drivers have.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    pub fn start() -> Self {
        // Who held it and failed has ended its browser all the same.
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // It picks a port and then binds it; who comes in between makes it give up.
        let (driver, port) = (0..5).find_map(|_| driver()).expect("chromedriver says its port");
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

    /// Runs the body of a function whose last argument is what to call with the answer.
    #[track_caller]
    pub fn run_async(&self, script: &str) -> Value {
        self.runtime.block_on(self.client().execute_async(script, vec![])).unwrap()
    }

    /// Lets the page believe that catch-ups are this old when they arrive, which takes longer than a test may.
    pub fn aged(&self, age: Duration) {
        self.run(&format!(
            "const asks = window.fetch;
             window.fetch = async (path, ...more) => {{
                 const answer = await asks(path, ...more);
                 if (!path.startsWith('/callCatchUp')) return answer;
                 const headers = new Headers(answer.headers);
                 headers.set('Age', '{}');
                 return new Response(answer.status === 304 ? null : await answer.text(), {{status: answer.status, headers}});
             }};",
            age.as_secs()
        ));
    }

    /// Waits until an expression holds: looked at whenever the document changes. A failure shows what the page said by then.
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
        assert!(held, "never came true: {condition}\nthe page says: {}", self.run("return document.body.innerText"));
    }

    /// Waits until the page says this somewhere that can be seen.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// Waits until an element is there and shown.
    #[track_caller]
    pub fn wait_shown(&self, css: &str) {
        self.wait(&format!("document.querySelector({})?.checkVisibility()", json!(css)));
    }

    /// The text of an element, with all that is in it and as it stands in the document.
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

    /// Types into a field, over what is there.
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

    /// Presses keys wherever the focus is.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let pressing = async { self.client().active_element().await?.send_keys(keys).await };
        self.runtime.block_on(pressing).unwrap();
    }

    /// Opens another tab and goes on in it.
    pub fn new_tab(&self) {
        self.opened(true);
    }

    /// Opens another window, beside the others, and goes on in it.
    pub fn new_window(&self) {
        self.opened(false);
    }

    fn opened(&self, as_tab: bool) {
        let opening = async {
            let tab = self.client().new_window(as_tab).await?;
            self.client().switch_to_window(tab.handle).await
        };
        self.runtime.block_on(opening).unwrap();
    }

    /// Goes on in the first or another tab.
    pub fn tab(&self, number: usize) {
        let switching = async {
            let tabs = self.client().windows().await?;
            self.client().switch_to_window(tabs[number].clone()).await
        };
        self.runtime.block_on(switching).unwrap();
    }

    /// Puts the window where nobody sees it.
    pub fn hide(&self) {
        self.runtime.block_on(self.client().minimize_window()).unwrap();
    }

    /// Brings the window back.
    pub fn show(&self) {
        self.runtime.block_on(self.client().set_window_rect(0, 0, 1280, 900)).unwrap();
    }

    /// A command of Chrome's own protocol.
    pub fn command(&self, name: &str, parameters: &Value) -> Value {
        self.own("goog/cdp/execute", json!({"cmd": name, "params": parameters}))
    }

    /// The width and height of the page, light or dark, and as little motion as a user may ask for.
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

    /// What is new in the browser's log since it was last asked for: what scripts said, and what the browser had to object.
    pub fn log(&self) -> Vec<Value> {
        self.own("se/log", json!({"type": "browser"})).as_array().unwrap().clone()
    }

    /// The URLs that were asked for since this was last called, by whatever asked.
    pub fn requested(&self) -> Vec<String> {
        let entries = self.own("se/log", json!({"type": "performance"}));
        let message = |entry: &Value| serde_json::from_str::<Value>(entry["message"].as_str()?).ok();
        let messages = entries.as_array().unwrap().iter().filter_map(message).map(|mut entry| entry["message"].take());
        let requests = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        requests.filter_map(|message| Some(message["params"]["request"]["url"].as_str()?.to_owned())).collect()
    }

    fn own(&self, path: &'static str, body: Value) -> Value {
        self.runtime.block_on(self.client().issue_cmd(Own { path, body })).unwrap()
    }
}

/// A driver that listens, and its port; `None` if it gave up.
fn driver() -> Option<(Child, String)> {
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
    // What it says later is nobody's business, but has to be read.
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
        // Whoever asks for another machine, asks in vain.
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
