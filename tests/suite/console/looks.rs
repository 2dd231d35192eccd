//! How the console looks, state by state: by the rules of accessibility, in light and dark, and from 320 to 1600 pixels. With
//! `SCREENSHOTS` naming a folder, as `tests/screenshots` calls it, the same walk takes the pictures of the documentation.

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

const SAID: &str = "Ann opened the call with the release: it goes out on Thursday if the last Android fix is reviewed by tomorrow.\n\n\
                    ## Decided so far\n\n- Two cosmetic bugs move to the next release.\n\
                    - Old recordings are deleted on Friday; Emil writes to their owners.\n\
                    - Dana covers the first week of the holidays, Chidi the second.\n\n\
                    Dana measured the slow join: nine seconds on a poor connection, six of them before anything is shown.";
const MORE: &str = " Bo and Dana look at it together after the call, and bring a proposal by Wednesday.";

/// The pictures that the documentation shows: state, width, scheme.
const PICTURES: [(&str, u32, &str); 20] = [
    ("door", 1280, "light"),
    ("wrong-password", 1280, "light"),
    ("throttled", 320, "light"),
    ("away", 1280, "dark"),
    ("invitation", 320, "light"),
    ("refused", 1280, "light"),
    ("expired", 1280, "light"),
    ("resuming", 320, "dark"),
    ("meetings", 1280, "light"),
    ("summary", 1280, "dark"),
    ("room", 1280, "light"),
    ("room", 1280, "dark"),
    ("room", 1600, "light"),
    ("room", 320, "dark"),
    ("nothing", 320, "light"),
    ("stand-in", 1280, "light"),
    ("failure", 1280, "light"),
    ("ended", 1280, "light"),
    ("ended-summary", 320, "light"),
    ("requests", 1280, "dark"),
];

struct Walk {
    browser: Browser,
    pictures: Option<PathBuf>,
    takes_all: bool,
    axe: String,
    found: Vec<String>,
}

impl Walk {
    fn start() -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let axe = std::fs::read_to_string(project.join("tests/suite/browser/node_modules/axe-core/axe.min.js"));
        let pictures = std::env::var_os("SCREENSHOTS").map(|folder| project.join(folder));
        Self {
            browser: Browser::start(),
            pictures,
            takes_all: std::env::var_os("SCREENSHOTS_OF").is_some_and(|of| of == "all"),
            axe: axe.expect("axe-core is there; tests/run installs it (npm ci in tests/suite/browser)"),
            found: Vec::new(),
        }
    }

    /// Looks at the state that the page is in.
    fn look(&mut self, state: &str) {
        self.browser.run(&format!("if (!window.axe) {{ {} }}", self.axe));
        for (width, height) in [(1600, 1000), (1280, 800), (320, 720)] {
            for scheme in ["light", "dark"] {
                self.browser.show_as(width, height, scheme);
                let of = format!("{state}, {width} pixels, {scheme}");
                // Two frames: the page has been laid out again after the first.
                let overflow = self.browser.run_async(
                    "const done = arguments[0];
                     requestAnimationFrame(() => requestAnimationFrame(() =>
                         done(document.documentElement.scrollWidth - innerWidth)))",
                );
                if overflow.as_i64().unwrap() > 0 {
                    self.found.push(format!("{of}: {overflow} pixels too wide"));
                }
                if width < 1600 {
                    self.check(&of);
                }
                if self.takes_all || PICTURES.contains(&(state, width, scheme)) {
                    self.take(&format!("{state}-{width}-{scheme}.png"));
                }
            }
        }
        self.browser.show_as(1280, 800, "light");
    }

    fn check(&mut self, of: &str) {
        let result = self.browser.run_async(
            "const done = arguments[0];
             axe.run(document, {resultTypes: ['violations']}).then(
                 ({violations, passes}) => done({passes: passes.length, violations: violations.map(({id, help, nodes}) =>
                     `${id}: ${help}: ${nodes.map((node) => node.html + node.failureSummary).join(' | ')}`)}),
                 (error) => done({passes: 0, violations: [String(error)]}))",
        );
        assert!(result["passes"].as_u64() > Some(10), "{of}: the rules were applied: {result}");
        let violations = result["violations"].as_array().unwrap();
        self.found.extend(violations.iter().map(|violation| format!("{of}: {violation}")));
    }

    fn take(&self, name: &str) {
        let Some(folder) = &self.pictures else { return };
        let picture = self.browser.command("Page.captureScreenshot", &json!({"format": "png", "optimizeForSpeed": false}));
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(name), STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()).unwrap();
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

/// A server with an account, and with texts that people might say.
struct Place {
    walk: Walk,
    server: TestServer,
}

impl Place {
    fn start() -> Self {
        let walk = Walk::start();
        let server = TestServer::with(&[("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "600s")]);
        server.manage(async |database, clock| admin::add(&database, (EMAIL, "Ann"), PASSWORD, 1, &clock).await);
        server.script.set("meetings", "", Reply::data(&meetings().to_string()));
        server.put_summary("weekly_1718871014/summary.txt", SAID);
        walk.browser.show_as(1280, 800, "light");
        Self { walk, server }
    }

    fn open(&self, path: &str) {
        self.walk.browser.open(&format!("http://{}{path}", self.server.address));
    }

    fn says(&self, room: &str, text: &str) {
        self.server.script.catch_up(room, Reply::data(&json!(text).to_string()));
    }

    fn sign_in_with(&self, password: &str) {
        self.walk.browser.type_into("#email", EMAIL);
        self.walk.browser.type_into("#password", password);
        self.walk.browser.click("[data-part=signInButton]");
    }

    /// Waits for what is said and for what stands beside it.
    #[track_caller]
    fn look_when_it_says(&mut self, text: &str, state: &str) {
        self.walk.browser.wait_for(text);
        self.walk.browser.wait("![...document.querySelectorAll('.loading')].some((part) => part.checkVisibility())");
        self.walk.look(state);
    }

    /// Keeps these requests from arriving, as if nobody were there to take them.
    fn cut_off(&self, urls: &[&str]) {
        self.walk.browser.command("Network.enable", &json!({}));
        self.walk.browser.command("Network.setBlockedURLs", &json!({"urls": urls}));
    }

    fn end(self) {
        assert!(self.walk.found.is_empty(), "{:#?}", self.walk.found);
    }
}

#[test]
fn the_door_is_accessible_in_light_and_dark_and_fits_any_width() {
    let mut place = Place::start();
    place.open("/");
    place.look_when_it_says("Sign in", "door");
    place.sign_in_with("a wrong one");
    place.look_when_it_says("Wrong e-mail or password", "wrong-password");
    place.cut_off(&["*/auth/login"]);
    place.sign_in_with(PASSWORD);
    place.look_when_it_says("can’t be reached", "away");
    place.cut_off(&[]);
    place.walk.browser.run(
        "const button = document.querySelector('[data-part=signInButton]');
         document.querySelector('#password').value = 'a wrong one';
         const again = () => document.body.innerText.includes('Too many attempts') || button.ariaDisabled === 'true' || button.click();
         new MutationObserver(again).observe(button, {attributes: true});
         button.click();",
    );
    place.look_when_it_says("Too many attempts", "throttled");

    place.open(&format!("/?room={ROOM}"));
    place.look_when_it_says("You are invited", "invitation");
    place.says(ROOM, SAID);
    place.walk.browser.click("[data-part=invitation] button");
    place.walk.browser.wait_for("Dana measured");
    place.walk.browser.type_into("[data-part=open] input", "another");
    place.walk.browser.click("[data-part=open] button");
    place.look_when_it_says("You are a guest in", "refused");
    place.end();
}

#[test]
fn the_meetings_are_accessible_in_light_and_dark_and_fit_any_width() {
    let mut place = Place::start();
    place.open("/");
    place.sign_in_with(PASSWORD);
    place.look_when_it_says("design-review", "meetings");
    place.walk.browser.click(".meetings button");
    place.look_when_it_says("Dana measured", "summary");

    place.cut_off(&["*/auth/refresh"]);
    place.walk.browser.reload();
    place.look_when_it_says("Trying again in", "resuming");
    place.cut_off(&[]);
    place.walk.browser.wait_for("design-review");
    place.server.manage(async |database, clock| admin::disable(&database, EMAIL, &clock).await);
    place.walk.browser.reload();
    place.look_when_it_says("Your session has ended", "expired");
    place.end();
}

#[test]
fn a_room_is_accessible_in_light_and_dark_and_fits_any_width() {
    let mut place = Place::start();
    place.says(ROOM, SAID);
    place.open(&format!("/?room={ROOM}"));
    place.sign_in_with(PASSWORD);
    place.walk.browser.wait_for("Dana measured");
    place.says(ROOM, &format!("{SAID}{MORE}"));
    place.walk.browser.click("[data-part=refresh]");
    place.walk.browser.wait_for("New text added.");
    place.look_when_it_says("Transcription on", "room");
    place.walk.browser.click("#requests-button");
    place.walk.browser.wait_shown("#requests-list li");
    place.walk.look("requests");
    place.walk.browser.click("#requests-close");

    place.server.script.catch_up(ROOM, Reply::body(500, ""));
    place.walk.browser.aged(Duration::from_secs(40));
    place.walk.browser.click("[data-part=refresh]");
    place.look_when_it_says("could not get a newer one", "stand-in");
    place.cut_off(&["*/callCatchUp/*"]);
    place.walk.browser.click("[data-part=refresh]");
    place.look_when_it_says("Showing the version from", "lost");
    place.cut_off(&[]);
    place.end();
}

#[test]
fn a_room_without_a_catch_up_is_accessible_in_light_and_dark_and_fits_any_width() {
    let mut place = Place::start();
    let status = Reply::data(r#"{"transcript_status": false, "recording_status": true}"#);
    place.server.script.set("sessions-status", "quiet", status);
    place.says("quiet", "");
    place.open("/?room=quiet");
    place.sign_in_with(PASSWORD);
    place.look_when_it_says("Transcription is off", "nothing");
    for endpoint in ["call-catchup", "sessions-status"] {
        place.server.script.set(endpoint, ROOM, Reply::not_found());
    }
    place.open(&format!("/?room={ROOM}"));
    place.look_when_it_says("This meeting has ended", "ended");
    place.walk.browser.click(".empty button");
    place.look_when_it_says("Dana measured", "ended-summary");
    place.server.script.catch_up("broken", Reply::body(500, ""));
    place.open("/?room=broken");
    place.look_when_it_says("could not be loaded", "failure");
    place.end();
}
