//! CORS: which pages may read responses.

use super::prelude::*;

/// An origin that no deployment allows.
const FOREIGN: &str = "https://conformance.invalid";
const ALLOWED: &str = "authorization content-type if-none-match last-event-id x-request-id x-requested-with \
                       traceparent tracestate baggage";
const EXPOSED: &str = "etag age retry-after www-authenticate x-request-id x-catch-up-reason x-not-found";

cases! { cors {
    preflight_allows_methods_and_headers []
        "A preflight allows GET, POST, the API's headers, and those of tracing libraries.";
    response_exposes_its_headers []
        "Pages of an allowed origin can read the API's headers, such as ETag and WWW-Authenticate.";
    error_is_readable ["errors"] "Pages of an allowed origin can read failures, too.";
    foreign_origin_is_not_allowed [] "Pages of other origins can't read responses.";
} }

fn origin(target: &Target) -> Result<&str, Failure> {
    target.config.origin.as_deref().ok_or_else(|| not_tried("no allowed origin is given (--origin)"))
}

fn preflight(target: &Target, origin: &str) -> Result<Response, Failure> {
    let request = target.client.request("OPTIONS", "/callConfig").header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", "GET");
    request.header("Access-Control-Request-Headers", "authorization").send()
}

/// Asserts that a header's list has each of `names`.
fn assert_list(response: &Response, header: &str, names: &str) -> Outcome {
    let list = response.required_header(header)?.to_lowercase();
    let missing: Vec<_> =
        names.split_whitespace().filter(|name| !list.split(',').any(|item| item.trim() == *name)).collect();
    check(missing.is_empty(), || format!("{}: {header} lacks {missing:?}", response.request))
}

fn preflight_allows_methods_and_headers(target: &Target) -> Outcome {
    let origin = origin(target)?;
    let response = preflight(target, origin)?;
    check(matches!(response.status, 200 | 204), || format!("{}: status {}", response.request, response.status))?;
    response.assert_header("Access-Control-Allow-Origin", origin)?;
    assert_list(&response, "Access-Control-Allow-Methods", "get post")?;
    assert_list(&response, "Access-Control-Allow-Headers", ALLOWED)
}

fn response_exposes_its_headers(target: &Target) -> Outcome {
    let origin = origin(target)?;
    let response = target.get_as_user("/callConfig")?.header("Origin", origin).send()?;
    response.success()?;
    response.assert_header("Access-Control-Allow-Origin", origin)?;
    assert_list(&response, "Access-Control-Expose-Headers", EXPOSED)?;
    assert_list(&response, "Vary", "origin")
}

fn error_is_readable(target: &Target) -> Outcome {
    let origin = origin(target)?;
    for path in ["/callConfig", "/conformance"] {
        target.get(path).header("Origin", origin).send()?.assert_header("Access-Control-Allow-Origin", origin)?;
    }
    Ok(())
}

fn foreign_origin_is_not_allowed(target: &Target) -> Outcome {
    for origin in [FOREIGN, "null"] {
        for response in [preflight(target, origin)?, target.get_as_user("/callConfig")?.header("Origin", origin).send()?] {
            let allowed = response.header("Access-Control-Allow-Origin");
            check(allowed.is_none(), || format!("{}: {origin} is allowed by {allowed:?}", response.request))?;
        }
    }
    Ok(())
}
