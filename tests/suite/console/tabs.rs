//! Several tabs of one browser: who can be seen has the connections, and all share one session.

use std::time::Duration;

use serde_json::json;

use super::browser::Console;

/// The streams that the page opened: what each came to, newest first. `…` is one that is open.
fn streams(console: &Console) -> Vec<String> {
    let streams = console.requests().into_iter().filter(|[_, path, ..]| path.ends_with("/live"));
    streams.map(|[_, _, outcome, _]| outcome).collect()
}

fn shows(text: &str) -> String {
    format!("document.querySelector('.card .text').textContent === {}", json!(text))
}

#[test]
fn a_tab_that_nobody_sees_holds_no_stream_and_goes_on_where_it_was_when_it_is_seen_again() {
    let console = Console::with(&[("APP_LIVE__POLL_INTERVAL", "1s")]);
    console.in_room("r1", "One.");
    let browser = &console.browser;
    browser.click("[data-part=keep]");
    console.says("r1", "One. Two.");
    browser.wait(&shows("One. Two."));
    assert_eq!(streams(&console), ["…"], "it is open");

    browser.hide();
    browser.wait("document.hidden");
    let ended = streams(&console);
    assert!(ended.len() == 1 && ended[0].starts_with("ended"), "{ended:?}");
    console.says("r1", "One. Two. Three.");
    console.later(Duration::from_mins(5));
    assert_eq!(browser.text(".card .text"), "One. Two.", "nobody looks, and nothing is asked for");

    browser.show();
    browser.wait("!document.hidden");
    browser.wait(&shows("One. Two. Three."));
    console.says("r1", "One. Two. Three. Four.");
    browser.wait(&shows("One. Two. Three. Four."));
    let again = streams(&console);
    assert!(again.len() == 2 && again[0] == "…", "{again:?}");
    browser.click("[data-part=keep]");
    assert!(streams(&console).iter().all(|outcome| outcome.starts_with("ended")));
}

#[test]
fn however_many_windows_are_kept_up_to_date_the_last_one_works_like_the_first() {
    let console = Console::with(&[("APP_LIVE__POLL_INTERVAL", "1s")]);
    console.in_room("r1", "One.");
    let browser = &console.browser;
    for number in 0..8 {
        if number > 0 {
            browser.new_window();
            console.open("/?room=r1");
            browser.wait(&shows("One."));
        }
        assert_eq!(browser.run("return document.hidden"), json!(false));
        browser.click("[data-part=keep]");
        browser.wait_for("No changes.");
    }
    let held = browser.run_async(
        "const done = arguments[0];
         navigator.locks.query().then(({held}) => done(held.filter(({name}) => name.startsWith('live-')).length))",
    );
    assert_eq!(held, json!(4), "some of a browser's six connections are left for everything else");
    assert_eq!(console.server.rows("sessions"), 1, "one session for all of them");
    console.says("r1", "One. Two.");
    browser.click("[data-part=refresh]");
    browser.wait(&shows("One. Two."));
}
