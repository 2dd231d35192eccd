//! Invitations in a browser: a user creates one in a room, and a guest takes it.

use std::time::Duration;

use serde_json::json;

use super::browser::Console;

/// Creates an invitation in the room `r1` for one guest; returns its URL.
fn create_invitation(console: &Console) -> String {
    console.open_room("r1", "One.");
    let browser = &console.browser;
    browser.run("document.getElementById('invite-expiry').value = '3600'");
    browser.type_into("#invite-uses", "1");
    browser.click("[data-part=invite] button");
    browser.wait("document.querySelector('[data-part=link]').textContent.includes('#invitation=')");
    browser.wait_for("Guests with this link can read this room until");
    browser.run("return document.querySelector('[data-part=link]').textContent").as_str().unwrap().to_owned()
}

/// Signs out, and enters the room with the invitation.
fn take_invitation(console: &Console, url: &str) {
    let browser = &console.browser;
    browser.click("#sign-out");
    browser.wait_shown("#email");
    browser.open(url);
    browser.wait_for("You are invited to r1");
    browser.click("[data-part=invitation] button");
    browser.wait_for("One.");
}

#[test]
fn invitation_of_a_user_admits_one_guest_over_a_reload() {
    let console = Console::with(&[("APP_GUESTS__INVITATIONS", "required")]);
    let url = create_invitation(&console);
    let (address, token) = url.split_once("#invitation=").unwrap();
    assert_eq!(address, console.url("/?room=r1"));
    assert_eq!(console.server.rows("invitations WHERE uses_left = 1"), 1);
    let [method, path, outcome, curl] = &console.requests()[0];
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/auth/invitations"));
    assert!(outcome.starts_with("200") && curl.contains(r#"{"room":"r1","expiresIn":3600,"uses":1}"#), "{outcome} {curl}");

    take_invitation(&console, &url);
    let browser = &console.browser;
    assert_eq!(browser.run("return location.href"), json!(address), "the invitation is not left in the URL");
    let requests = console.requests();
    let joined = requests.iter().find(|[_, path, ..]| path.starts_with("/auth/joinmember")).unwrap();
    assert!(joined[1].ends_with("&invitation=$INVITATION") && joined[3].ends_with(r#"='"$INVITATION"''"#), "{joined:?}");
    assert!(!format!("{requests:?}").contains(token));
    assert_eq!(
        browser.run("return document.querySelector('[data-part=invite]').hidden"),
        json!(true),
        "guests cannot invite"
    );

    browser.reload();
    browser.wait_for("One.");
    assert_eq!(console.server.rows("invitations WHERE uses_left = 0"), 1);
    browser.click("#sign-out");
    browser.wait_shown("#email");
    assert_eq!(browser.run("return sessionStorage.length"), json!(0));
    browser.open(&url);
    browser.click("[data-part=invitation] button");
    browser.wait_for("This invitation is not valid any more. Ask for a new one, or sign in with an account.");
}

#[test]
fn invitation_is_removed_from_the_url_of_a_user() {
    let console = Console::start();
    console.set_catch_up("r1", "One.");
    console.sign_in("/?room=r1#invitation=t");
    console.wait_for_text("One.");
    assert_eq!(console.browser.run("return location.href"), json!(console.url("/?room=r1")));
}

#[test]
fn guest_whose_token_has_expired_sees_what_to_do() {
    let console = Console::with(&[("APP_GUESTS__INVITATIONS", "required"), ("APP_GUESTS__TOKEN_TTL", "10m")]);
    let url = create_invitation(&console);
    take_invitation(&console, &url);
    console.server.clock.advance(Duration::from_mins(11));
    // The end of the event stream may have shown it before.
    console.browser.run("document.querySelector('[data-part=refresh]')?.click()");
    console.browser.wait_for("Your time as a guest has ended. Open your invitation again, or sign in.");
    console.browser.wait_shown("#email");
}

#[test]
fn rejected_creation_of_an_invitation_is_explained() {
    let console = Console::with(&[("APP_GUESTS__ENABLED", "false")]);
    console.open_room("r1", "One.");
    console.browser.wait_for("Users can read this room with this link.");
    console.browser.click("[data-part=invite] button");
    console.browser.wait_for("You may not invite guests to this room, or guests are not allowed.");
}
