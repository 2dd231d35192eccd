//! The behaviour of the console in a real browser against a real server.

use std::process::Command;
use std::time::Duration;

use fantoccini::key::Key;
use proconf_app_server::accounts::admin;
use proconf_app_server::sandbox::Reply;
use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::browser::Browser;

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "what ann alone would say";

/// A browser in front of a server that has one account.
pub(super) struct Console {
    pub(super) browser: Browser,
    pub(super) server: TestServer,
}

impl Console {
    pub(super) fn start() -> Self {
        Self::with(&[])
    }

    pub(super) fn with(settings: &[(&str, &str)]) -> Self {
        let browser = Browser::start();
        let server = TestServer::with(settings);
        server.add_user(EMAIL, PASSWORD);
        Self { browser, server }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    pub(super) fn open(&self, path: &str) {
        self.browser.open(&self.url(path));
    }

    #[track_caller]
    pub(super) fn sign_in(&self, path: &str) {
        self.open(path);
        self.browser.type_into("#email", EMAIL);
        self.browser.type_into("#password", PASSWORD);
        self.browser.press(&key(Key::Enter));
        self.browser.wait_shown("#sign-out");
    }

    /// Signs in and opens `room`, and waits until its catch-up is `text`. Turns live updates off.
    #[track_caller]
    pub(super) fn open_room(&self, room: &str, text: &str) {
        self.open_live_room(room, text);
        self.browser.click("[data-part=live]");
    }

    /// The same, with live updates.
    #[track_caller]
    pub(super) fn open_live_room(&self, room: &str, text: &str) {
        self.set_catch_up(room, text);
        self.sign_in(&format!("/?room={room}"));
        self.wait_for_text(text);
    }

    /// Waits until the catch-up is `text`.
    #[track_caller]
    pub(super) fn wait_for_text(&self, text: &str) {
        self.browser.wait(&format!("document.querySelector('.card .text').textContent === {}", json!(text)));
    }

    pub(super) fn set_catch_up(&self, room: &str, text: &str) {
        self.server.script.catch_up(room, Reply::data(&json!(text).to_string()));
    }

    /// Moves the page's clock forward.
    pub(super) fn advance_clock(&self, by: Duration) {
        let script = format!("const now = Date.now; Date.now = () => now.call(Date) + {};", by.as_millis());
        self.browser.run(&script);
    }

    /// Returns the requests in the drawer, newest first: method, path, outcome, curl command.
    pub(super) fn requests(&self) -> Vec<[String; 4]> {
        self.browser.run("document.getElementById('requests').hidden && document.getElementById('requests-button').click()");
        let rows = self.browser.run(
            "return [...document.querySelectorAll('#requests-list > li')].map((row) =>
                ['strong', '.path', '.outcome', 'code'].map((part) => row.querySelector(part).textContent))",
        );
        self.browser.run("document.getElementById('requests-close').click()");
        serde_json::from_value(rows).unwrap()
    }
}

fn key(key: Key) -> String {
    char::from(key).to_string()
}

#[test]
fn user_signs_in_sees_the_meetings_and_signs_out() {
    let console = Console::start();
    console.sign_in("/");
    let browser = &console.browser;
    browser.wait("document.querySelector('h1').textContent === 'Meetings'");
    assert_eq!(browser.text("#user-name"), "A User");
    assert_eq!(console.server.rows("sessions"), 1);
    browser.click("#sign-out");
    browser.wait_shown("#email");
    assert_eq!(browser.run("return sessionStorage.length"), json!(0));
    let requests = console.requests();
    assert!(requests.len() == 1 && requests[0][1] == "/auth/logout", "those of the session are removed: {requests:?}");
    browser.reload();
    browser.wait_shown("#email");
}

#[test]
fn wrong_password_is_reported_and_can_be_corrected() {
    let console = Console::start();
    let browser = &console.browser;
    console.open("/");
    browser.type_into("#email", EMAIL);
    browser.type_into("#password", "what ann would never say");
    browser.press(&key(Key::Enter));
    browser.wait_for("Wrong e-mail or password.");
    assert_eq!(browser.run("return document.activeElement.id"), json!("password"), "the focus is on the field to correct");
    assert_eq!(browser.run("return document.querySelector('#password').getAttribute('aria-invalid')"), json!("true"));
    browser.type_into("#password", PASSWORD);
    browser.press(&key(Key::Enter));
    browser.wait_shown("#sign-out");
}

#[test]
fn throttled_login_shows_the_time_to_wait() {
    let console = Console::start();
    let browser = &console.browser;
    console.open("/");
    browser.type_into("#email", EMAIL);
    browser.type_into("#password", "a wrong one");
    browser.run(
        "const button = document.querySelector('[data-part=signIn] button');
         const again = () => document.body.innerText.includes('Too many attempts') || button.ariaDisabled === 'true' || button.click();
         new MutationObserver(again).observe(button, {attributes: true});
         button.click();",
    );
    browser.wait_for("Too many attempts. Please wait, then try again.");
    browser.wait("/^Sign in \\(in \\d+ s\\)$/.test(document.querySelector('[data-part=signIn] button').textContent)");
    assert_eq!(browser.run("return document.querySelector('[data-part=signIn] button').ariaDisabled"), json!("true"));
}

#[test]
fn catch_up_has_paragraphs_lists_age_and_call_status() {
    let console = Console::start();
    let text =
        "# Topics\n\nAnn opened the call.\nBo was late.\n\n- the release\n- the bugs\n  1. a slow join\n\nThat is all.\n";
    console.open_room("r1", text);
    let browser = &console.browser;
    let shape = "return [...document.querySelectorAll('.card .text > *')].map((block) => block.tagName).join(' ')";
    assert_eq!(browser.run(shape), json!("H3 P UL P"));
    let items = "return [...document.querySelectorAll('.card .text li')].map((item) => item.className).join(' ')";
    assert_eq!(browser.run(items), json!("depth-0 depth-0 depth-1"));
    browser.wait_for("Transcription on");
    browser.wait_for("Recording off");
    browser.wait("/^As of \\d+:\\d+[^:]*, (just now|\\d+ seconds ago)\\.$/.test(document.querySelector('[data-part=age]').textContent)");
}

#[test]
fn new_text_of_a_catch_up_is_marked() {
    let console = Console::start();
    console.open_room("r1", "Ann opened the call.");
    let browser = &console.browser;
    browser.click("[data-part=refresh]");
    browser.wait_for("No changes.");
    let requests = console.requests();
    let again = requests.iter().find(|[_, path, ..]| path == "/callCatchUp/r1").unwrap();
    assert!(again[2].starts_with("304 ") && again[3].contains("If-None-Match: \""), "{again:?}");

    console.set_catch_up("r1", "Ann opened the call. Bo was late.");
    browser.click("[data-part=refresh]");
    browser.wait_for("New text added.");
    assert_eq!(browser.text(".card .text"), "Ann opened the call. Bo was late.");
    assert_eq!(browser.text(".card .text ins"), "Bo was late.");
    browser.wait("document.getElementById('announcer').textContent.includes('Bo was late.')");
}

#[test]
fn live_updates_are_on_and_arrive_by_stream() {
    let console = Console::with(&[("APP_LIVE__POLL_INTERVAL", "1s")]);
    console.open_live_room("r1", "One.");
    let browser = &console.browser;
    browser.wait("document.querySelector('[data-part=mode].on').textContent === 'Live'");
    for text in ["One. Two.", "One. Two. Three."] {
        console.set_catch_up("r1", text);
        console.wait_for_text(text);
    }
    let requests = console.requests();
    let stream = requests.iter().find(|[_, path, ..]| path == "/callCatchUp/r1/live").expect("it is open");
    assert!(stream[3].starts_with("curl -N -H \"Authorization: Bearer $TOKEN\""), "{stream:?}");
    let reads = requests.iter().filter(|[_, path, ..]| path == "/callCatchUp/r1").count();
    assert!(reads <= 6, "the stream reports new versions, so that it polls seldom: {reads}");
    browser.click("[data-part=live]");
    browser.wait("document.querySelector('[data-part=mode]:not(.on)').textContent === 'Not live'");
    console.set_catch_up("r1", "One. Two. Three. Four.");
    browser.click("[data-part=refresh]");
    browser.wait_for("New text added.");
}

/// A text that is higher than any window.
fn long_text(versions: usize) -> String {
    let paragraphs = (0..60).map(|number| format!("Paragraph {number}.\n\n"));
    paragraphs.chain((0..versions).map(|number| format!("Version {number}.\n\n"))).collect()
}

#[test]
fn new_text_out_of_view_is_counted_and_scrolled_to() {
    let console = Console::with(&[("APP_LIVE__POLL_INTERVAL", "1s")]);
    console.open_live_room("r1", &long_text(0));
    let browser = &console.browser;
    let button = "document.querySelector('[data-part=newText]')";
    assert_eq!(browser.run(&format!("return {button}.hidden")), json!(true));
    for versions in [1, 2] {
        console.set_catch_up("r1", &long_text(versions));
        browser.wait(&format!("!{button}.hidden && {button}.textContent === '{versions} new ↓'"));
    }
    let marked = "return [...document.querySelectorAll('.card .text ins')].map((part) => part.textContent).join()";
    assert_eq!(browser.run(marked), json!("Version 0.,Version 1."));
    browser.click("[data-part=newText]");
    browser.wait(&format!("{button}.hidden"));
    let is_in_view = "const {top, bottom} = document.querySelector('.card .text ins').getBoundingClientRect();
                      return top >= 0 && bottom <= innerHeight && document.activeElement.tagName";
    assert_eq!(browser.run(is_in_view), json!("INS"));
    console.set_catch_up("r1", &long_text(3));
    console.wait_for_text(&long_text(3));
    assert_eq!(browser.run(marked), json!("Version 2."), "what was seen is no longer marked");
}

#[test]
fn bold_text_is_rendered() {
    let console = Console::start();
    let text = "**Ann** opened; ** not ** and 2 ** 3 ** 4.\n\n- **Due: <b>today</b>** by Bo\n\n# The **last** part\n\n**open\nend** ****";
    console.open_room("r1", text);
    let browser = &console.browser;
    let strong = "return [...document.querySelectorAll('.card .text strong')].map((part) => part.childNodes[1].textContent)";
    assert_eq!(browser.run(strong), json!(["Ann", "Due: <b>today</b>", "last"]));
    let marks =
        "return [...document.querySelectorAll('.card .text strong > .mark')].map((mark) => mark.offsetWidth).join('')";
    assert_eq!(browser.run(marks), json!("000000"));
    assert_eq!(browser.text(".card .text"), text, "its marks are hidden, and stay in the text");
}

#[test]
fn features_panel_lists_what_is_off() {
    let console = Console::start();
    let features = |features: &str| Reply::data(&format!(r#"{{"features": {features}}}"#));
    let on_and_off = r#"{"audio_call": true, "waiting_room": false, "video_call": true, "max_guests": 20}"#;
    console.server.script.set("configuration", "", features(on_and_off));
    console.open_room("r1", "One.");
    let browser = &console.browser;
    browser.wait("document.querySelectorAll('.features li').length === 2");
    let items = "return [...document.querySelectorAll('.features li')].map((item) => item.innerText)";
    assert_eq!(browser.run(items), json!(["Waiting room\noff", "Max guests\n20"]));
    console.server.script.set("configuration", "", features(r#"{"audio_call": true}"#));
    browser.reload();
    browser.wait_for("All features are on.");
}

#[test]
fn home_page_links_to_recent_and_sample_rooms() {
    let console = Console::start();
    let browser = &console.browser;
    let script = r#"const original = window.fetch;
        window.fetch = (path, ...more) => path === "/console/settings"
            ? Promise.resolve(new Response('{"error":null,"data":{"sampleRooms":["aRoom",7,"another"]}}'))
            : original(path, ...more);"#;
    browser.command("Page.addScriptToEvaluateOnNewDocument", &json!({"source": script}));
    console.server.script.set("call-catchup", "nowhere", Reply::not_found());
    console.sign_in("/");
    for room in ["first", "nowhere", "a & b", "first"] {
        browser.type_into("#open-room", room);
        browser.press(&key(Key::Enter));
        if room == "nowhere" {
            browser.wait_for("No call in this room");
        } else {
            console.wait_for_text(room);
        }
        browser.click("[data-part=back]");
        browser.wait_shown("#open-room");
    }
    let links = |part: &str| {
        browser.wait_shown(&format!("[data-part={part}]"));
        browser
            .run(&format!("return [...document.querySelectorAll('[data-part={part}] a')].map((link) => link.textContent)"))
    };
    assert_eq!(links("recent"), json!(["first", "a & b"]));
    assert_eq!(links("samples"), json!(["aRoom", "another"]));
    browser.run("document.querySelectorAll('[data-part=recent] a')[1].click()");
    console.wait_for_text("a & b");
    browser.click("#sign-out");
    browser.wait_shown("#email");
    console.sign_in("/");
    browser.wait_shown("[data-part=samples]");
    assert_eq!(browser.run("return document.querySelector('[data-part=recent]').hidden"), json!(true));
}

#[test]
fn automatic_update_without_streams_polls_every_15_seconds() {
    let console = Console::start();
    console.open_room("r1", "One.");
    let browser = &console.browser;
    browser.run("window.EventSource = undefined");
    console.set_catch_up("r1", "One. Two.");
    browser.click("[data-part=live]");
    browser.wait_for("One. Two.");
    console.set_catch_up("r1", "One. Two. Three.");
    console.advance_clock(Duration::from_secs(16));
    browser.wait_for("One. Two. Three.");
    browser.click("[data-part=live]");
    console.set_catch_up("r1", "One. Two. Three. Four.");
    console.advance_clock(Duration::from_mins(10));
    browser.wait("document.querySelector('[data-part=age]').textContent.includes('minutes ago')");
    assert_eq!(browser.text(".card .text"), "One. Two. Three.");
}

#[test]
fn guest_link_opens_its_room_and_no_other() {
    let console = Console::start();
    let browser = &console.browser;
    console.set_catch_up("r1", "Said in the first room.");
    console.set_catch_up("r2", "Said in the second room.");
    console.open("/?room=r1");
    browser.wait_for("You are invited to r1");
    browser.click("[data-part=invitation] button");
    browser.wait_for("Said in the first room.");
    assert_eq!(browser.text("[data-part=link]"), console.url("/?room=r1"));
    assert_eq!(browser.text("#user-name"), "Guest");

    browser.type_into("[data-part=open] input", "r2");
    browser.press(&key(Key::Enter));
    browser.wait_for("You are a guest in r1");
    let requested = |room: &str| console.server.script.requests().iter().any(|call| call.target.ends_with(room));
    assert!(requested("/call-catchup/r1") && !requested("r2"), "nothing of the other room is requested");
    browser.back();
    browser.wait_for("Said in the first room.");
    browser.reload();
    browser.wait_for("Said in the first room.");
    console.open("/?room=r2");
    browser.wait_for("You are invited to r2");
    browser.click("[data-part=invitation] button");
    browser.wait_for("Said in the second room.");
}

#[test]
fn guest_without_a_link_joins_by_room_name() {
    let console = Console::start();
    let browser = &console.browser;
    console.open("/");
    browser.type_into("#guest-room", ".");
    browser.press(&key(Key::Enter));
    browser.wait_for("Room name is not valid.");
    browser.type_into("#guest-room", "a b?&#+%");
    browser.press(&key(Key::Enter));
    browser.wait("document.querySelector('.card .text').textContent === 'a b?&#+%'");
    assert_eq!(browser.run("return location.search"), json!("?room=a%20b%3F%26%23%2B%25"));
}

#[test]
fn invitation_reports_that_guests_are_disabled() {
    let console = Console::with(&[("APP_GUESTS__ENABLED", "false")]);
    console.open("/?room=r1");
    console.browser.click("[data-part=invitation] button");
    console.browser.wait_for("Guests are not allowed on this server, or need an invitation. Sign in with an account.");
}

#[test]
fn past_meetings_are_listed_by_room_with_summaries() {
    let console = Console::start();
    let meeting = |room: &str, day: u32| {
        json!({"room_name": room, "unique_id": format!("{room}_{day}"),
               "created_at": format!("2024-06-{day}T08:10:14.000Z"), "destroyed_at": format!("2024-06-{day}T08:40:14.000Z")})
    };
    let meetings = json!([meeting("r1", 18), meeting("r2", 19), meeting("r1", 20)]);
    console.server.script.set("meetings", "", Reply::data(&meetings.to_string()));
    console.server.put_summary("r1_1718871014/summary.txt", "Four bugs were closed.\n\nTwo were not.");
    console.sign_in("/");
    let browser = &console.browser;
    browser.wait("document.querySelectorAll('.meetings > li').length === 2");
    let rooms = browser.run("return [...document.querySelectorAll('.meetings h3')].map((room) => room.textContent)");
    assert_eq!(rooms, json!(["r1", "r2"]), "the one that ended last comes first");
    assert!(browser.text(".meetings li").contains("1 earlier meeting"));
    assert!(browser.text(".meetings .meeting-time").contains("30 minutes"));
    browser.click(".meetings button");
    browser.wait_for("Two were not.");
    assert_eq!(browser.text(".meetings .text"), "Four bugs were closed.\n\nTwo were not.");
    browser.run("document.querySelectorAll('.meetings > li')[1].querySelector('button').click()");
    browser.wait_for("This room has no summary.");
}

#[test]
fn list_of_meetings_that_is_forbidden_is_explained() {
    let oidc = [("APP_OIDC__ISSUER", "http://127.0.0.1:1"), ("APP_OIDC__AUDIENCE", "proconf")];
    let claim = [("APP_ROOMS__ACCESS", "claim"), ("APP_OIDC__ROOMS_CLAIM", "rooms")];
    let console = Console::with(&[oidc, claim].concat());
    console.sign_in("/");
    let browser = &console.browser;
    browser.wait_for("Past meetings are not listed");
    browser.wait("!document.querySelector('[data-part=loading]').checkVisibility()");
    let is_shown =
        |part: &str| browser.run(&format!("return document.querySelector('[data-part={part}]').checkVisibility()"));
    assert_eq!(["problem", "empty", "unlisted"].map(is_shown), [false, false, true]);
    // Another failure is still one.
    browser.run("window.fetch = async () => new Response('', {status: 500})");
    browser.click("[data-part=refresh]");
    browser.wait_for("The meetings could not be loaded.");
}

#[test]
fn absent_catch_up_is_explained() {
    let console = Console::start();
    let status = |on: bool| Reply::data(&json!({"transcript_status": on, "recording_status": false}).to_string());
    let script = &console.server.script;
    script.set("sessions-status", "off", status(false));
    console.set_catch_up("off", "");
    script.catch_up("early", Reply::data("null"));
    script.set("sessions-status", "early", status(true));
    for endpoint in ["call-catchup", "sessions-status"] {
        script.set(endpoint, "over", Reply::not_found());
        script.set(endpoint, "nowhere", Reply::not_found());
    }
    let over = json!([{"room_name": "over", "unique_id": "over_1", "created_at": "2024-06-20T08:10:14.000Z",
                       "destroyed_at": "2024-06-20T08:40:14.000Z"}]);
    script.set("meetings", "", Reply::data(&over.to_string()));
    console.server.put_summary("over_1718871014/summary.txt", "It is over.");
    console.sign_in("/");
    let browser = &console.browser;
    console.open("/?room=off");
    browser.wait_for("Transcription is off");
    browser.wait_for("Transcription off");
    console.open("/?room=early");
    browser.wait_for("Nothing has been said yet");
    console.open("/?room=nowhere");
    browser.wait_for("No call in this room");
    console.open("/?room=over");
    browser.wait_for("This meeting has ended");
    browser.click(".empty button");
    browser.wait_for("It is over.");
    console.open("/?room=a%2Fb");
    browser.wait_for("Room name is not valid.");
}

#[test]
fn failed_refresh_keeps_the_text_and_is_retried() {
    let console = Console::start();
    console.open_room("r1", "Ann opened the call.");
    let browser = &console.browser;
    console.server.script.catch_up("r1", Reply::body(500, ""));
    browser.click("[data-part=refresh]");
    browser.wait_for("The catch-up could not be loaded.");
    browser.wait_for("Trying again in ");
    assert_eq!(browser.text(".card .text"), "Ann opened the call.");
    let is_shown = browser.run("return document.querySelector('[data-part=outcome]').checkVisibility()");
    assert_eq!(is_shown, json!(false), "no outcome is shown after a failure");
    console.set_catch_up("r1", "Ann opened the call. Bo was late.");
    console.advance_clock(Duration::from_secs(100));
    browser.wait_for("Bo was late.");
    browser.wait("document.querySelector('[data-part=problem]').hidden");
}

#[test]
fn refresh_while_offline_is_retried_soon() {
    let console = Console::start();
    console.open_room("r1", "One.");
    let browser = &console.browser;
    let set_offline = |offline: bool| {
        let conditions = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        browser.command("Network.emulateNetworkConditions", &conditions);
    };
    browser.command("Network.enable", &json!({}));
    set_offline(true);
    // The clock stands still, so that no retry is due.
    browser.run(
        "const now = Date.now();
         Date.now = () => now;
         window.clicks = 0;
         const refresh = document.querySelector('[data-part=refresh]');
         const again = () => refresh.getAttribute('aria-disabled') === 'false' && clicks++ < 6 && refresh.click();
         new MutationObserver(again).observe(refresh, {attributes: true, attributeFilter: ['aria-disabled']});
         refresh.click();",
    );
    let says = "document.querySelector('[data-part=problem]').textContent";
    browser.wait(&format!("window.clicks >= 6 && /Trying again in [1-3] s/.test({says})"));
    console.set_catch_up("r1", "One. Two.");
    set_offline(false);
    console.wait_for_text("One. Two.");
}

#[test]
fn stale_text_is_marked_as_old() {
    let console = Console::with(&[("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "600s")]);
    console.open_room("r1", "Ann opened the call.");
    console.server.script.catch_up("r1", Reply::body(500, ""));
    console.browser.set_age(Duration::from_secs(40));
    console.browser.click("[data-part=refresh]");
    console.browser.wait_for("The server could not get a newer one.");
    assert_eq!(console.browser.text(".card .text"), "Ann opened the call.");
}

#[test]
fn unreachable_server_is_reported() {
    let Console { browser, server } = Console::start();
    browser.open(&format!("http://{}/", server.address));
    browser.wait_shown("#email");
    drop(server);
    browser.type_into("#email", EMAIL);
    browser.type_into("#password", PASSWORD);
    browser.click("[data-part=signInButton]");
    browser.wait_for("The server can’t be reached. Check the connection and try again.");
    let focus = browser.run("return document.activeElement.textContent");
    assert_eq!(focus, json!("Sign in"), "the button keeps the focus");
}

#[test]
fn token_is_renewed_before_expiry_and_once_after_401() {
    let console = Console::with(&[("APP_AUTH__TOKEN_TTL", "10m")]);
    console.open_room("r1", "One.");
    let browser = &console.browser;
    let renewals = || console.requests().iter().filter(|[_, path, ..]| path == "/auth/refresh").count();
    assert_eq!(renewals(), 0);
    console.advance_clock(Duration::from_mins(9) + Duration::from_secs(30));
    console.set_catch_up("r1", "Two.");
    browser.click("[data-part=refresh]");
    browser.wait_for("Two.");
    assert_eq!(renewals(), 1, "once for all requests");
    assert!(console.requests().iter().all(|[.., outcome, _]| !outcome.starts_with("401")));
    console.server.clock.advance(Duration::from_mins(11));
    console.set_catch_up("r1", "Three.");
    browser.click("[data-part=refresh]");
    browser.wait_for("Three.");
    assert_eq!(renewals(), 2);
}

#[test]
fn lost_response_to_a_refresh_does_not_end_the_session() {
    let console = Console::with(&[("APP_AUTH__TOKEN_TTL", "10m")]);
    console.open_room("r1", "One.");
    let browser = &console.browser;
    browser.run(
        "const original = window.fetch;
         let isLost = false;
         window.fetch = async (path, options) => {
             const response = await original(path, options);
             if (path !== '/auth/refresh' || isLost) return response;
             isLost = true;
             return new Promise((_, reject) => options.signal.addEventListener('abort', () => reject(options.signal.reason)));
         };",
    );
    console.server.clock.advance(Duration::from_mins(11));
    console.set_catch_up("r1", "Two.");
    browser.click("[data-part=refresh]");
    console.wait_for_text("Two.");
    let requests = console.requests();
    let refreshes = requests.iter().filter(|[_, path, ..]| path == "/auth/refresh");
    let outcomes: Vec<&str> = refreshes.map(|[_, _, outcome, _]| outcome.split(" · ").next().unwrap()).collect();
    assert_eq!(outcomes, ["200", "no response"], "newest first");
}

#[test]
fn expired_guest_token_is_replaced_silently() {
    let console = Console::with(&[("APP_GUESTS__TOKEN_TTL", "10m")]);
    let browser = &console.browser;
    console.set_catch_up("r1", "One.");
    console.open("/?room=r1");
    browser.click("[data-part=invitation] button");
    browser.wait_for("One.");
    console.server.clock.advance(Duration::from_mins(11));
    console.set_catch_up("r1", "Two.");
    browser.click("[data-part=refresh]");
    browser.wait_for("Two.");
    let joined = console.requests().iter().filter(|[_, path, ..]| path.starts_with("/auth/joinmember")).count();
    assert_eq!(joined, 2, "once for all rejected requests");
}

#[test]
fn revoked_session_returns_to_login_and_then_to_the_room() {
    let console = Console::start();
    console.open_room("r1", "One.");
    console.server.manage(async |database, clock| admin::disable(&database, EMAIL, &clock).await);
    let browser = &console.browser;
    browser.run(
        "const refresh = document.querySelector('[data-part=refresh]');
         const again = () => refresh.getAttribute('aria-disabled') === 'false' && refresh.click();
         new MutationObserver(again).observe(refresh, {attributes: true, attributeFilter: ['aria-disabled']});
         refresh.click();",
    );
    browser.wait_for("Your session has ended. Please sign in again.");
    assert_eq!(browser.run("return document.querySelector('[data-part=invitation]').hidden"), json!(true));
    console.server.manage(async |database, _| admin::enable(&database, EMAIL).await);
    browser.type_into("#email", EMAIL);
    browser.type_into("#password", PASSWORD);
    browser.press(&key(Key::Enter));
    browser.wait_for("One.");
}

#[test]
fn session_survives_reload_and_is_shared_between_tabs() {
    let console = Console::start();
    console.open_room("r1", "One.");
    let browser = &console.browser;
    browser.reload();
    browser.wait_for("One.");
    browser.new_tab();
    console.open("/?room=r1");
    browser.wait_for("One.");
    assert_eq!(console.server.rows("sessions"), 1, "one session for both");
    let stored = browser.run("return Object.keys(sessionStorage).concat(Object.keys(localStorage)).sort().join()");
    assert_eq!(stored, json!("recentRooms,refreshToken"), "nothing else is stored");
    browser.click("#sign-out");
    browser.wait_shown("#email");
    browser.switch_to_tab(0);
    browser.wait_for("You signed out in another tab.");
    let is_invited = "return [document.querySelector('[data-part=invitation]').hidden, location.search]";
    assert_eq!(browser.run(is_invited), json!([true, ""]), "a room that was left is no invitation");
    assert_eq!(browser.run("return sessionStorage.length"), json!(0));
}

#[test]
fn hostile_text_is_shown_as_text() {
    let console = Console::start();
    let canary = "window.canary = 1";
    let texts = [
        format!("<script>{canary}</script>"),
        format!("<img src=x onerror=\"{canary}\">"),
        format!("</div></main></script><script>{canary}</script>"),
        format!("<svg/onload={canary}>"),
        format!("[click](javascript:{canary}) and <a href=\"javascript:{canary}\">click</a>"),
        "{{7*7}} ${7*7} <%= 7*7 %>".to_owned(),
        "before \u{202e}txet desrever\u{2066} after\u{2028}next\u{2029}line".to_owned(),
        "- <b>bold</b>\n- &lt;b&gt; &#60;b&#62;\n\n# <i>head</i>\n**<i>bold</i>**".to_owned(),
        "**".repeat(50_000),
        " \t leading, and trailing blanks \r\n\r\nand a \r alone \u{0} \u{7f} \u{feff}".to_owned(),
        "<b>".repeat(10_000),
        "x".repeat(200 * 1024),
        format!("{}\n", "- one of many items <img src=x>\n".repeat(6_000)),
    ];
    console.open_room("r1", "At first nothing hostile.");
    let browser = &console.browser;
    for text in &texts {
        console.set_catch_up("r1", text);
        browser.click("[data-part=refresh]");
        console.wait_for_text(text);
        let only_known = "return [...document.querySelectorAll('.card .text *')].every((element) =>
            ['P', 'UL', 'LI', 'H3', 'SPAN', 'STRONG', 'INS'].includes(element.tagName))";
        assert_eq!(browser.run(only_known), json!(true), "{text:.60}");
        assert_eq!(browser.run("return document.documentElement.scrollWidth <= innerWidth"), json!(true), "{text:.60}");
        assert_eq!(browser.run("return typeof window.canary"), json!("undefined"), "{text:.60}");
    }
    let room = "<img src=x onerror='window.canary=1'>\u{202e}";
    console.open(&format!("/?room={}", percent(room)));
    browser.wait(&format!("document.querySelector('h1 bdi').textContent === {}", json!(room)));
    browser.wait(&format!("document.querySelector('.card .text').textContent === {}", json!(room)));
    let meeting = json!([{"room_name": room, "unique_id": "<script>", "created_at": "<b>", "destroyed_at": {}}, 7, null]);
    console.server.script.set("meetings", "", Reply::data(&meeting.to_string()));
    console.server.script.set(
        "configuration",
        "",
        Reply::data(r#"{"features":{"<b>x</b>":"<img src=x>","__proto__":[1]}}"#),
    );
    console.open("/");
    browser.wait(&format!("document.querySelector('.meetings h3').textContent === {}", json!(room)));
    browser.wait_for("<img src=x>");
    assert_eq!(browser.run("return [typeof window.canary, document.images.length]"), json!(["undefined", 0]));
    assert_eq!(logged_errors(browser), Vec::<Value>::new());
}

/// Percent-encodes a text.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Returns the errors and warnings in the browser's log, except failed requests, which tests cause themselves.
pub(super) fn logged_errors(browser: &Browser) -> Vec<Value> {
    browser.log().into_iter().filter(|entry| entry["source"] != "network").collect()
}

#[test]
fn page_calls_only_its_server_and_logs_no_error() {
    let console = Console::start();
    console.open_room("r1", "One.");
    let browser = &console.browser;
    console.set_catch_up("r1", "One. Two.");
    browser.click("[data-part=refresh]");
    browser.wait_for("One. Two.");
    console.requests();
    browser.click(".brand");
    browser.wait_for("No past meetings");
    browser.click("#sign-out");
    browser.wait_shown("#email");
    assert_eq!(browser.log(), Vec::<Value>::new());
    let requested = browser.requested();
    assert!(requested.iter().any(|url| url.ends_with("/auth/logout")), "the requests are seen: {requested:#?}");
    for url in requested {
        // The browser's own pages come from the browser.
        let of_the_browser = url.starts_with("data:") || url.starts_with("chrome:") || url.starts_with("chrome-");
        assert!(url.starts_with(&console.url("/")) || of_the_browser, "{url}");
    }
}

#[test]
fn keyboard_reaches_every_function() {
    let console = Console::start();
    console.set_catch_up("r1", "One.");
    let browser = &console.browser;
    console.open("/");
    browser.wait_shown("#email");
    let focus = || browser.run("return document.activeElement.id || document.activeElement.textContent.trim()");
    let tab = |to: &str| {
        for _ in 0..12 {
            browser.press(&key(Key::Tab));
            if focus() == json!(to) {
                return;
            }
        }
        panic!("no way to {to} from {}", focus());
    };
    browser.press(&key(Key::Tab));
    assert_eq!(focus(), json!("Skip to the content"));
    tab("email");
    browser.press(EMAIL);
    tab("password");
    browser.press(PASSWORD);
    tab("Sign in");
    browser.press(&key(Key::Enter));
    browser.wait("document.activeElement.tagName === 'H1' && document.activeElement.textContent === 'Meetings'");
    tab("open-room");
    browser.press("r1");
    browser.press(&key(Key::Enter));
    browser.wait_for("One.");
    browser.wait("document.activeElement.tagName === 'H1' && document.title.startsWith('r1 ')");
    tab("Refresh");
    browser.press(&key(Key::Enter));
    browser.wait_for("No changes.");
    assert_eq!(focus(), json!("Refresh"), "the focus stays");
    browser.run("document.getElementById('requests-button').focus()");
    browser.press(" ");
    browser.wait("document.activeElement.id === 'requests-title'");
    tab("requests-close");
    browser.press(&key(Key::Escape));
    browser.wait("document.activeElement.id === 'requests-button' && document.getElementById('requests').hidden");
}

#[test]
fn request_is_shown_as_its_curl_command() {
    let console = Console::start();
    let room = "it's $HOME";
    console.set_catch_up(room, "One.");
    console.sign_in(&format!("/?room={}", percent(room)));
    let browser = &console.browser;
    browser.wait_for("One.");
    browser.click("[data-part=refresh]");
    browser.wait_for("No changes.");
    let requests = console.requests();
    let page = requests.iter().map(|[.., line]| line.as_str()).collect::<Vec<_>>().join("\n");
    assert!(!page.contains("eyJ") && !page.contains(PASSWORD), "no secret is shown: {page}");
    let run = |line: &str, token: &str| {
        let line = line.replacen("curl", "curl -s -w '\\n%{http_code}'", 1);
        let output = Command::new("sh").args(["-c", &line]).env("TOKEN", token).env("PASSWORD", PASSWORD).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (body.to_owned(), status.to_owned())
    };
    let login = requests.iter().find(|[_, path, ..]| path == "/auth/login").unwrap();
    let (body, _) = run(&login[3], "");
    let body: Value = serde_json::from_str(&body).unwrap();
    let token = body["data"]["token"].as_str().expect("the command signs in");
    assert!(requests.len() >= 6, "{requests:?}");
    let ends_by_itself = |path: &str| !path.starts_with("/auth/") && !path.ends_with("/live");
    for [_, path, outcome, line] in requests.iter().filter(|[_, path, ..]| ends_by_itself(path)) {
        let (_, status) = run(line, token);
        assert!(outcome.starts_with(&format!("{status} ")), "{path}: {outcome} in the page, {status} in a terminal");
    }
}
