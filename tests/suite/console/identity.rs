//! The console without password login: a field for a token of the identity provider, and guests.

use std::time::Duration;

use serde_json::json;

use super::browser::Console;
use crate::support::openid_provider::{AUDIENCE, OpenIdProvider};

/// A console whose users are those of the provider.
fn console_of(provider: &OpenIdProvider) -> Console {
    let issuer = provider.issuer();
    let oidc = [("APP_OIDC__ISSUER", issuer.as_str()), ("APP_OIDC__AUDIENCE", AUDIENCE)];
    let console = Console::with(&[&oidc[..], &[("APP_AUTH__PASSWORD_LOGIN", "false")]].concat());
    console.open("/");
    console.browser.wait_shown("#token");
    console
}

#[test]
fn user_enters_with_a_token_of_the_provider_until_it_expires() {
    let provider = OpenIdProvider::start();
    let console = console_of(&provider);
    let browser = &console.browser;
    assert_eq!(browser.run("return document.querySelector('#password').checkVisibility()"), json!(false));
    for wrong in ["not.a.token", "ä ö", &provider.id_token("ann")] {
        browser.type_into("#token", wrong);
        browser.click("[data-part=tokenButton]");
        browser.wait_for("The server does not accept this token.");
    }
    let enter = || {
        browser.type_into("#token", &provider.log_in("ann"));
        browser.click("[data-part=tokenButton]");
        browser.wait("document.querySelector('h1').textContent === 'Meetings'");
    };
    enter();
    assert_eq!(browser.text("#user-name"), "Ann Lee");
    assert_eq!(browser.run("return sessionStorage.length"), json!(0), "the token is in memory only");
    console.set_catch_up("r1", "One.");
    browser.type_into("[data-part=open] input", "r1");
    browser.click("[data-part=open] button");
    browser.wait_for("One.");
    browser.reload();
    browser.wait_shown("#token");
    assert_eq!(browser.run("return sessionStorage.length"), json!(0), "the recent rooms are removed");
    console.open("/");
    browser.wait_shown("#token");
    enter();
    browser.click("#sign-out");
    browser.wait_shown("#token");
    enter();
    // A click while the meetings are loading does nothing.
    browser.wait_for("No past meetings");
    console.server.clock.advance(Duration::from_mins(11));
    // The end of an event stream or a poll may have shown it before.
    browser.run("document.querySelector('[data-part=refresh]')?.click()");
    browser.wait_for("Your token has expired.");
    browser.wait_shown("#token");
    let requested = browser.requested();
    assert!(requested.iter().any(|url| url.ends_with("/callConfig")), "the requests are seen: {requested:#?}");
    let is_of_a_session = |url: &String| url.ends_with("/auth/refresh") || url.ends_with("/auth/logout");
    assert!(!requested.iter().any(is_of_a_session), "{requested:#?}");
}

#[test]
fn guest_enters_without_password_login() {
    let provider = OpenIdProvider::stopped();
    let console = console_of(&provider);
    console.set_catch_up("r1", "One.");
    console.browser.type_into("#guest-room", "r1");
    console.browser.click("[data-part=guest] button");
    console.browser.wait_for("One.");
    assert_eq!(console.browser.text("#user-name"), "Guest");
}
