//! Entity tags: a client that has the current version gets a 304, once it is authorised.

use super::prelude::*;

/// A meeting that goes on changes its catch-up between two requests.
const MAX_TRIES: usize = 5;

cases! { caching {
    catch_up_has_an_entity_tag ["rooms"] "A catch-up has a strong `ETag` and `Cache-Control: private, no-cache`.";
    current_version_is_304 ["rooms"] "`If-None-Match` with the current entity tag is 304, without a body."
        = |target| assert_not_modified(target, &format!("/callCatchUp/{}", target.room()?), str::to_owned);
    current_version_is_304_on_the_other_routes ["rooms"] "Configuration, status and meetings have entity tags, too.";
    tag_changed_by_a_proxy_is_304 ["rooms"]
        "A weak entity tag, and one with the suffix -gzip that a proxy appended, are the current version.";
    tag_in_a_list_is_304 ["rooms"] "`If-None-Match` may be a list, or `*` (RFC 9110).";
    other_version_is_200 ["rooms"] "`If-None-Match` with another entity tag is 200 with the current version.";
    missing_token_is_401_before_304 ["auth"] "A 304 comes after authorisation: without a token it is 401.";
    other_room_is_403_before_304 ["auth guests rooms"]
        "A 304 comes after authorisation: for a guest of another room it is 403.";
} }

/// Asserts that a client which sends `condition`, made from the entity tag, gets a 304.
fn assert_not_modified(target: &Target, path: &str, condition: fn(&str) -> String) -> Outcome {
    let attempt = || -> Result<Response, Failure> {
        let first = target.get_as_user(path)?.send()?;
        first.success()?;
        let etag = first.required_header("ETag")?;
        let response = target.get_as_user(path)?.header("If-None-Match", condition(etag)).send()?;
        let has_changed = response.status == 200 && response.header("ETag").is_some_and(|other| other != etag);
        check(!has_changed, || format!("{}: the version changed {MAX_TRIES} times", response.request))?;
        Ok(response)
    };
    let mut tries = (0..MAX_TRIES).map(|_| attempt());
    let response = tries.find_map(Result::ok).map_or_else(attempt, Ok)?;
    response.assert_empty(304)?;
    response.required_header("ETag").map(drop)
}

fn catch_up_has_an_entity_tag(target: &Target) -> Outcome {
    let response = target.get_as_user(&format!("/callCatchUp/{}", target.room()?))?.send()?;
    response.success()?;
    let etag = response.required_header("ETag")?;
    let is_strong = etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"');
    check(is_strong, || format!("{}: ETag: {etag}", response.request))?;
    response.assert_header("Cache-Control", "private, no-cache")
}

fn current_version_is_304_on_the_other_routes(target: &Target) -> Outcome {
    for path in ["/callConfig", &format!("/callStatus/{}", target.room()?)] {
        assert_not_modified(target, path, str::to_owned)?;
    }
    target.get_as_user("/meetings")?.send()?.permitted("the user may not see the meetings")?;
    assert_not_modified(target, "/meetings", str::to_owned)
}

fn tag_changed_by_a_proxy_is_304(target: &Target) -> Outcome {
    let path = format!("/callCatchUp/{}", target.room()?);
    assert_not_modified(target, &path, |etag| format!("W/{etag}"))?;
    assert_not_modified(target, &path, |etag| format!("{}-gzip\"", etag.trim_end_matches('"')))
}

fn tag_in_a_list_is_304(target: &Target) -> Outcome {
    let path = format!("/callCatchUp/{}", target.room()?);
    assert_not_modified(target, &path, |etag| format!("\"another\", {etag}"))?;
    assert_not_modified(target, &path, |_| "*".to_owned())
}

fn other_version_is_200(target: &Target) -> Outcome {
    let path = format!("/callCatchUp/{}", target.room()?);
    target.get_as_user(&path)?.header("If-None-Match", "\"conformance\"").success().map(drop)
}

fn missing_token_is_401_before_304(target: &Target) -> Outcome {
    let path = format!("/callCatchUp/{}", target.any_room());
    target.get(&path).header("If-None-Match", "*").assert_error(401, "Unauthorized")
}

fn other_room_is_403_before_304(target: &Target) -> Outcome {
    let (path, guest) = (format!("/callCatchUp/{}", target.any_room()), target.guest_token(OTHER_ROOM)?);
    target.get(&path).token(&guest).header("If-None-Match", "*").assert_error(403, "Forbidden")
}
