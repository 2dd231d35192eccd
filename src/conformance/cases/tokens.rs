//! Bearer tokens: which ones are rejected, and the challenge of a 401.

use super::prelude::*;

cases! { tokens {
    missing_token_is_401 ["auth"] "A missing token is 401 `Unauthorized`.";
    invalid_token_is_401 ["auth"] "An invalid token is 401 `Unauthorized`.";
    unsigned_token_is_401 ["auth"] "No other algorithm is accepted, whatever the token's header says.";
    expired_token_is_401 ["auth"] "An expired token is 401 `Unauthorized`; there is no leeway.";
    token_in_the_query_is_401 ["auth"] "The token travels as `Authorization: Bearer <token>`, and in no other way.";
    other_scheme_is_401 ["auth"] "The token travels as `Authorization: Bearer <token>`: another scheme is no token.";
    scheme_is_case_insensitive ["auth"] "The authentication scheme is compared without regard to case (RFC 9110).";
    missing_token_is_challenged ["auth errors"]
        "A 401 has `WWW-Authenticate: Bearer`, without an error where no token was sent (RFC 6750).";
    invalid_token_is_challenged ["auth errors"]
        "A 401 has `WWW-Authenticate: Bearer error=\"invalid_token\"` where a token was sent (RFC 6750).";
} }

fn missing_token_is_401(target: &Target) -> Outcome {
    for path in ["/callCatchUp/r1", "/callStatus/r1", "/callSummary/r1", "/callConfig", "/meetings"] {
        target.get(path).assert_error(401, "Unauthorized")?;
    }
    target.client.request("POST", "/proconfToken").assert_error(401, "Unauthorized")
}

fn invalid_token_is_401(target: &Target) -> Outcome {
    let token = target.user_token()?;
    let forged = claims::with_wrong_signature(&token)?;
    let unsigned = token.rsplit_once('.').map_or("", |(signed, _)| signed);
    for invalid in [&*forged, unsigned, "null", "x.y.z", token.get(1..).unwrap_or_default()] {
        target.get("/callConfig").token(invalid).assert_error(401, "Unauthorized")?;
    }
    Ok(())
}

fn unsigned_token_is_401(target: &Target) -> Outcome {
    for alg in ["none", "None", "NONE", "nOnE"] {
        let token = claims::unsigned(&target.user_token()?, alg)?;
        target.get("/callConfig").token(&token).assert_error(401, "Unauthorized")?;
    }
    Ok(())
}

fn expired_token_is_401(target: &Target) -> Outcome {
    let expired =
        target.config.expired_token.as_ref().ok_or_else(|| not_tried("no expired token is given (--expired-token)"))?;
    target.get("/callConfig").token(expired).assert_error(401, "Unauthorized")?;
    target.get(&format!("/callCatchUp/{}", target.any_room())).token(expired).assert_error(401, "Unauthorized")
}

fn token_in_the_query_is_401(target: &Target) -> Outcome {
    let token = target.user_token()?;
    for name in ["token", "access_token"] {
        target.get(&format!("/callConfig?{name}={token}")).assert_error(401, "Unauthorized")?;
    }
    Ok(())
}

fn other_scheme_is_401(target: &Target) -> Outcome {
    let token = target.user_token()?;
    for value in [token.clone(), format!("Basic {token}"), format!("Token {token}")] {
        target.get("/callConfig").header("Authorization", value).assert_error(401, "Unauthorized")?;
    }
    Ok(())
}

fn scheme_is_case_insensitive(target: &Target) -> Outcome {
    target.get("/callConfig").header("Authorization", format!("bearer {}", target.user_token()?)).success().map(drop)
}

fn missing_token_is_challenged(target: &Target) -> Outcome {
    let response = target.get("/callConfig").send()?;
    response.assert_status(401)?;
    response.assert_header("WWW-Authenticate", "Bearer")
}

fn invalid_token_is_challenged(target: &Target) -> Outcome {
    let response = target.get("/callConfig").token("x.y.z").send()?;
    response.assert_status(401)?;
    response.assert_header("WWW-Authenticate", r#"Bearer error="invalid_token""#)
}
