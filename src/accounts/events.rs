//! Security events of accounts, in the log and in the metrics. Each has the request, the address and the account, and never what
//! was typed.

use super::{Error, Session};
use crate::asker::Asker;
use crate::db::SessionRecord;
use crate::metrics::{Counter, Registry};

const LOGINS: &str = "proconf_logins_total";
const LOGINS_HELP: &str = "Logins, by outcome.";
const REFRESHES: &str = "proconf_refreshes_total";
const REFRESHES_HELP: &str =
    "Refresh tokens that were handed in, by outcome (reused: spent before, its session is revoked).";

/// Counts how logins and refreshes ended. Clones count together.
#[derive(Clone)]
pub struct AccountMetrics {
    logins: LoginCounters,
    refreshes: RefreshCounters,
}

#[derive(Clone)]
struct LoginCounters {
    ok: Counter,
    failed: Counter,
    throttled: Counter,
    overloaded: Counter,
    error: Counter,
}

#[derive(Clone)]
struct RefreshCounters {
    ok: Counter,
    refused: Counter,
    reused: Counter,
    error: Counter,
}

impl AccountMetrics {
    /// Registers the counters in `registry`.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self::with(|name, help, outcome| registry.counter(name, help, &[("outcome", outcome)]))
    }

    /// Returns counters that count nothing.
    pub(super) fn noop() -> Self {
        Self::with(|_, _, _| Counter::noop())
    }

    fn with(counter: impl Fn(&'static str, &'static str, &'static str) -> Counter) -> Self {
        let login = |outcome| counter(LOGINS, LOGINS_HELP, outcome);
        let refresh = |outcome| counter(REFRESHES, REFRESHES_HELP, outcome);
        Self {
            logins: LoginCounters {
                ok: login("ok"),
                failed: login("failed"),
                throttled: login("throttled"),
                overloaded: login("overloaded"),
                error: login("error"),
            },
            refreshes: RefreshCounters {
                ok: refresh("ok"),
                refused: refresh("refused"),
                reused: refresh("reused"),
                error: refresh("error"),
            },
        }
    }
}

pub(super) fn login(login: &Result<Session, Error>, user: Option<&str>, asker: &Asker, metrics: &AccountMetrics) {
    let (client, request_id) = (asker.client(), asker.request_id());
    let logins = &metrics.logins;
    let counter = match login {
        Ok(_) => {
            log::info!(event = "login", client:%, user, request_id; "login succeeded");
            &logins.ok
        }
        Err(Error::WrongCredentials) => {
            log::info!(event = "login-failed", client:%, user, request_id; "login failed");
            &logins.failed
        }
        Err(Error::Throttled(_)) => {
            log::warn!(event = "login-limited", client:%, user, request_id; "login throttled: too many failures");
            &logins.throttled
        }
        Err(Error::Overloaded) => &logins.overloaded,
        Err(_) => &logins.error,
    };
    counter.increment(1);
}

pub(super) fn refresh(refreshed: &Result<Session, Error>, metrics: &AccountMetrics) {
    let counter = match refreshed {
        Ok(_) => &metrics.refreshes.ok,
        Err(Error::WrongCredentials) => &metrics.refreshes.refused,
        Err(_) => &metrics.refreshes.error,
    };
    counter.increment(1);
}

/// Logs a refresh token without a session. The account is not known.
pub(super) fn refresh_refused(asker: &Asker) {
    log::info!(
        event = "token-refused",
        reason = "no refresh token in force",
        client:% = asker.client(),
        request_id = asker.request_id();
        "refresh token rejected"
    );
}

/// Logs and counts a reused token. It is counted as refused too.
pub(super) fn reused(session: &SessionRecord, asker: &Asker, metrics: &AccountMetrics) {
    metrics.refreshes.reused.increment(1);
    log::warn!(
        event = "refresh-reused",
        client:% = asker.client(),
        user = session.user_id.as_str(),
        session = session.id.as_str(),
        request_id = asker.request_id();
        "refresh token reused; session revoked"
    );
}

pub(super) fn logout(user: &str, asker: &Asker) {
    log::info!(event = "logout", client:% = asker.client(), user, request_id = asker.request_id(); "logout");
}
