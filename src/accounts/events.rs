//! Logs and counts the security events of accounts. Events name request, address and account, never credentials.

use super::{Error, Session};
use crate::auth::principal::Principal;
use crate::db::SessionRecord;
use crate::request_context::RequestContext;
use crate::telemetry::logging::AUDIT;
use crate::telemetry::metrics::{CounterVec, LOGINS, Registry, TOKEN_REFRESHES};

/// Counts logins and refreshes by outcome. Clones share the counters; the default counts nothing.
#[derive(Clone, Default)]
pub(crate) struct AccountMetrics {
    logins: CounterVec,
    refreshes: CounterVec,
}

impl AccountMetrics {
    /// Registers the counters in `registry`.
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            logins: registry.register_all(&LOGINS, &[], &["ok", "failed", "throttled", "overloaded", "error"]),
            refreshes: registry.register_all(&TOKEN_REFRESHES, &[], &["ok", "rejected", "reused", "error"]),
        }
    }
}

pub(super) fn login(
    result: &Result<Session, Error>,
    user: Option<&str>,
    context: &RequestContext,
    metrics: &AccountMetrics,
) {
    let (client, request_id) = (context.client(), context.request_id());
    let outcome = match result {
        Ok(_) => {
            log::info!(target: AUDIT, event = "login", client:%, user, request_id; "login succeeded");
            "ok"
        }
        Err(Error::WrongCredentials) => {
            log::info!(target: AUDIT, event = "login-failed", client:%, user, request_id; "login failed");
            "failed"
        }
        Err(Error::Throttled(_)) => {
            log::warn!(target: AUDIT, event = "login-limited", client:%, user, request_id; "login throttled: too many failures");
            "throttled"
        }
        Err(Error::Overloaded) => "overloaded",
        Err(_) => "error",
    };
    metrics.logins.increment(outcome);
}

pub(super) fn refresh(result: &Result<Session, Error>, metrics: &AccountMetrics) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(Error::WrongCredentials) => "rejected",
        Err(_) => "error",
    };
    metrics.refreshes.increment(outcome);
}

/// Logs a rejected refresh token, whose account is unknown; returns the error for the client.
pub(super) fn refresh_rejected(context: &RequestContext) -> Error {
    log::info!(
        target: AUDIT,
        event = "token-rejected",
        reason = "refresh token not valid",
        client:% = context.client(),
        request_id = context.request_id();
        "refresh token rejected"
    );
    Error::WrongCredentials
}

/// Logs a reused stream ticket; returns the error for the client.
pub(super) fn ticket_rejected(principal: &Principal, context: &RequestContext) -> Error {
    let (client, (user, guest), request_id) = (context.client(), principal.ids(), context.request_id());
    let (reason, issuer) = ("used before", principal.issuer());
    log::info!(target: AUDIT, event = "token-rejected", reason, client:%, user, issuer, guest, request_id; "token rejected");
    Error::TicketReused
}

/// Logs and counts a reused token, which is also counted as rejected.
pub(super) fn refresh_token_reused(session: &SessionRecord, context: &RequestContext, metrics: &AccountMetrics) {
    metrics.refreshes.increment("reused");
    log::warn!(
        target: AUDIT,
        event = "refresh-reused",
        client:% = context.client(),
        user = session.user_id.as_str(),
        session = session.id.as_str(),
        request_id = context.request_id();
        "refresh token reused; session revoked"
    );
}

pub(super) fn logout(user: &str, context: &RequestContext) {
    log::info!(target: AUDIT, event = "logout", client:% = context.client(), user, request_id = context.request_id(); "logout");
}
