//! Several tabs of one browser: they share one session, and only visible tabs have a stream.

use std::time::Duration;

use serde_json::json;

use super::browser::Console;

/// Returns the outcomes of the page's streams, newest first; `…` while one is open.
fn streams(console: &Console) -> Vec<String> {
    let streams = console.requests().into_iter().filter(|[_, path, ..]| path.ends_with("/live"));
    streams.map(|[_, _, outcome, _]| outcome).collect()
}

#[test]
fn hidden_tab_closes_its_stream_and_reopens_it_when_shown() {
    let console = Console::with(&[("APP_LIVE__POLL_INTERVAL", "1s")]);
    console.open_live_room("r1", "One.");
    let browser = &console.browser;
    console.set_catch_up("r1", "One. Two.");
    console.wait_for_text("One. Two.");
    assert_eq!(streams(&console), ["…"], "it is open");

    browser.hide();
    browser.wait("document.hidden");
    let ended = streams(&console);
    assert!(ended.len() == 1 && ended[0].starts_with("ended"), "{ended:?}");
    console.set_catch_up("r1", "One. Two. Three.");
    console.advance_clock(Duration::from_mins(5));
    assert_eq!(browser.text(".card .text"), "One. Two.", "a hidden tab requests nothing");

    browser.show();
    browser.wait("!document.hidden");
    console.wait_for_text("One. Two. Three.");
    console.set_catch_up("r1", "One. Two. Three. Four.");
    console.wait_for_text("One. Two. Three. Four.");
    let again = streams(&console);
    assert!(again.len() == 2 && again[0] == "…", "{again:?}");
    browser.click("[data-part=live]");
    assert!(streams(&console).iter().all(|outcome| outcome.starts_with("ended")));
}

#[test]
fn streams_of_many_windows_leave_connections_free() {
    let console = Console::with(&[("APP_LIVE__POLL_INTERVAL", "1s")]);
    console.open_live_room("r1", "One.");
    let browser = &console.browser;
    for number in 0..8 {
        if number > 0 {
            browser.new_window();
            console.open("/?room=r1");
            console.wait_for_text("One.");
        }
        assert_eq!(browser.run("return document.hidden"), json!(false));
        let mode = if number < 4 { "Live" } else { "Every 15 seconds" };
        browser.wait(&format!("document.querySelector('[data-part=mode]').textContent === '{mode}'"));
    }
    let held = browser.run_async(
        "const done = arguments[0];
         navigator.locks.query().then(({held}) => done(held.filter(({name}) => name.startsWith('live-')).length))",
    );
    assert_eq!(held, json!(4), "two of a browser's six connections stay free");
    assert_eq!(console.server.rows("sessions"), 1, "one session for all of them");
    console.set_catch_up("r1", "One. Two.");
    browser.click("[data-part=refresh]");
    console.wait_for_text("One. Two.");
}
