//! `POST /auth/login`.

use super::prelude::*;

cases! { login {
    sample_response ["auth session"] "A login answers with token, tokenType, expiresIn, refreshToken and user.";
    user_token_has_its_claims ["auth session"]
        "A user token is a JWT with sub, kind user, sid, and iat and exp as integers.";
    wrong_credentials_are_401 ["auth"] "A wrong e-mail or password is 401 `Unauthorized` with `WWW-Authenticate: Bearer`.";
    malformed_input_is_400 ["auth"] "Malformed input is 400 with a sentence that names the field.";
    body_that_is_no_json_object_is_400 ["auth"] "Bad JSON, and anything but one object, is 400.";
    wrong_content_type_is_400 ["auth"] "A wrong Content-Type is 400.";
} }

fn sample_response(target: &Target) -> Outcome {
    let session = target.log_in()?;
    for name in ["token", "refreshToken"] {
        string(member(&session, name)?)?;
    }
    for name in ["id", "email", "name"] {
        string(member(member(&session, "user")?, name)?)?;
    }
    let is_bearer = member(&session, "tokenType")? == "Bearer";
    check(is_bearer && member(&session, "expiresIn")?.is_u64(), || format!("tokenType or expiresIn is wrong in {session}"))
}

fn user_token_has_its_claims(target: &Target) -> Outcome {
    let session = target.log_in()?;
    let token = string(member(&session, "token")?)?;
    let claims = claims::claims(token)?;
    check(member(&claims, "kind")? == "user", || format!("kind is not user in {claims}"))?;
    check(member(&claims, "sub")? == member(member(&session, "user")?, "id")?, || {
        format!("sub is not the user's id in {claims}")
    })?;
    string(member(&claims, "sid")?)?;
    let time = |name| member(&claims, name).map(serde_json::Value::as_i64);
    let (issued, expires) = (time("iat")?, time("exp")?);
    let lifetime = expires.zip(issued).map(|(expires, issued)| expires - issued);
    let expected = member(&session, "expiresIn")?.as_i64();
    check(lifetime.is_some() && lifetime == expected, || format!("exp is not iat plus expiresIn ({expected:?}) in {claims}"))
}

/// One failed login, for an account that does not exist: a run never reaches a login limit.
fn wrong_credentials_are_401(target: &Target) -> Outcome {
    let credentials =
        json!({"email": format!("conformance-{}@example.com", std::process::id()), "password": "a wrong password"});
    let response = target.login_request()?.json(&credentials).send()?;
    response.assert_error(401, "Unauthorized")?;
    response.assert_header("WWW-Authenticate", "Bearer")
}

fn malformed_input_is_400(target: &Target) -> Outcome {
    for (body, field) in [
        (json!({"password": "x"}), "email"),
        (json!({"email": "a@b.c"}), "password"),
        (json!({"email": 1, "password": "x"}), "email"),
        (json!({"email": "a@b.c", "password": null}), "password"),
    ] {
        let message = target.login_request()?.json(&body).assert_bad_request()?;
        check(message.contains(field), || format!("POST /auth/login: {message:?} does not name {field}"))?;
    }
    Ok(())
}

fn body_that_is_no_json_object_is_400(target: &Target) -> Outcome {
    for body in ["{", "", "[]", "\"text\"", "null", "{} {}"] {
        target.login_request()?.body("application/json", body).assert_bad_request()?;
    }
    Ok(())
}

fn wrong_content_type_is_400(target: &Target) -> Outcome {
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let body = r#"{"email":"a@b.c","password":"x"}"#;
        target.login_request()?.body(content_type, body).assert_bad_request()?;
    }
    Ok(())
}
