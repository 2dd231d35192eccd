//! Authenticates requests by token or stream ticket, on the routes whose row asks for it.

use std::future::{Ready, ready};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest, web};

use crate::accounts::Accounts;
use crate::auth::principal::{Principal, TokenScope};
use crate::auth::revoked_sessions::RevokedSessions;
use crate::auth::token::Tokens;
use crate::middleware::request_log::RequestLog;
use crate::response::ApiError;

/// Rejects with 401, or calls the inner services with a [`Principal`] in the request.
///
/// # Errors
///
/// [`ApiError::Unauthorized`], and those of the inner services.
pub async fn authenticate<B: MessageBody>(
    tokens: web::Data<Tokens>,
    revoked_sessions: web::Data<RevokedSessions>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    // A missing token is not logged as a rejected one.
    let token = bearer_token(request.headers()).ok_or(ApiError::Unauthorized)?;
    let (caller, admitted) = tokens.verify_token(token).map_err(|_| rejected(request.request(), "not valid"))?;
    admit(&request, &revoked_sessions, caller, admitted)?;
    next.call(request).await
}

/// Authenticates by a token, or by a ticket in the query. Both at once are rejected.
///
/// The ticket is not redeemed here: [`redeem_ticket`] does that once room and permission have been checked.
///
/// # Errors
///
/// As [`authenticate`].
pub async fn authenticate_stream<B: MessageBody>(
    tokens: web::Data<Tokens>,
    revoked_sessions: web::Data<RevokedSessions>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let Some(ticket) = ticket(request.query_string()) else {
        return authenticate(tokens, revoked_sessions, request, next).await;
    };
    if request.headers().contains_key(AUTHORIZATION) {
        return Err(ApiError::Unauthorized.into());
    }
    let (caller, admitted) = tokens.verify_stream_ticket(ticket).map_err(|_| rejected(request.request(), "not valid"))?;
    admit(&request, &revoked_sessions, caller, admitted)?;
    next.call(request).await
}

/// Redeems the ticket of the request, if it has one.
///
/// To be called last: a rejected request must leave no row in the database.
///
/// # Errors
///
/// [`ApiError::Unauthorized`] if it was used before, here or on another replica, and those of the database.
pub async fn redeem_ticket(request: &HttpRequest, accounts: &Accounts, admitted: &TokenScope) -> Result<(), ApiError> {
    match &admitted.ticket {
        Some(ticket) if !accounts.redeem_ticket(ticket).await? => Err(rejected(request, "used before")),
        _ => Ok(()),
    }
}

/// Puts the caller into the request, unless its session is revoked.
fn admit(
    request: &ServiceRequest,
    revoked_sessions: &RevokedSessions,
    caller: Principal,
    admitted: TokenScope,
) -> Result<(), ApiError> {
    if let Some(log) = RequestLog::of(request.request()) {
        log.set_caller(&caller);
    }
    if caller.session().is_some_and(|session| revoked_sessions.contains(session)) {
        return Err(rejected(request.request(), "revoked"));
    }
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(admitted);
    Ok(())
}

/// Records why a token is rejected, and returns the 401.
fn rejected(request: &HttpRequest, reason: &'static str) -> ApiError {
    if let Some(log) = RequestLog::of(request) {
        log.set_rejection(reason);
    }
    ApiError::Unauthorized
}

/// Returns the ticket in the query. Two tickets are no valid one, as with tokens.
fn ticket(query: &str) -> Option<&str> {
    let query = query.strip_prefix("ticket=").or_else(|| query.split_once("&ticket=").map(|(_, rest)| rest))?;
    if query.contains("&ticket=") { Some("") } else { query.split('&').next() }
}

/// Rejects guests with 403. Goes inside [`authenticate`].
///
/// # Errors
///
/// [`ApiError::Forbidden`], and those of the inner services.
pub async fn users_only<B: MessageBody>(
    caller: Principal,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    match caller {
        Principal::User { .. } => next.call(request).await,
        Principal::Guest { .. } => Err(ApiError::Forbidden.into()),
    }
}

/// Returns the token of the only `Authorization: Bearer <token>` header (RFC 9110 section 11.4).
///
/// Two such headers are rejected, because another reader might believe the other one.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION);
    let (only, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, rest) = str::from_utf8(only.as_bytes()).ok()?.trim_matches([' ', '\t']).split_once(' ')?;
    let token = rest.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl FromRequest for Principal {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Without a caller only if the row does not ask for one; such a route must stay closed.
        ready(request.extensions().get::<Self>().cloned().ok_or(ApiError::Unauthorized))
    }
}

impl FromRequest for TokenScope {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // As above.
        ready(request.extensions().get::<Self>().cloned().ok_or(ApiError::Unauthorized))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn token_of(values: &[&[u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        bearer_token(&headers).map(str::to_owned)
    }

    #[test]
    fn bearer_header_in_any_case_with_any_spaces_is_read() {
        for value in ["Bearer t", "bearer t", "BEARER t", "bEaReR     t", "  Bearer t \t"] {
            assert_eq!(token_of(&[value.as_bytes()]).as_deref(), Some("t"), "{value}");
        }
    }

    #[test]
    fn ticket_anywhere_in_the_query_is_read() {
        for (query, found) in [
            ("", None),
            ("ticketx=a", None),
            ("xticket=a", None),
            ("ticket=a", Some("a")),
            ("ticket=a&b=c", Some("a")),
            ("b=c&ticket=a", Some("a")),
            ("b=c&ticket=a&d=e", Some("a")),
            ("ticket=a&ticket=b", Some("")),
            ("b=c&ticket=a&ticket=b", Some("")),
        ] {
            assert_eq!(ticket(query), found, "{query}");
        }
    }

    #[test]
    fn malformed_or_repeated_header_is_no_token() {
        for value in ["", "Bearer", "Bearer ", "Bearer:t", "Bearert", "t", "Basic t", "Bearer\tt"] {
            assert_eq!(token_of(&[value.as_bytes()]), None, "{value}");
        }
        assert_eq!(token_of(&[]), None);
        assert_eq!(token_of(&[b"Bearer t", b"Bearer t"]), None);
        assert_eq!(token_of(&[b"Bearer \xff"]), None);
    }
}
