//! `POST /auth/login`.

use argon2::password_hash::PasswordHasher as _;

use crate::support::{EMAIL, PASSWORD, TestServer};
use serde_json::json;

fn body(email: &str, password: &str) -> String {
    json!({"email": email, "password": password}).to_string()
}

#[test]
fn right_password_returns_a_token_for_every_room() {
    let server = TestServer::with_account(&[("APP_AUTH__TOKEN_TTL", "10m")]);
    let response = server.client().log_in(" Ann@Example.COM ", PASSWORD);
    let data = response.data();
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!((&data["tokenType"], &data["expiresIn"]), (&"Bearer".into(), &600.into()));
    assert_eq!((&data["user"]["email"], &data["user"]["name"]), (&EMAIL.into(), &"A User".into()));
    assert!(data["user"]["id"].as_str().unwrap().len() >= 16);
    assert!(data["refreshToken"].as_str().unwrap().len() >= 43);
    assert_eq!(data.as_object().unwrap().len(), 5);
    let token = data["token"].as_str().unwrap();
    for room in ["r1", "r2"] {
        server.client().get(&format!("/callCatchUp/{room}"), Some(token)).assert_success(&format!("{room:?}"));
    }
    let refresh_token = data["refreshToken"].as_str().unwrap();
    server.client().get("/callCatchUp/r1", Some(refresh_token)).assert_unauthorized("a refresh token is no access token");
}

#[test]
fn logins_share_no_token() {
    let server = TestServer::with_account(&[]);
    let (one, two) = (server.log_in().data(), server.log_in().data());
    assert_ne!(one["token"], two["token"]);
    assert_ne!(one["refreshToken"], two["refreshToken"]);
    assert_eq!(one["user"], two["user"]);
}

#[test]
fn weak_hash_is_replaced_by_the_next_login() {
    let server = TestServer::with_account(&[]);
    let weak = argon2::Argon2::new(
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        argon2::Params::new(8 * 1024, 1, 1, None).unwrap(),
    );
    let weak = weak.hash_password(PASSWORD.as_bytes()).unwrap().to_string();
    server.set_password_hash(&weak);
    server.client().log_in(EMAIL, "wrong").assert_unauthorized("wrong");
    assert_eq!(server.password_hash(), weak, "a wrong password replaces nothing");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| server.log_in().data());
        }
    });
    let renewed = server.password_hash();
    assert!(renewed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{renewed}");
    server.log_in().data();
    assert_eq!(server.password_hash(), renewed, "once");
}

#[test]
fn unknown_account_and_wrong_password_get_the_same_response() {
    let server = TestServer::with_account(&[]);
    let responses = [
        (EMAIL, "wrong"),
        (EMAIL, &PASSWORD[1..]),
        (EMAIL, &PASSWORD.to_uppercase()),
        (EMAIL, &format!("{PASSWORD} ")),
        ("unknown@example.com", PASSWORD),
        ("nobody", "wrong"),
        ("' OR 1=1 --", "wrong"),
    ]
    .map(|(email, password)| {
        let response = server.client().log_in(email, password);
        response.assert_unauthorized(email);
        let names: Vec<String> = response.headers.iter().map(|(name, _)| name.clone()).collect();
        let mut names = names;
        names.sort();
        (names, response.body)
    });
    assert!(responses.iter().all(|response| *response == responses[0]));
}

#[test]
fn malformed_input_is_400_and_names_the_field() {
    let server = TestServer::start();
    let not_an_object = "The body must be one JSON object with each member once.";
    for (sent, message) in [
        (r#"{"password":"x"}"#, "email is required."),
        (r#"{"email":null,"password":"x"}"#, "email is required."),
        (r#"{"email":"a@b"}"#, "password is required."),
        (r#"{"email":"","password":"x"}"#, "email must not be empty."),
        (r#"{"email":"a@b","password":""}"#, "password must not be empty."),
        (r#"{"email":1,"password":"x"}"#, "email must be a string."),
        (r#"{"email":"a@b","password":["x"]}"#, "password must be a string."),
        (r#"{"email":"a\u0000@b","password":"x"}"#, "email must not contain control or invisible characters."),
        (r#"{"email":"a\u200b@b","password":"x"}"#, "email must not contain control or invisible characters."),
        ("", not_an_object),
        ("[]", not_an_object),
        (r#"["a@b","x"]"#, not_an_object),
        ("null", not_an_object),
        (r#"{"email":"a@b","password":"x""#, not_an_object),
        (r#"{"email":"a@b","password":"x"} x"#, not_an_object),
        (r#"{"email":"a@b","email":"c@d","password":"x"}"#, not_an_object),
        (r#"{"email":"a@b","password":"x","e\u006dail":"c@d"}"#, not_an_object),
        (r#"{"email":"\ud800","password":"x"}"#, not_an_object),
        (&format!(r#"{{"email":{}}}"#, "[".repeat(10_000)), not_an_object),
        (&body("a@b", &"x".repeat(1025)), "password is longer than 1024 bytes."),
        (&body(&"x".repeat(255), "x"), "email is longer than 254 bytes."),
    ] {
        server.client().post("/auth/login", sent).assert_error(400, message, sent);
    }
    let bad_utf8 = server.client().post_as("/auth/login", "Content-Type: application/json\r\n", b"{\"email\":\"\xff\"}");
    bad_utf8.assert_error(400, not_an_object, "bad UTF-8");
}

#[test]
fn other_content_types_are_rejected() {
    let server = TestServer::with_account(&[]);
    let sent = body(EMAIL, PASSWORD);
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
    ] {
        let response = server.client().post_as("/auth/login", headers, sent.as_bytes());
        response.assert_error(400, "Content-Type must be application/json.", headers);
    }
    for headers in ["Content-Type: application/json; charset=utf-8\r\n", "content-type: Application/JSON\r\n"] {
        server.client().post_as("/auth/login", headers, sent.as_bytes()).data();
    }
}
