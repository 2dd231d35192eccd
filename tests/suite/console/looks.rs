//! How the console looks, state by state: by the rules of accessibility, in light and dark, and from 320 to 1600 pixels. With
//! `SCREENSHOTS` naming a folder, as `tests/screenshots` calls it, the same walk takes the pictures of the documentation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proconf_app_server::accounts::management;
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
const PICTURES: [(&str, u32, &str); 9] = [
    ("door", 1280, "light"),
    ("invitation", 320, "light"),
    ("meetings", 1280, "light"),
    ("room", 1280, "light"),
    ("room", 1280, "dark"),
    ("room", 320, "dark"),
    ("nothing", 320, "light"),
    ("stand-in", 1280, "light"),
    ("requests", 1280, "dark"),
];

struct Walk {
    browser: Browser,
    pictures: Option<PathBuf>,
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
                if PICTURES.contains(&(state, width, scheme)) {
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

#[test]
fn every_state_is_accessible_in_light_and_dark_and_fits_any_width() {
    let mut walk = Walk::start();
    let server = TestServer::with(&[("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "600s")]);
    server.manage(async |database, clock| management::add(&database, (EMAIL, "Ann"), PASSWORD, 1, &clock).await);
    let says = |room: &str, text: &str| server.script.catch_up(room, Reply::data(&json!(text).to_string()));
    let url = |path: &str| format!("http://{}{path}", server.address);
    server.script.set("meetings", "", Reply::data(&meetings().to_string()));
    server.put_summary("weekly_1718871014/summary.txt", SAID);

    walk.browser.show_as(1280, 800, "light");
    walk.browser.open(&url("/"));
    walk.browser.wait_shown("#email");
    walk.look("door");
    walk.browser.type_into("#email", EMAIL);
    walk.browser.type_into("#password", "a wrong one");
    walk.browser.click("[data-part=signInButton]");
    walk.browser.wait_for("is not right");
    walk.look("wrong password");

    walk.browser.open(&url(&format!("/?room={ROOM}")));
    walk.browser.wait_for("You are invited");
    walk.look("invitation");
    says(ROOM, SAID);
    walk.browser.click("[data-part=invitation] button");
    walk.browser.wait_for("Dana measured");
    walk.browser.wait_for("Waiting room");
    walk.browser.type_into("[data-part=open] input", "another");
    walk.browser.click("[data-part=open] button");
    walk.browser.wait_for("You are a guest of");
    walk.look("another room");
    walk.browser.click("#sign-out");

    walk.browser.open(&url("/"));
    walk.browser.type_into("#email", EMAIL);
    walk.browser.type_into("#password", PASSWORD);
    walk.browser.click("[data-part=signInButton]");
    walk.browser.wait_for("design-review");
    walk.browser.wait_for("Waiting room");
    walk.browser.click(".meetings button");
    walk.browser.wait_for("Dana measured");
    walk.look("meetings");

    walk.browser.type_into("#open-room", ROOM);
    walk.browser.click("[data-part=open] button");
    walk.browser.wait_for("Dana measured");
    walk.browser.wait_for("Waiting room");
    says(ROOM, &format!("{SAID}{MORE}"));
    walk.browser.click("[data-part=refresh]");
    walk.browser.wait_for("There is more.");
    walk.browser.wait_for("Transcription on");
    walk.look("room");
    walk.browser.click("#requests-button");
    walk.browser.wait_shown("#requests-list li");
    walk.look("requests");
    walk.browser.click("#requests-close");

    server.script.catch_up(ROOM, Reply::body(500, ""));
    walk.browser.aged(Duration::from_secs(40));
    walk.browser.click("[data-part=refresh]");
    walk.browser.wait_for("it stands in");
    walk.look("stand-in");

    server.script.set("sessions-status", "quiet", Reply::data(r#"{"transcript_status": false, "recording_status": true}"#));
    says("quiet", "");
    walk.browser.open(&url("/?room=quiet"));
    walk.browser.wait_for("Nobody is writing this down");
    walk.browser.wait_for("Waiting room");
    walk.look("nothing");

    server.script.catch_up("broken", Reply::body(500, ""));
    walk.browser.open(&url("/?room=broken"));
    walk.browser.wait_for("could not be read");
    walk.look("failure");
    assert!(walk.found.is_empty(), "{:#?}", walk.found);
}
