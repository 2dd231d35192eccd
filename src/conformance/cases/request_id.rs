//! `X-Request-Id`, by which a user's report is matched with the log.

use super::prelude::*;

cases! { request_id {
    every_response_has_one ["errors"] "`X-Request-Id` is on every answer.";
    each_request_has_another ["errors"] "A request without an id gets one of its own.";
    valid_id_of_the_client_is_kept ["errors"] "A client's own id is kept if it is 1 to 64 of `A-Z a-z 0-9 . _ -`.";
    invalid_id_of_the_client_is_replaced ["errors"] "A client's id that is longer or has other characters is replaced.";
} }

/// Returns the request id of a response, which has 1 to 64 safe characters.
fn id(response: &Response) -> Result<String, Failure> {
    let id = response.required_header("X-Request-Id")?;
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    check((1..=64).contains(&id.len()) && id.chars().all(is_safe), || format!("{}: X-Request-Id: {id}", response.request))?;
    Ok(id.to_owned())
}

fn every_response_has_one(target: &Target) -> Outcome {
    for path in ["/conformance", "/meetings", "/auth/joinmember"] {
        id(&target.get(path).send()?)?;
    }
    id(&target.client.request("HEAD", "/meetings").send()?)?;
    let config = target.get_as_user("/callConfig")?.send()?;
    id(&config)?;
    if let Some(etag) = config.header("ETag") {
        id(&target.get_as_user("/callConfig")?.header("If-None-Match", etag).send()?)?;
    }
    Ok(())
}

fn each_request_has_another(target: &Target) -> Outcome {
    let (first, second) = (id(&target.get("/conformance").send()?)?, id(&target.get("/conformance").send()?)?);
    check(first != second, || format!("two requests have the id {first}"))
}

fn valid_id_of_the_client_is_kept(target: &Target) -> Outcome {
    for own in ["a", "Conformance-1_2.3", &"x".repeat(64)] {
        target.get("/conformance").header("X-Request-Id", own).send()?.assert_header("X-Request-Id", own)?;
    }
    Ok(())
}

fn invalid_id_of_the_client_is_replaced(target: &Target) -> Outcome {
    for invalid in ["a b", "a/b", "<script>", &"x".repeat(65)] {
        let id = id(&target.get("/conformance").header("X-Request-Id", invalid).send()?)?;
        check(id != invalid, || format!("the id {invalid:?} is kept"))?;
    }
    Ok(())
}
