//! The error envelope, the order of the checks, and the limit on bodies.

use super::super::client::Request;
use super::prelude::*;

/// Over any plausible limit for a login; a server may respond before it has read all of it.
const BODY_SIZE: usize = 200 * 1024;
const MAX_TRIES: usize = 3;

cases! { errors {
    unknown_url_is_404 [] "An unknown URL is 404 `Not found`, with or without a token.";
    wrong_method_is_404 [] "A known URL with the wrong HTTP method is 404 `Not found`, never 405.";
    options_is_404 ["cors"] "An OPTIONS request that is no preflight is one with the wrong method: 404."
        = |target| target.client.request("OPTIONS", "/callConfig").assert_error(404, "Not found");
    unknown_url_has_its_reason [] "`X-Not-Found: unknown-route` says that there is no such URL."
        = |target| target.get("/conformance").send()?.assert_header("X-Not-Found", "unknown-route");
    wrong_method_has_its_reason [] "`X-Not-Found: method` says that the URL has other methods."
        = |target| target.client.request("DELETE", "/callConfig").send()?.assert_header("X-Not-Found", "method");
    unknown_room_has_its_reason ["rooms"] "`X-Not-Found: unknown-room` says that Admin Control does not know the room.";
    method_is_checked_before_the_token ["auth"] "URL and method (404) are checked before the token (401).";
    token_is_checked_before_the_input ["auth"] "The token (401) is checked before the input (400).";
    input_is_checked_before_the_permission ["guests"] "The input (400) is checked before the permission (403).";
    body_over_the_limit_is_413 [] "A body over the limit is 413 `Payload too large`."
        = |target| assert_too_large(target, Request::json);
    chunked_body_over_the_limit_is_413 []
        "A body over the limit is 413 `Payload too large`, also without a Content-Length."
        = |target| assert_too_large(target, Request::chunked_json);
} }

fn unknown_url_is_404(target: &Target) -> Outcome {
    for path in ["/callCatchU", "/conformance", "/callCatchUp/a/b"] {
        target.get(path).assert_error(404, "Not found")?;
        target.get_as_user(path)?.assert_error(404, "Not found")?;
    }
    Ok(())
}

fn wrong_method_is_404(target: &Target) -> Outcome {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let path = format!("/callCatchUp/{}", target.any_room());
        target.client.request(method, &path).token(&target.user_token()?).assert_error(404, "Not found")?;
    }
    Ok(())
}

fn unknown_room_has_its_reason(target: &Target) -> Outcome {
    let path = format!("/callCatchUp/{}", encode(UNKNOWN_ROOM));
    target.get_as_user(&path)?.send()?.permitted(FORBIDDEN_ROOM)?.assert_header("X-Not-Found", "unknown-room")
}

fn method_is_checked_before_the_token(target: &Target) -> Outcome {
    for (method, path) in [("DELETE", "/meetings"), ("GET", "/proconfToken"), ("GET", "/auth/login"), ("PUT", "/callConfig")]
    {
        target.client.request(method, path).assert_error(404, "Not found")?;
    }
    Ok(())
}

fn token_is_checked_before_the_input(target: &Target) -> Outcome {
    for path in ["/callCatchUp", "/callCatchUp/%2e%2e", "/callStatus", "/callSummary"] {
        target.get(path).assert_error(401, "Unauthorized")?;
    }
    target.post("/proconfToken", &json!({})).assert_error(401, "Unauthorized")
}

fn input_is_checked_before_the_permission(target: &Target) -> Outcome {
    let guest = target.guest_token(OTHER_ROOM)?;
    target.get("/callCatchUp/%2e%2e").token(&guest).assert_bad_request()?;
    target.get("/callStatus").token(&guest).assert_bad_request()?;
    let body = json!({"role": "owner", "room": UNKNOWN_ROOM});
    target.post("/proconfToken", &body).token(&guest).assert_bad_request().map(drop)
}

/// Sends a login with a large body. A server may close the connection before the response is read.
fn assert_too_large<'a>(target: &'a Target, add_body: fn(Request<'a>, &Value) -> Request<'a>) -> Outcome {
    let body = json!({"email": "a@b.c", "password": "x".repeat(BODY_SIZE)});
    let send = || target.login_request().and_then(|request| add_body(request, &body).send());
    let mut tries = (1..MAX_TRIES).map(|_| send());
    tries.find_map(Result::ok).map_or_else(send, Ok)?.assert_error(413, "Payload too large")
}
