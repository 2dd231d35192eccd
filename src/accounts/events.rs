//! What happens to accounts, in the log and in numbers: each event once, with the request, the address and the account behind it,
//! and never with what was typed.

use super::{Error, LoggedIn};
use crate::asker::Asker;
use crate::db::Session;
use crate::metrics::{Counter, Registry};

const LOGINS: &str = "proconf_logins_total";
const LOGINS_HELP: &str = "Logins, by outcome.";
const REFRESHES: &str = "proconf_refreshes_total";
const REFRESHES_HELP: &str =
    "Refresh tokens that were handed in, by outcome (reused: spent before, its session is revoked).";

/// How logins and refreshes ended. Clones count together; the default counts nothing.
#[derive(Clone)]
pub struct Counted {
    logins: [Counter; 5],
    refreshes: [Counter; 4],
}

impl Counted {
    /// In `registry`.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let login = |outcome| registry.counter(LOGINS, LOGINS_HELP, &[("outcome", outcome)]);
        let refresh = |outcome| registry.counter(REFRESHES, REFRESHES_HELP, &[("outcome", outcome)]);
        Self {
            logins: ["ok", "failed", "throttled", "overloaded", "error"].map(login),
            refreshes: ["ok", "refused", "reused", "error"].map(refresh),
        }
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self { logins: std::array::from_fn(|_| Counter::noop()), refreshes: std::array::from_fn(|_| Counter::noop()) }
    }
}

pub(super) fn login(login: &Result<LoggedIn, Error>, user: Option<&str>, asker: &Asker, counted: &Counted) {
    let (client, request_id) = (asker.client(), asker.request_id());
    let [ok, failed, throttled, overloaded, error] = &counted.logins;
    let ended = match login {
        Ok(_) => {
            log::info!(event = "login", client:%, user, request_id; "somebody signed in");
            ok
        }
        Err(Error::WrongCredentials) => {
            log::info!(event = "login-failed", client:%, user, request_id; "login failed");
            failed
        }
        Err(Error::Throttled(_)) => {
            log::warn!(event = "login-limited", client:%, user, request_id; "a limit on failed logins is reached");
            throttled
        }
        Err(Error::Overloaded) => overloaded,
        Err(_) => error,
    };
    ended.increment(1);
}

pub(super) fn refresh(refreshed: &Result<LoggedIn, Error>, counted: &Counted) {
    let [ok, refused, _reused, error] = &counted.refreshes;
    let ended = match refreshed {
        Ok(_) => ok,
        Err(Error::WrongCredentials) => refused,
        Err(_) => error,
    };
    ended.increment(1);
}

/// A refresh token that is no session's, or no longer: the account is not known then.
pub(super) fn refresh_refused(asker: &Asker) {
    log::info!(
        event = "token-refused",
        reason = "no refresh token in force",
        client:% = asker.client(),
        request_id = asker.request_id();
        "a refresh token was refused"
    );
}

/// Counted here over and above the refusal that it is too.
pub(super) fn reused(session: &Session, asker: &Asker, counted: &Counted) {
    let [_, _, reused, _] = &counted.refreshes;
    reused.increment(1);
    log::warn!(
        event = "refresh-reused",
        client:% = asker.client(),
        user = session.user_id.as_str(),
        session = session.id.as_str(),
        request_id = asker.request_id();
        "a spent refresh token was used; its session is revoked"
    );
}

pub(super) fn logout(user: &str, asker: &Asker) {
    log::info!(event = "logout", client:% = asker.client(), user, request_id = asker.request_id(); "somebody signed out");
}
