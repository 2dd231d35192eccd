//! `POST /auth/refresh` and `POST /auth/logout`, in sessions that the suite opens itself.

use super::prelude::*;
use std::time::Duration;

/// The time in which all replicas refuse the tokens of a revoked session.
const REVOCATION: Duration = Duration::from_secs(2);

cases! { refresh {
    refresh_token_is_exchanged ["auth session"]
        "A refresh answers as a login, with a new refresh token; the old one is spent.";
    lost_response_is_repeated ["auth session"] "Within the grace, a spent refresh token answers with the very same new one.";
    concurrent_refreshes_yield_one_successor ["auth session"] "Concurrent refreshes yield one successor.";
    reused_refresh_token_revokes_the_session ["auth session slow"]
        "Used after the grace, a spent refresh token revokes the session.";
    logout_ends_the_session ["auth session"]
        "After a logout, the refresh token and, within two seconds, the user token are 401.";
    logout_with_unknown_token_is_null ["auth"] "A logout with an unknown token answers with null.";
    unknown_refresh_token_is_401 ["auth"] "An unknown refresh token is 401 `Unauthorized`."
        = |target| target.refresh(&"conformance-unknown-token".into()).assert_error(401, "Unauthorized");
    access_token_is_no_refresh_token ["auth"]
        "Refresh tokens can't be mistaken for access tokens: a user token is no refresh token."
        = |target| target.refresh(&target.user_token()?.into()).assert_error(401, "Unauthorized");
    refresh_token_is_no_access_token ["auth session"]
        "Refresh tokens can't be mistaken for access tokens: a refresh token is no bearer token.";
    missing_refresh_token_is_400 ["auth"] "A missing refreshToken is 400 with a sentence that names the field.";
} }

fn refresh_token_is_exchanged(target: &Target) -> Outcome {
    let first = target.log_in()?;
    let second = target.refresh(member(&first, "refreshToken")?).success()?;
    let is_new = member(&second, "refreshToken")? != member(&first, "refreshToken")?;
    check(is_new, || "POST /auth/refresh: the refresh token is the old one".to_owned())?;
    check(member(&second, "user")? == member(&first, "user")?, || "POST /auth/refresh: the user is another one".to_owned())?;
    target.get("/callConfig").token(string(member(&second, "token")?)?).success().map(drop)
}

fn lost_response_is_repeated(target: &Target) -> Outcome {
    let first = target.log_in()?;
    let refresh = || target.refresh(member(&first, "refreshToken")?).success();
    let (second, again) = (refresh()?, refresh()?);
    check(member(&second, "refreshToken")? == member(&again, "refreshToken")?, || {
        "POST /auth/refresh: the second response has another refresh token than the first".to_owned()
    })
}

fn concurrent_refreshes_yield_one_successor(target: &Target) -> Outcome {
    let first = target.log_in()?;
    let refresh = || -> Result<Value, Failure> {
        let session = target.refresh(member(&first, "refreshToken")?).success()?;
        member(&session, "refreshToken").cloned()
    };
    let sessions = std::thread::scope(|scope| {
        let threads = [scope.spawn(refresh), scope.spawn(refresh), scope.spawn(refresh)];
        threads.map(|thread| thread.join().unwrap_or_else(|_| Err("a thread failed".to_owned().into())))
    });
    let [first, second, third] = sessions;
    let (first, second, third) = (first?, second?, third?);
    check(first == second && second == third, || "POST /auth/refresh, three at once: the refresh tokens differ".to_owned())
}

fn reused_refresh_token_revokes_the_session(target: &Target) -> Outcome {
    let delay = target.config.reuse_after.ok_or_else(|| not_tried("no time to wait is given (--reuse-after)"))?;
    let first = target.log_in()?;
    let second = target.refresh(member(&first, "refreshToken")?).success()?;
    (target.config.wait)(delay);
    target.refresh(member(&first, "refreshToken")?).assert_error(401, "Unauthorized")?;
    target.refresh(member(&second, "refreshToken")?).assert_error(401, "Unauthorized")?;
    assert_revoked(target, &second)
}

fn logout_ends_the_session(target: &Target) -> Outcome {
    let session = target.log_in()?;
    let body = json!({"refreshToken": member(&session, "refreshToken")?});
    for _ in 0..2 {
        let data = target.post("/auth/logout", &body).success()?;
        check(data.is_null(), || format!("POST /auth/logout: {data} and not null"))?;
    }
    target.refresh(member(&session, "refreshToken")?).assert_error(401, "Unauthorized")?;
    assert_revoked(target, &session)
}

/// Asserts that the user token of a session is rejected, on all replicas after a while.
fn assert_revoked(target: &Target, session: &Value) -> Outcome {
    let token = string(member(session, "token")?)?;
    Target::retry_for(REVOCATION, || target.get("/callConfig").token(token).assert_error(401, "Unauthorized"))
}

fn logout_with_unknown_token_is_null(target: &Target) -> Outcome {
    let data = target.post("/auth/logout", &json!({"refreshToken": "conformance-unknown-token"})).success()?;
    check(data.is_null(), || format!("POST /auth/logout: {data} and not null"))
}

fn refresh_token_is_no_access_token(target: &Target) -> Outcome {
    let session = target.log_in()?;
    target.get("/callConfig").token(string(member(&session, "refreshToken")?)?).assert_error(401, "Unauthorized")
}

fn missing_refresh_token_is_400(target: &Target) -> Outcome {
    for path in ["/auth/refresh", "/auth/logout"] {
        let message = target.post(path, &json!({})).assert_bad_request()?;
        check(message.contains("refreshToken"), || format!("POST {path}: {message:?} does not name refreshToken"))?;
    }
    Ok(())
}
