//! The deployment under test, and what the suite may use of it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::case::{Failure, Outcome, check, not_tried};
use super::client::{Client, Request};
use super::options::TargetConfig;
use super::response::{encode, member, string};

/// A room in which no call took place.
pub(super) const UNKNOWN_ROOM: &str = "conformance unknown room";
/// Why a case is not tried where claims or a webhook decide which rooms a user may enter.
pub(super) const FORBIDDEN_ROOM: &str = "the user may not enter the rooms of the suite";
/// The interval between tries of something that takes effect later.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A deployment under test.
pub struct Target {
    pub(super) config: TargetConfig,
    pub(super) client: Client,
    user_token: Option<String>,
    has_password_login: bool,
    /// The refresh tokens of the sessions that the suite has opened.
    sessions: Mutex<Vec<String>>,
}

impl Target {
    /// Checks that the deployment responds and accepts the credentials.
    ///
    /// # Errors
    ///
    /// A sentence that says why no case can be run.
    pub fn connect(config: TargetConfig) -> Result<Self, String> {
        let client = Client::new(&config.url).map_err(|reason| format!("the URL {reason}"))?;
        let given = [&config.token, &config.expired_token].into_iter().flatten();
        given.chain(config.login.as_ref().map(|(_, password)| password)).for_each(|secret| client.secrets.add_given(secret));
        let (user_token, sessions) = (config.token.clone(), Mutex::default());
        let mut target = Self { config, client, user_token, has_password_login: true, sessions };
        target.sign_in().map_err(|failure| match failure {
            Failure::Violation(message) | Failure::NotTried(message) => target.client.secrets.redact(&message),
        })?;
        Ok(target)
    }

    fn sign_in(&mut self) -> Result<(), Failure> {
        // Any response will do: a deployment may lack every route.
        self.get("/callConfig").send()?;
        let response = self.post("/auth/login", &json!({})).send()?;
        self.has_password_login = response.header("X-Not-Found") != Some("unknown-route");
        if let Some((_, password)) = &self.config.login {
            check(!password.is_empty(), || "the password is empty".to_owned())?;
            let session = self.log_in()?;
            self.user_token = Some(string(member(&session, "token")?)?.to_owned());
        } else if let Some(token) = &self.user_token {
            let response = self.get("/callConfig").token(token).send()?;
            check(response.status != 401, || "the deployment rejects the token with 401".to_owned())?;
        }
        Ok(())
    }

    pub(super) fn get(&self, target: &str) -> Request<'_> {
        self.client.request("GET", target)
    }

    /// Begins a `GET` with the user's token.
    pub(super) fn get_as_user(&self, target: &str) -> Result<Request<'_>, Failure> {
        Ok(self.get(target).token(&self.user_token()?))
    }

    /// Begins a `POST` with a JSON body.
    pub(super) fn post(&self, target: &str, body: &Value) -> Request<'_> {
        self.client.request("POST", target).json(body)
    }

    /// Returns a user token.
    pub(super) fn user_token(&self) -> Result<String, Failure> {
        self.user_token.clone().ok_or_else(|| not_tried("no user is given (--email or --token)"))
    }

    /// Returns a token for a guest of `room`.
    pub(super) fn guest_token(&self, room: &str) -> Result<String, Failure> {
        let response = self.get(&format!("/auth/joinmember?roomName={}", encode(room))).send()?;
        let response = response.permitted("the deployment issues no guest tokens")?;
        Ok(string(&response.success()?)?.to_owned())
    }

    /// Returns the name of the room that exists.
    pub(super) fn room_name(&self) -> Result<&str, Failure> {
        self.config.room.as_deref().ok_or_else(|| not_tried("no room is given (--room)"))
    }

    /// Returns it percent-encoded.
    pub(super) fn room(&self) -> Result<String, Failure> {
        self.room_name().map(encode)
    }

    /// Returns the percent-encoded room that exists, or any other one.
    pub(super) fn any_room(&self) -> String {
        self.room().unwrap_or_else(|_| encode(UNKNOWN_ROOM))
    }

    /// Begins a login, where there are logins with a password.
    pub(super) fn login_request(&self) -> Result<Request<'_>, Failure> {
        let request = self.client.request("POST", "/auth/login");
        if self.has_password_login { Ok(request) } else { Err(not_tried("the deployment has no password login")) }
    }

    /// Opens a session of its own with the login.
    pub(super) fn log_in(&self) -> Result<Value, Failure> {
        let (email, password) = self.config.login.as_ref().ok_or_else(|| not_tried("no login is given (--email)"))?;
        let session = self.login_request()?.json(&json!({"email": email, "password": password})).success()?;
        if let Some(refresh_token) = session.get("refreshToken").and_then(Value::as_str) {
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(refresh_token.to_owned());
        }
        Ok(session)
    }

    /// Begins the exchange of a refresh token.
    pub(super) fn refresh(&self, refresh_token: &Value) -> Request<'_> {
        self.post("/auth/refresh", &json!({"refreshToken": refresh_token}))
    }

    /// Logs out of all sessions that the suite has opened.
    pub(super) fn end_sessions(&self) {
        for refresh_token in self.sessions.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A session that can't be ended expires.
            let _ = self.post("/auth/logout", &json!({"refreshToken": refresh_token})).send();
        }
    }

    /// Tests with a reply of the sandbox for one room, and restores the sandbox's own one.
    pub(super) fn with_reply(&self, endpoint: &str, room: &str, reply: &str, test: impl FnOnce() -> Outcome) -> Outcome {
        self.user_token()?;
        self.change_sandbox("PUT", endpoint, room, reply)?;
        let status = self.get_as_user(&format!("/callStatus/{}", encode(room)))?.send();
        let outcome = status.and_then(|status| status.permitted(FORBIDDEN_ROOM)).and_then(|_| test());
        self.change_sandbox("DELETE", endpoint, room, "")?;
        outcome
    }

    fn change_sandbox(&self, method: &'static str, endpoint: &str, room: &str, body: &str) -> Outcome {
        let sandbox = self.config.sandbox.as_deref().ok_or_else(|| not_tried("no sandbox is given (--sandbox)"))?;
        let url = format!("{}/replies/{endpoint}/{}", sandbox.trim_end_matches('/'), encode(room));
        self.client.request_url(method, url).body("application/json", body).send()?.assert_status(200)
    }

    /// Repeats `attempt` until it succeeds, for at most `limit`.
    pub(super) fn retry_for<T>(limit: Duration, attempt: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
        let started = Instant::now();
        loop {
            match attempt() {
                Err(Failure::Violation(_)) if started.elapsed() < limit => std::thread::sleep(POLL_INTERVAL),
                outcome => return outcome,
            }
        }
    }
}
