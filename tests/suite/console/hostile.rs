//! Responses with any JSON cause no uncaught error, and valid parts are still shown.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::browser::logged_errors;
use crate::support::TestServer;
use crate::support::browser::Browser;

/// A route, the page that requests it, the item in the tab's storage, and a script that triggers the request.
///
/// The script runs until the request is sent, the first time with `first`.
const ROUTES: [(&str, &str, &str, &str); 9] = [
    (
        "/auth/login",
        "/",
        "",
        "if (signOutIfSignedIn()) return;
         for (const field of document.querySelectorAll('#email, #password')) field.value = 'ann@example.com';
         document.querySelector('[data-part=signIn]')?.requestSubmit();",
    ),
    (
        "/auth/joinmember",
        "/?room=r1",
        "",
        "if (!signOutIfSignedIn()) document.querySelector('[data-part=invitation]')?.requestSubmit();",
    ),
    ("/meetings", "/", "refreshToken", "if (first) rebuild();"),
    ("/callConfig", "/", "refreshToken", "if (first) rebuild();"),
    ("/callStatus", "/?room=r1", "refreshToken", "if (first) rebuild();"),
    ("/callCatchUp", "/?room=r1", "refreshToken", "if (first) rebuild();"),
    ("/callSummary", "/", "refreshToken", "if (first) rebuild(); else document.querySelector('.meetings button')?.click();"),
    (
        "/auth/invitations",
        "/?room=r1",
        "refreshToken",
        "if (first) rebuild(); else document.querySelector('[data-part=invite]')?.requestSubmit();",
    ),
    ("/auth/streamticket", "/?room=r1", "refreshToken", "if (first) rebuild();"),
];

/// Replaces the server's responses, and records each uncaught error.
const STUBS: &str = r#"
    window.failures = [];
    addEventListener("error", (event) => failures.push(`error: ${event.message}`));
    addEventListener("unhandledrejection", (event) => failures.push(`unhandledrejection: ${event.reason}`));
    window.requested = [];
    window.EventSource = class extends EventTarget { close() {} };
    window.fetch = async (path) => {
        const route = path.split("?")[0].replace(/^(\/call(?:CatchUp|Status|Summary))\/.*/, "$1");
        requested.push(route);
        const [status, body] = responses[route];
        return new Response(body, { status, headers: { "Content-Type": "application/json" } });
    };
    sessionStorage.clear();
    if (stored) sessionStorage.setItem(stored, "r1");
    /** Makes the page rebuild its view. */
    window.rebuild = () => dispatchEvent(new PopStateEvent("popstate"));
    /** Signs out; returns whether the page was signed in. */
    window.signOutIfSignedIn = () => {
        const button = document.getElementById("sign-out");
        if (button.hidden) return false;
        button.click();
        return true;
    };
    window.pause = () => new Promise((resolve) => setTimeout(resolve, 5));
    /** Waits until the page sends no more requests. */
    window.settle = async () => {
        for (let quiet = 0, seen = requested.length; quiet < 4; quiet = seen === requested.length ? quiet + 1 : 0) {
            seen = requested.length;
            await pause();
        }
    };
"#;

/// Makes the page receive each response of `tried`; returns the uncaught errors and the text of the page.
const TRY_ALL: &str = r#"
    const done = arguments[arguments.length - 1];
    (async () => {
        while (!document.querySelector("main h1")) await pause();
        await settle();
        const results = [];
        for (const response of tried) {
            responses[route] = response;
            failures.length = requested.length = 0;
            for (let first = true; !requested.includes(route); first = false) {
                act(first);
                await pause();
            }
            await settle();
            // WebDriver rejects half of a surrogate pair.
            results.push([...failures, document.querySelector("main").innerText].map((text) => text.toWellFormed()));
        }
        done(results);
    })().catch((error) => done(String(error)));
"#;

/// Returns JSON texts that code may not expect.
fn values() -> Vec<String> {
    let texts = [
        "null",
        "true",
        "-0.5",
        "1e400",
        r#""""#,
        r#"" \u0000\ud800""#,
        r#""2024-06-20T08:10:14.000Z""#,
        r#""<img src=x>""#,
        "[]",
        "[null,7,[[]]]",
        "{}",
        r#"{"toString":1,"valueOf":1,"then":1,"length":-1}"#,
        r#"{"__proto__":null,"constructor":{"prototype":1}}"#,
    ];
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    texts.map(str::to_owned).into_iter().chain([deep]).collect()
}

/// Returns responses of a route: a status, and a body with hostile values.
fn responses_of(route: &str) -> Vec<(u16, String)> {
    let mut responses = Vec::new();
    for value in values() {
        responses.push((200, envelope(&value)));
        responses.push((200, value.clone()));
        responses.push((400, format!(r#"{{"data":null,"error":{{"code":400,"message":{value}}}}}"#)));
        let nested: &[&str] = match route {
            "/callConfig" => &[r#"{"features":VALUE}"#, r#"{"features":{"audio_call":VALUE,"__proto__":VALUE}}"#],
            "/callStatus" => &[r#"{"transcript_status":VALUE,"recording_status":VALUE}"#],
            "/meetings" => &["[VALUE]", r#"[{"room_name":VALUE}]"#],
            "/auth/login" => &[
                r#"{"token":VALUE,"refreshToken":"r","user":{"id":"u","name":"Ann"}}"#,
                r#"{"token":"t","refreshToken":VALUE,"user":{"id":"u","name":"Ann"}}"#,
                r#"{"token":"t","refreshToken":"r","user":VALUE}"#,
                r#"{"token":"t","refreshToken":"r","user":{"id":VALUE,"name":"Ann"}}"#,
                r#"{"token":"t","refreshToken":"r","user":{"id":"u","name":VALUE,"email":VALUE}}"#,
                r#"{"token":"TOKEN","refreshToken":"r","user":{"id":"u","name":"Ann"}}"#,
                r#"{"token":"CLAIMS","refreshToken":"r","user":{"id":"u","name":"Ann"}}"#,
            ],
            "/auth/joinmember" => &[r#""TOKEN""#, r#""CLAIMS""#],
            "/auth/invitations" => &[r#"{"url":VALUE,"expiresAt":VALUE}"#, r#"{"url":"/?room=r1","expiresAt":VALUE}"#],
            _ => &[],
        };
        let token = |claims: &str| format!("a.{}.c", URL_SAFE_NO_PAD.encode(claims));
        let claims = format!(r#"{{"iat":{value},"exp":{value},"sid":{value}}}"#);
        for text in nested {
            let text = text.replace("VALUE", &value).replace("TOKEN", &token(&value)).replace("CLAIMS", &token(&claims));
            responses.push((200, envelope(&text)));
        }
    }
    responses.push((200, String::new()));
    responses.push((200, "<!doctype html>".to_owned()));
    responses
}

fn envelope(data: &str) -> String {
    format!(r#"{{"error":null,"data":{data}}}"#)
}

/// Returns a valid response of every route.
fn valid_responses() -> Value {
    let login = r#"{"token":"t","refreshToken":"r","user":{"id":"u","email":"ann@example.com","name":"Ann"}}"#;
    let responses = [
        ("/auth/login", login),
        ("/auth/refresh", login),
        ("/auth/logout", "null"),
        ("/auth/joinmember", r#""t""#),
        (
            "/auth/invitations",
            r#"{"id":"i","invitation":"t","url":"/?room=r1#invitation=t","expiresAt":"2024-06-20T08:10:14.000Z"}"#,
        ),
        ("/auth/streamticket", r#""ticket""#),
        ("/meetings", r#"[{"room_name":"r1"}]"#),
        ("/callConfig", r#"{"features":{"audio_call":true}}"#),
        ("/callStatus", r#"{"transcript_status":true,"recording_status":false}"#),
        ("/callCatchUp", r#""Ann opened the call.""#),
        ("/callSummary", r#""Four bugs were closed.""#),
    ];
    responses.iter().map(|(route, data)| ((*route).to_owned(), json!([200, envelope(data)]))).collect()
}

/// Tries these responses on the route's page. Returns for each the uncaught errors, then the text of the page.
fn try_all(browser: &Browser, server: &TestServer, route: &str, tried: &[(u16, String)]) -> Vec<Vec<String>> {
    let (_, page, stored, action) = ROUTES.iter().find(|(name, ..)| *name == route).unwrap();
    load(browser, server, page, stored, &valid_responses());
    // In chunks, because a script has a time limit.
    let run = |tried: &[(u16, String)]| {
        let (route, tried) = (json!(route), json!(tried));
        let script = format!("const route = {route}, tried = {tried}; const act = (first) => {{ {action} }};{TRY_ALL}");
        serde_json::from_value::<Vec<Vec<String>>>(browser.run_async(&script)).unwrap()
    };
    tried.chunks(20).flat_map(run).collect()
}

/// Opens a page that receives these responses.
fn load(browser: &Browser, server: &TestServer, page: &str, stored: &str, responses: &Value) {
    let script = format!("window.responses = {responses}; const stored = {};{STUBS}", json!(stored));
    let added = browser.command("Page.addScriptToEvaluateOnNewDocument", &json!({"source": script}));
    browser.open(&format!("http://{}{page}", server.address));
    browser.command("Page.removeScriptToEvaluateOnNewDocument", &added);
}

#[test]
fn response_of_any_json_causes_no_uncaught_error() {
    let (browser, server) = (Browser::start(), TestServer::start());
    for (route, ..) in ROUTES {
        let tried = responses_of(route);
        let results = try_all(&browser, &server, route, &tried);
        assert_eq!(results.len(), tried.len());
        for (result, (status, body)) in results.iter().zip(&tried) {
            let [text] = &result[..] else { panic!("{route}, {status} {body:.200}: {result:?}") };
            assert!(!text.trim().is_empty(), "{route}, {status} {body:.200}: the page is empty");
        }
        assert_eq!(logged_errors(&browser), Vec::<Value>::new(), "{route}");
    }
}

#[test]
fn resumed_session_survives_a_response_of_any_json() {
    let (browser, server) = (Browser::start(), TestServer::start());
    for (route, page, stored) in [("/auth/refresh", "/", "refreshToken"), ("/auth/joinmember", "/?room=r1", "guestRoom")] {
        for value in values() {
            let mut responses = valid_responses();
            responses[route] = json!([200, envelope(&value)]);
            load(&browser, &server, page, stored, &responses);
            let script = "const done = arguments[0];
                 (async () => {
                     while (requested.length === 0) await pause();
                     await settle();
                     done(failures);
                 })();";
            assert_eq!(browser.run_async(script), json!([]), "{route}: {value:.200}");
        }
        assert_eq!(logged_errors(&browser), Vec::<Value>::new(), "{route}");
    }
}

#[test]
fn settings_of_any_json_hide_no_sample_room() {
    let (browser, server) = (Browser::start(), TestServer::start());
    let load_settings = |body: String| {
        let mut responses = valid_responses();
        responses["/console/settings"] = json!([200, body]);
        load(&browser, &server, "/", "refreshToken", &responses);
        let script = "const done = arguments[0];
             (async () => {
                 while (!requested.includes('/meetings')) await pause();
                 await settle();
                 done([failures, document.querySelector('main').innerText]);
             })();";
        let result = browser.run_async(script);
        assert_eq!(result[0], json!([]), "{body:.200}");
        result[1].as_str().unwrap().to_owned()
    };
    for value in values() {
        load_settings(value.clone());
        load_settings(envelope(&value));
        load_settings(envelope(&format!(r#"{{"sampleRooms":{value},"passwordLogin":{value},"guestLinks":{value}}}"#)));
        let shown = load_settings(envelope(&format!(r#"{{"sampleRooms":["first",{value},"last"]}}"#)));
        assert!(shown.contains("first") && shown.contains("last"), "{value:.200}: {shown:.2000}");
    }
    load_settings(envelope(&json!({"sampleRooms": vec!["r"; 150_000]}).to_string()));
    assert_eq!(logged_errors(&browser), Vec::<Value>::new());
}

#[test]
fn malformed_meeting_is_shown_and_hides_no_other() {
    let (browser, server) = (Browser::start(), TestServer::start());
    let times = r#""created_at":"2024-06-20T08:10:14.000Z","destroyed_at":"2024-06-20T08:40:14.000Z""#;
    let meetings = |value: &String| {
        let meetings = format!(
            r#"[{{"room_name":"first",{times}}},{{"room_name":"odd-start","created_at":{value}}},
                {{"room_name":"odd-end","destroyed_at":{value}}},{{"room_name":"odd-id","unique_id":{value},{times}}},
                {{"room_name":{value},{times}}},{value},{{"room_name":"last",{times}}}]"#
        );
        (200, envelope(&meetings))
    };
    let tried: Vec<(u16, String)> = values().iter().map(meetings).collect();
    for (value, result) in values().iter().zip(try_all(&browser, &server, "/meetings", &tried)) {
        let [text] = &result[..] else { panic!("{value:.200}: {result:?}") };
        for room in ["first", "odd-start", "odd-end", "odd-id", "last"] {
            assert!(text.contains(&format!("{room}\n")), "{room} with {value:.200}: {text}");
        }
        assert_eq!(text.contains("Unknown room"), !value.starts_with('"'), "{value:.200}: {text}");
        assert_eq!(text.matches("30 minutes").count(), 4, "{value:.200}: {text}");
    }
}
