//! What the console does, in a real browser against a real server.

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

    /// Signed in, in this room, with this catch-up shown.
    #[track_caller]
    pub(super) fn in_room(&self, room: &str, text: &str) {
        self.says(room, text);
        self.sign_in(&format!("/?room={room}"));
        self.browser.wait(&format!("document.querySelector('.card .text').textContent === {}", json!(text)));
    }

    pub(super) fn says(&self, room: &str, text: &str) {
        self.server.script.catch_up(room, Reply::data(&json!(text).to_string()));
    }

    /// Lets the page believe that so much time has passed.
    pub(super) fn later(&self, by: Duration) {
        let script = format!("const now = Date.now; Date.now = () => now.call(Date) + {};", by.as_millis());
        self.browser.run(&script);
    }

    /// The requests in the drawer, newest first: method, path, outcome, curl line.
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
fn a_user_signs_in_sees_who_is_there_and_signs_out() {
    let console = Console::start();
    console.sign_in("/");
    let browser = &console.browser;
    browser.wait("document.querySelector('h1').textContent === 'Meetings'");
    assert_eq!(browser.text("#who"), "A User");
    assert_eq!(console.server.rows("sessions"), 1);
    browser.click("#sign-out");
    browser.wait_shown("#email");
    assert_eq!(browser.run("return sessionStorage.length"), json!(0));
    browser.reload();
    browser.wait_shown("#email");
}

#[test]
fn a_wrong_password_is_said_so_and_the_right_one_gets_in_after_it() {
    let console = Console::start();
    let browser = &console.browser;
    console.open("/");
    browser.type_into("#email", EMAIL);
    browser.type_into("#password", "what ann would never say");
    browser.press(&key(Key::Enter));
    browser.wait_for("Wrong e-mail or password.");
    assert_eq!(browser.run("return document.activeElement.id"), json!("password"), "and the focus is where it is put right");
    assert_eq!(browser.run("return document.querySelector('#password').getAttribute('aria-invalid')"), json!("true"));
    browser.type_into("#password", PASSWORD);
    browser.press(&key(Key::Enter));
    browser.wait_shown("#sign-out");
}

#[test]
fn too_many_tries_are_told_how_long_to_wait() {
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
fn a_catch_up_reads_as_paragraphs_and_lists_with_its_age_and_the_calls_status() {
    let console = Console::start();
    let text =
        "# Topics\n\nAnn opened the call.\nBo was late.\n\n- the release\n- the bugs\n  1. a slow join\n\nThat is all.\n";
    console.in_room("r1", text);
    let browser = &console.browser;
    let shape = "return [...document.querySelectorAll('.card .text > *')].map((block) => block.tagName).join(' ')";
    assert_eq!(browser.run(shape), json!("H3 P UL P"));
    let items = "return [...document.querySelectorAll('.card .text li')].map((item) => item.className).join(' ')";
    assert_eq!(browser.run(items), json!("depth-0 depth-0 depth-1"));
    browser.wait_for("Transcription on");
    browser.wait_for("Recording off");
    browser.wait("/^As of .*, just now\\.$/.test(document.querySelector('[data-part=age]').textContent)");
    browser.wait_for("Waiting room");
}

#[test]
fn a_catch_up_grows_and_what_is_new_is_marked() {
    let console = Console::start();
    console.in_room("r1", "Ann opened the call.");
    let browser = &console.browser;
    browser.click("[data-part=refresh]");
    browser.wait_for("No changes.");
    let requests = console.requests();
    let again = requests.iter().find(|[_, path, ..]| path == "/callCatchUp/r1").unwrap();
    assert!(again[2].starts_with("304 ") && again[3].contains("If-None-Match: \""), "{again:?}");

    console.says("r1", "Ann opened the call. Bo was late.");
    browser.click("[data-part=refresh]");
    browser.wait_for("New text added.");
    assert_eq!(browser.text(".card .text"), "Ann opened the call. Bo was late.");
    assert_eq!(browser.text(".card .text ins"), "Bo was late.");
    browser.wait("document.getElementById('live').textContent.includes('Bo was late.')");
}

#[test]
fn a_room_that_is_kept_up_to_date_hears_of_news_by_its_stream() {
    let console = Console::with(&[("APP_LIVE__POLL_INTERVAL", "1s")]);
    console.in_room("r1", "One.");
    let browser = &console.browser;
    browser.click("[data-part=keep]");
    browser.wait_for("No changes.");
    for text in ["One. Two.", "One. Two. Three."] {
        console.says("r1", text);
        browser.wait(&format!("document.querySelector('.card .text').textContent === {}", json!(text)));
    }
    let requests = console.requests();
    let stream = requests.iter().find(|[_, path, ..]| path == "/callCatchUp/r1/live").expect("it is open");
    assert!(stream[3].starts_with("curl -N -H \"Authorization: Bearer $TOKEN\""), "{stream:?}");
    let looks = requests.iter().filter(|[_, path, ..]| path == "/callCatchUp/r1").count();
    assert!(looks <= 6, "it is told, and does not look every second: {looks}");
    browser.click("[data-part=keep]");
    console.says("r1", "One. Two. Three. Four.");
    browser.click("[data-part=refresh]");
    browser.wait_for("New text added.");
}

#[test]
fn a_room_that_is_kept_up_to_date_without_a_stream_is_looked_at_every_fifteen_seconds() {
    let console = Console::start();
    console.in_room("r1", "One.");
    let browser = &console.browser;
    browser.run("window.EventSource = undefined");
    console.says("r1", "One. Two.");
    browser.click("[data-part=keep]");
    browser.wait_for("One. Two.");
    console.says("r1", "One. Two. Three.");
    console.later(Duration::from_secs(16));
    browser.wait_for("One. Two. Three.");
    browser.click("[data-part=keep]");
    console.says("r1", "One. Two. Three. Four.");
    console.later(Duration::from_mins(10));
    browser.wait("document.querySelector('[data-part=age]').textContent.includes('minutes ago')");
    assert_eq!(browser.text(".card .text"), "One. Two. Three.");
}

#[test]
fn a_guest_link_leads_into_its_room_and_into_no_other() {
    let console = Console::start();
    let browser = &console.browser;
    console.says("r1", "Said in the first room.");
    console.says("r2", "Said in the second room.");
    console.open("/?room=r1");
    browser.wait_for("You are invited to r1");
    browser.click("[data-part=invitation] button");
    browser.wait_for("Said in the first room.");
    assert_eq!(browser.run("return document.querySelector('[data-part=link]').value"), json!(console.url("/?room=r1")));
    assert_eq!(browser.text("#who"), "Guest");

    browser.type_into("[data-part=open] input", "r2");
    browser.press(&key(Key::Enter));
    browser.wait_for("You are a guest in r1");
    let asked = |room: &str| console.server.script.requests().iter().any(|asked| asked.target.ends_with(room));
    assert!(asked("/call-catchup/r1") && !asked("r2"), "nothing of the other room is asked for");
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
fn a_guest_without_a_link_comes_in_by_the_rooms_name() {
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
fn where_guests_are_not_let_in_the_invitation_says_so() {
    let console = Console::with(&[("APP_GUESTS__ENABLED", "false")]);
    console.open("/?room=r1");
    console.browser.click("[data-part=invitation] button");
    console.browser.wait_for("Guests are not allowed on this server. Sign in with an account.");
}

#[test]
fn the_meetings_that_ended_are_listed_by_room_with_their_summaries() {
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
    assert!(browser.text(".meetings .when").contains("30 minutes"));
    browser.click(".meetings button");
    browser.wait_for("Two were not.");
    assert_eq!(browser.text(".meetings .text"), "Four bugs were closed.\n\nTwo were not.");
    browser.run("document.querySelectorAll('.meetings > li')[1].querySelector('button').click()");
    browser.wait_for("This room has no summary.");
}

#[test]
fn who_finds_nothing_is_told_why() {
    let console = Console::start();
    let status = |on: bool| Reply::data(&json!({"transcript_status": on, "recording_status": false}).to_string());
    let script = &console.server.script;
    script.set("sessions-status", "off", status(false));
    console.says("off", "");
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
fn what_went_wrong_is_said_what_was_there_stays_and_it_is_tried_again() {
    let console = Console::start();
    console.in_room("r1", "Ann opened the call.");
    let browser = &console.browser;
    console.server.script.catch_up("r1", Reply::body(500, ""));
    browser.click("[data-part=refresh]");
    browser.wait_for("The catch-up could not be loaded.");
    browser.wait_for("Trying again in ");
    assert_eq!(browser.text(".card .text"), "Ann opened the call.");
    let claims = browser.run("return document.querySelector('[data-part=outcome]').checkVisibility()");
    assert_eq!(claims, json!(false), "nothing is said to be new or not, as long as nobody knows");
    console.says("r1", "Ann opened the call. Bo was late.");
    console.later(Duration::from_secs(100));
    browser.wait_for("Bo was late.");
    browser.wait("document.querySelector('[data-part=problem]').hidden");
}

#[test]
fn a_text_that_stands_in_for_a_newer_one_is_called_old() {
    let console = Console::with(&[("APP_CATCH_UP__FRESH_FOR", "1ms"), ("APP_CATCH_UP__STALE_IF_ERROR", "600s")]);
    console.in_room("r1", "Ann opened the call.");
    console.server.script.catch_up("r1", Reply::body(500, ""));
    console.browser.aged(Duration::from_secs(40));
    console.browser.click("[data-part=refresh]");
    console.browser.wait_for("The server could not get a newer one.");
    assert_eq!(console.browser.text(".card .text"), "Ann opened the call.");
}

#[test]
fn a_server_that_is_away_is_named_as_such() {
    let Console { browser, server } = Console::start();
    browser.open(&format!("http://{}/", server.address));
    browser.wait_shown("#email");
    drop(server);
    browser.type_into("#email", EMAIL);
    browser.type_into("#password", PASSWORD);
    browser.click("[data-part=signInButton]");
    browser.wait_for("The server can’t be reached. Check the connection and try again.");
    let focus = browser.run("return document.activeElement.textContent");
    assert_eq!(focus, json!("Sign in"), "who pressed it can press it again");
}

#[test]
fn a_token_is_renewed_before_it_ends_and_once_if_it_was_refused_and_nobody_notices() {
    let console = Console::with(&[("APP_AUTH__TOKEN_TTL", "10m")]);
    console.in_room("r1", "One.");
    let browser = &console.browser;
    let renewals = || console.requests().iter().filter(|[_, path, ..]| path == "/auth/refresh").count();
    assert_eq!(renewals(), 0);
    console.later(Duration::from_mins(9) + Duration::from_secs(30));
    console.says("r1", "Two.");
    browser.click("[data-part=refresh]");
    browser.wait_for("Two.");
    assert_eq!(renewals(), 1, "for however many requests");
    assert!(console.requests().iter().all(|[.., outcome, _]| !outcome.starts_with("401")));
    console.server.clock.advance(Duration::from_mins(11));
    console.says("r1", "Three.");
    browser.click("[data-part=refresh]");
    browser.wait_for("Three.");
    assert_eq!(renewals(), 2);
}

#[test]
fn a_guest_whose_token_has_ended_comes_in_again_and_does_not_notice() {
    let console = Console::with(&[("APP_GUESTS__TOKEN_TTL", "10m")]);
    let browser = &console.browser;
    console.says("r1", "One.");
    console.open("/?room=r1");
    browser.click("[data-part=invitation] button");
    browser.wait_for("One.");
    console.server.clock.advance(Duration::from_mins(11));
    console.says("r1", "Two.");
    browser.click("[data-part=refresh]");
    browser.wait_for("Two.");
    let joined = console.requests().iter().filter(|[_, path, ..]| path.starts_with("/auth/joinmember")).count();
    assert_eq!(joined, 2, "once for however many requests that were refused");
}

#[test]
fn a_session_that_was_ended_elsewhere_leads_back_to_the_door_and_from_there_back_into_the_room() {
    let console = Console::start();
    console.in_room("r1", "One.");
    console.server.manage(async |database, clock| admin::disable(&database, EMAIL, &clock).await);
    let browser = &console.browser;
    browser.run(
        "const refresh = document.querySelector('[data-part=refresh]');
         const again = () => refresh.getAttribute('aria-disabled') === 'false' && refresh.click();
         new MutationObserver(again).observe(refresh, {attributes: true, attributeFilter: ['aria-disabled']});
         refresh.click();",
    );
    browser.wait_for("Your session has ended. Please sign in again.");
    console.server.manage(async |database, _| admin::enable(&database, EMAIL).await);
    browser.type_into("#email", EMAIL);
    browser.type_into("#password", PASSWORD);
    browser.press(&key(Key::Enter));
    browser.wait_for("One.");
}

#[test]
fn a_reload_keeps_the_session_another_tab_shares_it_and_signing_out_ends_it_in_both() {
    let console = Console::start();
    console.in_room("r1", "One.");
    let browser = &console.browser;
    browser.reload();
    browser.wait_for("One.");
    browser.new_tab();
    console.open("/?room=r1");
    browser.wait_for("One.");
    assert_eq!(console.server.rows("sessions"), 1, "one session for both");
    let kept = browser.run("return Object.keys(sessionStorage).concat(Object.keys(localStorage)).join()");
    assert_eq!(kept, json!("refreshToken"), "nothing else is written down");
    browser.click("#sign-out");
    browser.wait_shown("#email");
    browser.tab(0);
    browser.wait_for("You signed out in another tab.");
}

#[test]
fn hostile_texts_are_shown_as_text() {
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
        "- <b>bold</b>\n- &lt;b&gt; &#60;b&#62;\n\n# <i>head</i>\n".to_owned(),
        " \t leading, and trailing blanks \r\n\r\nand a \r alone \u{0} \u{7f} \u{feff}".to_owned(),
        "<b>".repeat(10_000),
        "x".repeat(200 * 1024),
        format!("{}\n", "- one of many items <img src=x>\n".repeat(6_000)),
    ];
    console.in_room("r1", "At first nothing hostile.");
    let browser = &console.browser;
    for text in &texts {
        console.says("r1", text);
        browser.click("[data-part=refresh]");
        // Compared in the page, which shows what it has been sent; and here, that it is what was meant.
        browser.wait(&format!("document.querySelector('.card .text').textContent === {}", json!(text)));
        let ours = "return [...document.querySelectorAll('.card .text *')].every((made) =>
            ['P', 'UL', 'LI', 'H3', 'SPAN', 'INS'].includes(made.tagName))";
        assert_eq!(browser.run(ours), json!(true), "{text:.60}");
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
    assert_eq!(objections(browser), Vec::<Value>::new());
}

/// A text in a query.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// What the browser's log has, but for failed requests, which each test brings about itself.
pub(super) fn objections(browser: &Browser) -> Vec<Value> {
    browser.log().into_iter().filter(|entry| entry["source"] != "network").collect()
}

#[test]
fn nobody_but_the_server_is_asked_and_the_browser_has_nothing_to_object() {
    let console = Console::start();
    console.in_room("r1", "One.");
    let browser = &console.browser;
    console.says("r1", "One. Two.");
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
fn everything_can_be_done_by_keyboard() {
    let console = Console::start();
    console.says("r1", "One.");
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
fn every_request_is_shown_as_the_curl_line_that_asks_the_same() {
    let console = Console::start();
    let room = "it's $HOME";
    console.says(room, "One.");
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
    let token = body["data"]["token"].as_str().expect("the line signs in");
    assert!(requests.len() >= 6, "{requests:?}");
    for [_, path, outcome, line] in requests.iter().filter(|[_, path, ..]| !path.starts_with("/auth/")) {
        let (_, status) = run(line, token);
        assert!(outcome.starts_with(&format!("{status} ")), "{path}: {outcome} in the page, {status} in a terminal");
    }
}
