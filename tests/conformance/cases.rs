//! The cases, one module per page of the documentation.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::target::{Target, encoded, text};
use crate::{Outcome, Verdict};

const PASSED: Outcome = Ok(Verdict::Passed);

fn room_required() -> (u16, &'static str) {
    (400, "Room name required in query param.")
}

fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The range that the contract allows.
const NO_GUESTS: &str = "guests are turned off there";

/// A body over any plausible limit for a login that still fits into the socket buffers.
const TOO_LONG: usize = 200 * 1024;

/// A name that no room has.
const NO_ROOM: &str = "unknown room";

pub mod call_catch_up {
    use super::*;

    pub fn sample_response(target: &Target) -> Outcome {
        let data = target.get(&format!("/callCatchUp/{}", encoded(&target.room)), Some(&target.user()?)).success()?;
        demand(data.get("error").is_none() && data.get("data").is_none(), || {
            format!("the envelope is wrapped twice: {data}")
        })?;
        demand(data.get("config").is_none() && data.get("headers").is_none(), || {
            format!("a client library's response: {data}")
        })?;
        PASSED
    }

    pub fn room_in_the_query(target: &Target) -> Outcome {
        target.get(&format!("/callCatchUp?roomName={}", encoded(&target.room)), Some(&target.user()?)).success()?;
        PASSED
    }

    pub fn no_token_is_401(target: &Target) -> Outcome {
        target.get(&format!("/callCatchUp/{}", encoded(&target.room)), None).fails(401, "Unauthorized")?;
        PASSED
    }

    pub fn an_invalid_token_is_401(target: &Target) -> Outcome {
        let good = target.user()?;
        let (start, signature) = good.rsplit_once('.').ok_or("the token is no JWT")?;
        let first = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{start}.{first}{}", &signature[1..]);
        for token in [forged.as_str(), start, "null", "x.y.z", &good[1..]] {
            target.get(&format!("/callCatchUp/{}", encoded(&target.room)), Some(token)).fails(401, "Unauthorized")?;
        }
        PASSED
    }

    pub fn an_unsigned_token_is_401(target: &Target) -> Outcome {
        let good = target.user()?;
        let payload = good.split('.').nth(1).ok_or("the token is no JWT")?;
        for alg in ["none", "None", "NONE", "nOnE"] {
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": "JWT"}).to_string());
            let token = format!("{header}.{payload}.");
            target.get(&format!("/callCatchUp/{}", encoded(&target.room)), Some(&token)).fails(401, "Unauthorized")?;
        }
        PASSED
    }

    pub fn an_expired_token_is_401(target: &Target) -> Outcome {
        let Some(expired) = &target.expired_token else {
            return Ok(Verdict::Skipped("APP_TEST_EXPIRED_TOKEN is no token of there that has run out"));
        };
        target.get(&format!("/callCatchUp/{}", encoded(&target.room)), Some(expired)).fails(401, "Unauthorized")?;
        target.get("/callConfig", Some(expired)).fails(401, "Unauthorized")?;
        PASSED
    }

    pub fn no_room_is_400(target: &Target) -> Outcome {
        let (status, message) = room_required();
        for none in ["/callCatchUp", "/callCatchUp?roomName=", "/callCatchUp?roomName=%20", "/callCatchUp/%20"] {
            target.get(none, Some(&target.user()?)).fails(status, message)?;
        }
        PASSED
    }

    pub fn two_rooms_are_400(target: &Target) -> Outcome {
        let room = encoded(&target.room);
        for two in
            [format!("/callCatchUp/{room}?roomName=another"), format!("/callCatchUp?roomName={room}&roomName=another")]
        {
            target.get(&two, Some(&target.user()?)).fails_with(400)?;
        }
        PASSED
    }

    pub fn an_unknown_room_is_404(target: &Target) -> Outcome {
        target.get(&format!("/callCatchUp/{}", encoded(NO_ROOM)), Some(&target.user()?)).fails(404, "Not found")?;
        PASSED
    }

    pub fn a_wrong_method_is_404(target: &Target) -> Outcome {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let path = format!("/callCatchUp/{}", encoded(&target.room));
            target.ask(method, &path, Some(&target.user()?), "").fails(404, "Not found")?;
        }
        PASSED
    }

    pub fn a_failure_behind_is_500_and_says_nothing(target: &Target) -> Outcome {
        let Some(room) = &target.failing_room else {
            return Ok(Verdict::Skipped("APP_TEST_FAILING_ROOM names no room that Admin Control fails at"));
        };
        target.get(&format!("/callCatchUp/{}", encoded(room)), Some(&target.user()?)).fails(500, "Internal server error")?;
        PASSED
    }

    pub fn a_hostile_room_name_is_400(target: &Target) -> Outcome {
        for name in [
            "%2e%2e",
            "%2e%2e%2fconfiguration",
            "%252e%252e",
            "a%2fb",
            "a%5cb",
            "%00",
            "a%0d%0ab",
            "%ff",
            "%zz",
            "*",
            "%EF%BC%8A",
            "%EF%BC%8E%EF%BC%8E",
            "a%EF%BC%8Fb",
            "%25EF%25BC%258F",
        ] {
            target.get(&format!("/callCatchUp/{name}"), Some(&target.user()?)).fails_with(400)?;
        }
        PASSED
    }

    pub fn an_odd_room_name_is_one_room(target: &Target) -> Outcome {
        if !target.echoes {
            return Ok(Verdict::Skipped("which rooms exist there is not known"));
        }
        for name in ["a b", "a+b", "a?b", "a#b", "a;b", "100%", "комната", "🎥"] {
            let data = target.get(&format!("/callCatchUp/{}", encoded(name)), Some(&target.user()?)).success()?;
            demand(data == name, || format!("asked for {name:?}, got {data}"))?;
        }
        PASSED
    }
}

pub mod errors {
    use super::*;

    pub fn an_unknown_url_is_404(target: &Target) -> Outcome {
        for unknown in ["/callCatchU", "/nothing", "/callCatchUp/a/b"] {
            target.get(unknown, None).fails(404, "Not found")?;
            target.get(unknown, Some(&target.user()?)).fails(404, "Not found")?;
        }
        PASSED
    }

    pub fn the_method_is_checked_before_the_token(target: &Target) -> Outcome {
        for (method, path) in
            [("DELETE", "/meetings"), ("GET", "/proconfToken"), ("GET", "/auth/login"), ("PUT", "/callConfig")]
        {
            target.ask(method, path, None, "").fails(404, "Not found")?;
        }
        PASSED
    }

    pub fn the_token_is_checked_before_the_input(target: &Target) -> Outcome {
        for path in ["/callCatchUp", "/callCatchUp/%2e%2e", "/callStatus", "/callSummary"] {
            target.get(path, None).fails(401, "Unauthorized")?;
        }
        target.post("/proconfToken", None, &json!({})).fails(401, "Unauthorized")?;
        PASSED
    }

    pub fn every_answer_has_a_request_id(target: &Target) -> Outcome {
        for path in ["/nothing", "/meetings", "/auth/joinmember"] {
            let answer = target.get(path, None).answer?;
            demand(answer.header("x-request-id").is_some(), || format!("{path}: no X-Request-Id"))?;
        }
        PASSED
    }

    pub fn head_is_404_without_a_body(target: &Target) -> Outcome {
        let user = target.user()?;
        for path in ["/meetings", "/callConfig", "/auth/joinmember?roomName=r1"] {
            let answer = target.ask("HEAD", path, Some(&user), "").answer?;
            demand(answer.status == 404 && answer.body.is_empty(), || {
                format!("HEAD {path}: status {}, {} bytes of body", answer.status, answer.body.len())
            })?;
        }
        PASSED
    }

    pub fn a_body_over_the_limit_is_413(target: &Target) -> Outcome {
        let body = json!({"email": "a@b.c", "password": "x".repeat(TOO_LONG)});
        target.post("/auth/login", None, &body).fails(413, "Payload too large")?;
        PASSED
    }
}

pub mod login {
    use super::*;

    pub fn sample_response(target: &Target) -> Outcome {
        let Some((email, password)) = &target.login else {
            return Ok(Verdict::Skipped("APP_TEST_EMAIL and APP_TEST_PASSWORD are not given"));
        };
        let data = target.log_in(email, password).success()?;
        for member in ["token", "refreshToken"] {
            text(&data[member])?;
        }
        for member in ["id", "email", "name"] {
            text(&data["user"][member])?;
        }
        demand(data["tokenType"] == "Bearer" && data["expiresIn"].is_u64(), || {
            format!("not the documented members: {data}")
        })?;
        PASSED
    }

    pub fn wrong_credentials_are_401(target: &Target) -> Outcome {
        target
            .log_in(&format!("nobody-{}@example.com", std::process::id()), "a wrong password")
            .fails(401, "Unauthorized")?;
        PASSED
    }

    pub fn malformed_input_is_400(target: &Target) -> Outcome {
        for (body, field) in [
            (json!({"password": "x"}), "email"),
            (json!({"email": "a@b.c"}), "password"),
            (json!({"email": 1, "password": "x"}), "email"),
        ] {
            let message = target.post("/auth/login", None, &body).fails_with(400)?;
            demand(message.contains(field), || format!("{message:?} does not name {field}"))?;
        }
        target.ask("POST", "/auth/login", None, "{").fails_with(400)?;
        PASSED
    }
}

pub mod refresh {
    use super::*;

    fn session(target: &Target) -> Result<Option<Value>, String> {
        target.login.as_ref().map(|(email, password)| target.log_in(email, password).success()).transpose()
    }

    pub fn a_refresh_token_is_exchanged(target: &Target) -> Outcome {
        let Some(first) = session(target)? else {
            return Ok(Verdict::Skipped("APP_TEST_EMAIL and APP_TEST_PASSWORD are not given"));
        };
        let ask = || target.post("/auth/refresh", None, &json!({"refreshToken": first["refreshToken"]}));
        let second = ask().success()?;
        demand(second["refreshToken"] != first["refreshToken"], || "the refresh token is the old one".to_owned())?;
        let again = ask().success()?;
        demand(again["refreshToken"] == second["refreshToken"], || "a lost answer is not given again".to_owned())?;
        target.get("/callConfig", Some(text(&second["token"])?)).success()?;
        PASSED
    }

    pub fn a_spent_refresh_token_ends_the_session(target: &Target) -> Outcome {
        if target.login.is_none() {
            return Ok(Verdict::Skipped("APP_TEST_EMAIL and APP_TEST_PASSWORD are not given"));
        }
        let Some(patient) = target.patient() else {
            return Ok(Verdict::Skipped("APP_TEST_PATIENCE is shorter than 31s"));
        };
        let target = &patient.target;
        let Some(first) = session(target)? else {
            return Err("there was a login a moment ago".to_owned());
        };
        let ask = |token: &Value| target.post("/auth/refresh", None, &json!({"refreshToken": token}));
        let second = ask(&first["refreshToken"]).success()?;
        (patient.wait)();
        ask(&first["refreshToken"]).fails(401, "Unauthorized")?;
        ask(&second["refreshToken"]).fails(401, "Unauthorized").map_err(|seen| format!("its successor lives on: {seen}"))?;
        target.get("/callConfig", Some(text(&second["token"])?)).fails(401, "Unauthorized")?;
        PASSED
    }

    pub fn a_logged_out_session_is_over(target: &Target) -> Outcome {
        let Some(session) = session(target)? else {
            return Ok(Verdict::Skipped("APP_TEST_EMAIL and APP_TEST_PASSWORD are not given"));
        };
        let body = json!({"refreshToken": session["refreshToken"]});
        for _ in 0..2 {
            let data = target.post("/auth/logout", None, &body).success()?;
            demand(data.is_null(), || format!("{data} and not null"))?;
        }
        target.post("/auth/refresh", None, &body).fails(401, "Unauthorized")?;
        // Other replicas have two seconds.
        let started = std::time::Instant::now();
        loop {
            let rejected = target.get("/callConfig", Some(text(&session["token"])?)).fails(401, "Unauthorized");
            if rejected.is_ok() || started.elapsed().as_secs() >= 2 {
                rejected.map_err(|seen| format!("after two seconds its user token is not rejected: {seen}"))?;
                break;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
        PASSED
    }

    pub fn an_access_token_is_no_refresh_token(target: &Target) -> Outcome {
        target.post("/auth/refresh", None, &json!({"refreshToken": target.user()?})).fails(401, "Unauthorized")?;
        PASSED
    }
}

pub mod join_member {
    use super::*;

    pub fn a_guest_sees_its_own_room(target: &Target) -> Outcome {
        let Some(guest) = target.guest(&target.room)? else {
            return Ok(Verdict::Skipped(NO_GUESTS));
        };
        target.get(&format!("/callCatchUp/{}", encoded(&target.room)), Some(&guest)).success()?;
        target.get(&format!("/callStatus?roomName={}", encoded(&target.room)), Some(&guest)).success()?;
        PASSED
    }

    pub fn a_guest_sees_no_other_room(target: &Target) -> Outcome {
        let Some(guest) = target.guest("another room")? else {
            return Ok(Verdict::Skipped(NO_GUESTS));
        };
        for route in ["callCatchUp", "callStatus", "callSummary"] {
            for path in
                [format!("/{route}/{}", encoded(&target.room)), format!("/{route}?roomName={}", encoded(&target.room))]
            {
                target.get(&path, Some(&guest)).fails(403, "Forbidden")?;
            }
        }
        PASSED
    }

    pub fn no_room_is_400(target: &Target) -> Outcome {
        let (status, message) = room_required();
        target.get("/auth/joinmember", None).fails(status, message)?;
        PASSED
    }

    /// In a ProCONF token, the room `*` means every room.
    pub fn a_name_that_means_every_room_is_400(target: &Target) -> Outcome {
        for name in ["*", "%2A", "%252A", "%EF%BC%8A"] {
            target.get(&format!("/auth/joinmember?roomName={name}"), None).fails_with(400)?;
        }
        PASSED
    }
}

pub mod proconf_token {
    use super::*;

    fn body(role: &str, room: &str) -> Value {
        json!({"role": role, "room": room, "participantName": "Conformance"})
    }

    pub fn sample_response(target: &Target) -> Outcome {
        let data = target.post("/proconfToken", Some(&target.user()?), &body("member", &target.room)).success()?;
        text(&data)?;
        PASSED
    }

    pub fn a_guest_is_no_owner(target: &Target) -> Outcome {
        let Some(guest) = target.guest(&target.room)? else {
            return Ok(Verdict::Skipped(NO_GUESTS));
        };
        target.post("/proconfToken", Some(&guest), &body("owner", &target.room)).fails(403, "Forbidden")?;
        target.post("/proconfToken", Some(&guest), &body("member", "another room")).fails(403, "Forbidden")?;
        PASSED
    }

    pub fn malformed_input_is_400(target: &Target) -> Outcome {
        for field in ["role", "room", "participantName"] {
            let mut body = body("member", &target.room);
            body.as_object_mut().ok_or("an object")?.remove(field);
            target.post("/proconfToken", Some(&target.user()?), &body).fails_with(400)?;
        }
        PASSED
    }
}

pub mod call_config {
    use super::*;

    pub fn sample_response(target: &Target) -> Outcome {
        let data = target.get("/callConfig", Some(&target.user()?)).success()?;
        demand(data["features"].is_object(), || format!("no features: {data}"))?;
        PASSED
    }
}

pub mod call_status {
    use super::*;

    fn is_documented(data: &Value) -> Outcome {
        let booleans = ["transcript_status", "recording_status"].iter().all(|member| data[member].is_boolean());
        demand(booleans, || format!("not the documented members: {data}"))?;
        PASSED
    }

    pub fn sample_response(target: &Target) -> Outcome {
        is_documented(
            &target.get(&format!("/callStatus?roomName={}", encoded(&target.room)), Some(&target.user()?)).success()?,
        )
    }

    pub fn room_in_the_path(target: &Target) -> Outcome {
        is_documented(&target.get(&format!("/callStatus/{}", encoded(&target.room)), Some(&target.user()?)).success()?)
    }

    pub fn no_room_is_400(target: &Target) -> Outcome {
        let (status, message) = room_required();
        target.get("/callStatus", Some(&target.user()?)).fails(status, message)?;
        PASSED
    }
}

pub mod call_summary {
    use super::*;

    pub fn sample_response(target: &Target) -> Outcome {
        let Some(room) = &target.summary_room else {
            return Ok(Verdict::Skipped("APP_TEST_SUMMARY_ROOM names no room with a summary"));
        };
        let data = target.get(&format!("/callSummary/{}", encoded(room)), Some(&target.user()?)).success()?;
        text(&data)?;
        PASSED
    }
}

pub mod meetings {
    use super::*;

    pub fn sample_response(target: &Target) -> Outcome {
        let data = target.get("/meetings", Some(&target.user()?)).success()?;
        demand(data.is_array(), || format!("no array: {data}"))?;
        PASSED
    }

    pub fn a_guest_is_403(target: &Target) -> Outcome {
        let Some(guest) = target.guest(&target.room)? else {
            return Ok(Verdict::Skipped(NO_GUESTS));
        };
        target.get("/meetings", Some(&guest)).fails(403, "Forbidden")?;
        PASSED
    }
}
