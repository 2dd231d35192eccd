//! The accessibility and the layout of each state of the console: axe's rules, light and dark, 320 to 1600 pixels wide.
//!
//! If `SCREENSHOTS` names a folder, the same tests take the screenshots of the documentation (`tests/screenshots`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proconf_app_server::accounts::admin;
use proconf_app_server::sandbox::Reply;
use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::browser::Browser;

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "what ann alone would say";
const ROOM: &str = "weekly";

const TEXT: &str = "Ann opened the call with the release: it goes out on **Thursday** if the last Android fix is reviewed by tomorrow.\n\n\
                    ## Decided so far\n\n- Two cosmetic bugs move to the next release.\n\
                    - Old recordings are deleted on Friday; Emil writes to their owners.\n\
                    - Dana covers the first week of the holidays, Chidi the second.\n\n\
                    Dana measured the slow join: nine seconds on a poor connection, six of them before anything is shown.";
const NEW_TEXT: &str = " Bo and Dana look at it together after the call, and bring a proposal by Wednesday.";

/// The screenshots in the documentation: state, width, scheme.
const SCREENSHOTS: [(&str, u32, &str); 20] = [
    ("entry", 1280, "light"),
    ("wrong-password", 1280, "light"),
    ("throttled", 320, "light"),
    ("unreachable", 1280, "dark"),
    ("invitation", 320, "light"),
    ("forbidden", 1280, "light"),
    ("expired", 1280, "light"),
    ("resuming", 320, "dark"),
    ("meetings", 1280, "light"),
    ("summary", 1280, "dark"),
    ("room", 1280, "light"),
    ("room", 1280, "dark"),
    ("new-text", 320, "light"),
    ("room", 320, "dark"),
    ("nothing", 320, "light"),
    ("stale", 1280, "light"),
    ("failure", 1280, "light"),
    ("ended", 1280, "light"),
    ("ended-summary", 320, "light"),
    ("requests", 1280, "dark"),
];

struct Inspector {
    browser: Browser,
    screenshots: Option<PathBuf>,
    takes_all: bool,
    axe: String,
    problems: Vec<String>,
}

impl Inspector {
    fn start() -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let axe = std::fs::read_to_string(project.join("tests/suite/browser/node_modules/axe-core/axe.min.js"));
        let screenshots = std::env::var_os("SCREENSHOTS").map(|folder| project.join(folder));
        Self {
            browser: Browser::start(),
            screenshots,
            takes_all: std::env::var_os("SCREENSHOTS_OF").is_some_and(|value| value == "all"),
            axe: axe.expect("axe-core is there; tests/run installs it (npm ci in tests/suite/browser)"),
            problems: Vec::new(),
        }
    }

    /// Inspects the current state of the page in all sizes and schemes.
    fn inspect(&mut self, state: &str) {
        self.load_axe();
        for (width, height) in [(1600, 1000), (1280, 800), (320, 720)] {
            for scheme in ["light", "dark"] {
                self.browser.show_as(width, height, scheme);
                let case = format!("{state}, {width} pixels, {scheme}");
                // Two frames: the page has been laid out again after the first.
                let overflow = self.browser.run_async(
                    "const done = arguments[0];
                     requestAnimationFrame(() => requestAnimationFrame(() =>
                         done(document.documentElement.scrollWidth - innerWidth)))",
                );
                if overflow.as_i64().unwrap() > 0 {
                    self.problems.push(format!("{case}: {overflow} pixels too wide"));
                }
                if width < 1600 {
                    self.check(&case);
                }
                if self.takes_all || SCREENSHOTS.contains(&(state, width, scheme)) {
                    self.take_screenshot(&format!("{state}-{width}-{scheme}.png"));
                }
            }
        }
        self.browser.show_as(1280, 800, "light");
    }

    fn load_axe(&self) {
        self.browser.run(&format!("if (!window.axe) {{ {} }}", self.axe));
    }

    fn check(&mut self, case: &str) {
        let result = self.browser.run_async(
            "const done = arguments[0];
             axe.run(document, {resultTypes: ['violations']}).then(
                 ({violations, passes}) => done({passes: passes.length, violations: violations.map(({id, help, nodes}) =>
                     `${id}: ${help}: ${nodes.map((node) => node.html + node.failureSummary).join(' | ')}`)}),
                 (error) => done({passes: 0, violations: [String(error)]}))",
        );
        assert!(result["passes"].as_u64() > Some(10), "{case}: the rules were applied: {result}");
        let violations = result["violations"].as_array().unwrap();
        self.problems.extend(violations.iter().map(|violation| format!("{case}: {violation}")));
    }

    fn take_screenshot(&self, name: &str) {
        let Some(folder) = &self.screenshots else { return };
        let screenshot =
            self.browser.command("Page.captureScreenshot", &json!({"format": "png", "optimizeForSpeed": false}));
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(name), STANDARD.decode(screenshot["data"].as_str().unwrap()).unwrap()).unwrap();
    }
}

fn meetings() -> Value {
    let meeting = |room: &str, day: u32, from: u32, to: u32| {
        json!({"room_name": room, "unique_id": format!("{room}_{day}"),
               "created_at": format!("2026-11-{day:02}T09:{from:02}:00.000Z"),
               "destroyed_at": format!("2026-11-{day:02}T09:{to:02}:00.000Z")})
    };
    json!([
        meeting("weekly", 17, 0, 45),
        meeting("weekly", 10, 0, 50),
        meeting("weekly", 3, 2, 40),
        meeting("design-review", 16, 5, 35),
        meeting("1:1 Bo & Dana", 12, 10, 31),
        meeting("a-room-with-a-name-that-was-made-by-a-machine-8f14e45fceea167a5a36dedd4bea2543", 11, 0, 59),
    ])
}

/// A server with an account, meetings and a summary, and the inspector.
struct Fixture {
    inspector: Inspector,
    server: TestServer,
}

impl Fixture {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let inspector = Inspector::start();
        let defaults = [
            ("APP_CATCH_UP__FRESH_FOR", "1ms"),
            ("APP_CATCH_UP__STALE_IF_ERROR", "600s"),
            ("APP_LIVE__POLL_INTERVAL", "1s"),
        ];
        let server = TestServer::with(&[&defaults, settings].concat());
        server.manage(async |database, clock| admin::add(&database, EMAIL, "Ann", PASSWORD, 1, &clock).await);
        server.script.set("meetings", "", Reply::data(&meetings().to_string()));
        let features = r#"{"features": {"audio_call": true, "waiting_room": false, "server_side_recording": false}}"#;
        server.script.set("configuration", "", Reply::data(features));
        server.put_summary("weekly_1718871014/summary.txt", TEXT);
        inspector.browser.show_as(1280, 800, "light");
        Self { inspector, server }
    }

    fn open(&self, path: &str) {
        self.inspector.browser.open(&format!("http://{}{path}", self.server.address));
    }

    fn set_catch_up(&self, room: &str, text: &str) {
        self.server.script.catch_up(room, Reply::data(&json!(text).to_string()));
    }

    fn sign_in_with(&self, password: &str) {
        self.inspector.browser.type_into("#email", EMAIL);
        self.inspector.browser.type_into("#password", password);
        self.inspector.browser.click("[data-part=signInButton]");
    }

    /// Waits until the page shows `text` and has loaded, and inspects it.
    #[track_caller]
    fn inspect_when_shown(&mut self, text: &str, state: &str) {
        self.inspector.browser.wait_for(text);
        self.inspector.browser.wait("![...document.querySelectorAll('.loading')].some((part) => part.checkVisibility())");
        self.inspector.inspect(state);
    }

    /// Makes these requests fail as if the server were unreachable.
    fn block(&self, urls: &[&str]) {
        self.inspector.browser.command("Network.enable", &json!({}));
        self.inspector.browser.command("Network.setBlockedURLs", &json!({"urls": urls}));
    }

    fn assert_no_problems(self) {
        assert!(self.inspector.problems.is_empty(), "{:#?}", self.inspector.problems);
    }
}

#[test]
fn entry_page_is_accessible_and_fits_any_width() {
    let mut fixture = Fixture::start();
    fixture.open("/");
    fixture.inspect_when_shown("Sign in", "entry");
    fixture.sign_in_with("a wrong one");
    fixture.inspect_when_shown("Wrong e-mail or password", "wrong-password");
    fixture.block(&["*/auth/login"]);
    fixture.sign_in_with(PASSWORD);
    fixture.inspect_when_shown("can’t be reached", "unreachable");
    fixture.block(&[]);
    fixture.inspector.browser.run(
        "const button = document.querySelector('[data-part=signInButton]');
         document.querySelector('#password').value = 'a wrong one';
         const again = () => document.body.innerText.includes('Too many attempts') || button.ariaDisabled === 'true' || button.click();
         new MutationObserver(again).observe(button, {attributes: true});
         button.click();",
    );
    fixture.inspect_when_shown("Too many attempts", "throttled");

    fixture.open(&format!("/?room={ROOM}"));
    fixture.inspect_when_shown("You are invited", "invitation");
    fixture.set_catch_up(ROOM, TEXT);
    fixture.inspector.browser.click("[data-part=invitation] button");
    fixture.inspector.browser.wait_for("Dana measured");
    fixture.inspector.browser.type_into("[data-part=open] input", "another");
    fixture.inspector.browser.click("[data-part=open] button");
    fixture.inspect_when_shown("You are a guest in", "forbidden");
    fixture.assert_no_problems();
}

#[test]
fn token_field_is_accessible_and_fits_any_width() {
    let mut fixture = Fixture::with(&[("APP_AUTH__PASSWORD_LOGIN", "false")]);
    fixture.open("/");
    fixture.inspect_when_shown("Access token", "token");
    fixture.inspector.browser.type_into("#token", "not.a.token");
    fixture.inspector.browser.click("[data-part=tokenButton]");
    fixture.inspect_when_shown("does not accept this token", "wrong-token");
    fixture.assert_no_problems();
}

#[test]
fn meetings_are_accessible_and_fit_any_width() {
    let mut fixture = Fixture::start();
    fixture.set_catch_up(ROOM, TEXT);
    fixture.open(&format!("/?room={ROOM}"));
    fixture.sign_in_with(PASSWORD);
    fixture.inspector.browser.wait_for("Dana measured");
    fixture.inspector.browser.click("[data-part=back]");
    fixture.inspect_when_shown("design-review", "meetings");
    fixture.inspector.browser.click(".meetings button");
    fixture.inspect_when_shown("Dana measured", "summary");

    fixture.block(&["*/auth/refresh"]);
    fixture.inspector.browser.reload();
    fixture.inspect_when_shown("Trying again in", "resuming");
    fixture.block(&[]);
    fixture.inspector.browser.wait_for("design-review");
    fixture.server.manage(async |database, clock| admin::disable(&database, EMAIL, &clock).await);
    fixture.inspector.browser.reload();
    fixture.inspect_when_shown("Your session has ended", "expired");
    fixture.assert_no_problems();
}

#[test]
fn room_is_accessible_and_fits_any_width() {
    let mut fixture = Fixture::start();
    fixture.set_catch_up(ROOM, TEXT);
    fixture.open(&format!("/?room={ROOM}"));
    fixture.sign_in_with(PASSWORD);
    fixture.inspector.browser.wait_for("Dana measured");
    fixture.inspector.browser.wait("document.querySelector('[data-part=mode]').textContent === 'Live'");
    fixture.set_catch_up(ROOM, &format!("{TEXT}{NEW_TEXT}"));
    fixture.inspector.browser.wait_for("New text added.");
    fixture.inspect_when_shown("Transcription on", "room");
    fixture.inspector.browser.click("#requests-button");
    fixture.inspector.browser.wait_shown("#requests-list li");
    fixture.inspector.inspect("requests");
    fixture.inspector.browser.click("#requests-close");

    fixture.inspector.browser.click("[data-part=live]");
    fixture.server.script.catch_up(ROOM, Reply::body(500, ""));
    fixture.inspector.browser.set_age(Duration::from_secs(40));
    fixture.inspector.browser.click("[data-part=refresh]");
    fixture.inspect_when_shown("could not get a newer one", "stale");
    fixture.block(&["*/callCatchUp/*"]);
    fixture.inspector.browser.click("[data-part=refresh]");
    fixture.inspect_when_shown("Showing the version from", "lost");
    fixture.block(&[]);

    let long = format!("{TEXT}\n\n").repeat(6);
    fixture.set_catch_up("long", &long);
    fixture.open("/?room=long");
    fixture.inspector.browser.wait("document.querySelector('[data-part=mode]').textContent === 'Live'");
    fixture.inspector.browser.wait_for("Dana measured");
    fixture.set_catch_up("long", &format!("{long}{NEW_TEXT}"));
    fixture.inspector.browser.wait_shown("[data-part=newText]");
    fixture.inspector.inspect("new-text");
    fixture.assert_no_problems();
}

#[test]
fn docs_page_is_accessible_and_fills_in_the_room() {
    let mut fixture = Fixture::start();
    fixture.open("/docs");
    let browser = &fixture.inspector.browser;
    let stream = "/callCatchUp/{roomName}/live";
    let operation = |path: &str| format!(".opblock:has([data-path='{path}'])");
    for path in ["/auth/login", "/callStatus/{roomName}", stream] {
        browser.click(&format!("{} .opblock-summary-control", operation(path)));
        browser.wait_shown(&format!("{} .responses-table[aria-label]", operation(path)));
    }
    let execute_buttons =
        |path: &str| browser.run(&format!("return document.querySelectorAll(\"{} .execute\").length", operation(path)));
    assert_eq!(execute_buttons("/callStatus/{roomName}"), json!(1));
    assert_eq!(execute_buttons(stream), json!(0), "the stream never ends");
    let room = "return document.querySelector('[data-param-name=roomName] input').value";
    assert_eq!(browser.run(room), json!("testRoom"));
    fixture.inspector.load_axe();
    fixture.inspector.check("docs");
    fixture.assert_no_problems();
}

#[test]
fn more_contrast_and_forced_colours_change_the_page() {
    let mut fixture = Fixture::start();
    fixture.set_catch_up(ROOM, TEXT);
    fixture.open(&format!("/?room={ROOM}"));
    fixture.sign_in_with(PASSWORD);
    fixture.inspector.browser.wait_for("Dana measured");
    fixture.set_catch_up(ROOM, &format!("{TEXT}{NEW_TEXT}"));
    fixture.inspector.browser.wait_for("New text added.");
    fixture.inspector.load_axe();
    let changes = [
        ("prefers-contrast", "more", [(".card p", "color"), (".card", "borderTopColor"), (".badge", "borderTopWidth")]),
        (
            "forced-colors",
            "active",
            [(".text ins", "textDecorationLine"), ("button.primary", "borderTopWidth"), (".badge", "borderTopWidth")],
        ),
    ];
    for (feature, value, properties) in changes {
        for (css, property) in properties {
            fixture.inspector.browser.command("Emulation.setEmulatedMedia", &json!({"features": []}));
            let style = format!("return getComputedStyle(document.querySelector('{css}'))['{property}']");
            let usual = fixture.inspector.browser.run(&style);
            let media = json!({"features": [{"name": feature, "value": value}]});
            fixture.inspector.browser.command("Emulation.setEmulatedMedia", &media);
            assert_ne!(fixture.inspector.browser.run(&style), usual, "{feature}: {css} {property}");
        }
        fixture.inspector.check(feature);
    }
    fixture.assert_no_problems();
}

#[test]
fn room_without_catch_up_is_accessible_and_fits_any_width() {
    let mut fixture = Fixture::start();
    let status = Reply::data(r#"{"transcript_status": false, "recording_status": true}"#);
    fixture.server.script.set("sessions-status", "quiet", status);
    fixture.set_catch_up("quiet", "");
    fixture.open("/?room=quiet");
    fixture.sign_in_with(PASSWORD);
    fixture.inspect_when_shown("Transcription is off", "nothing");
    for endpoint in ["call-catchup", "sessions-status"] {
        fixture.server.script.set(endpoint, ROOM, Reply::not_found());
    }
    fixture.open(&format!("/?room={ROOM}"));
    fixture.inspect_when_shown("This meeting has ended", "ended");
    fixture.inspector.browser.click(".empty button");
    fixture.inspect_when_shown("Dana measured", "ended-summary");
    fixture.server.script.catch_up("broken", Reply::body(500, ""));
    fixture.open("/?room=broken");
    fixture.inspect_when_shown("could not be loaded", "failure");
    fixture.assert_no_problems();
}
