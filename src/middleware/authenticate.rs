//! Lets nobody past without a valid token, and leaves a [`Caller`] for the handler. On the routes whose row asks for one.

use std::future::{Ready, ready};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest, web};

use crate::accounts::{Accounts, Revocations};
use crate::caller::{Admitted, Caller};
use crate::jwt::Tokens;
use crate::middleware::request_log::RequestLog;
use crate::responders::ApiError;

/// Rejects with 401, or calls on with a [`Caller`] in the request.
///
/// # Errors
///
/// [`ApiError::Unauthorized`], and those of the inner services.
pub async fn authenticate<B: MessageBody>(
    tokens: web::Data<Tokens>,
    revocations: web::Data<Revocations>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    // No token is no token refused.
    let token = bearer_token(request.headers()).ok_or(ApiError::Unauthorized)?;
    let (caller, admitted) = tokens.admit(token).map_err(|_| refused(request.request(), "not valid"))?;
    let_in(&request, &revocations, caller, admitted)?;
    next.call(request).await
}

/// The same, where a ticket in the query may stand in for the token. Both at once are rejected.
///
/// The ticket is not used up here: [`redeem_ticket`] does that once room and permission have been checked.
///
/// # Errors
///
/// As [`authenticate`].
pub async fn authenticate_stream<B: MessageBody>(
    tokens: web::Data<Tokens>,
    revocations: web::Data<Revocations>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let Some(ticket) = ticket(request.query_string()) else {
        return authenticate(tokens, revocations, request, next).await;
    };
    if request.headers().contains_key(AUTHORIZATION) {
        return Err(ApiError::Unauthorized.into());
    }
    let (caller, admitted) = tokens.admit_by_ticket(ticket).map_err(|_| refused(request.request(), "not valid"))?;
    let_in(&request, &revocations, caller, admitted)?;
    next.call(request).await
}

/// Uses up the ticket that the request came with, if there is one.
///
/// To be called last: a request that is refused must leave no row in the database.
///
/// # Errors
///
/// [`ApiError::Unauthorized`] if it was used before, here or on another replica, and those of the database.
pub async fn redeem_ticket(request: &HttpRequest, accounts: &Accounts, admitted: &Admitted) -> Result<(), ApiError> {
    match &admitted.ticket {
        Some(ticket) if !accounts.redeem_ticket(ticket).await? => Err(refused(request, "used before")),
        _ => Ok(()),
    }
}

/// Leaves the caller for the handler, unless its session was revoked.
fn let_in(request: &ServiceRequest, revocations: &Revocations, caller: Caller, admitted: Admitted) -> Result<(), ApiError> {
    if let Some(log) = RequestLog::of(request.request()) {
        log.set_caller(&caller);
    }
    if caller.session().is_some_and(|session| revocations.contain(session)) {
        return Err(refused(request.request(), "revoked"));
    }
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(admitted);
    Ok(())
}

/// Records why a token is rejected, and returns the 401.
fn refused(request: &HttpRequest, reason: &'static str) -> ApiError {
    if let Some(log) = RequestLog::of(request) {
        log.set_rejection(reason);
    }
    ApiError::Unauthorized
}

/// The ticket in the query. A second one makes both worthless, as with a token: a text with another one in it is none.
fn ticket(query: &str) -> Option<&str> {
    let query = query.strip_prefix("ticket=").or_else(|| query.split_once("&ticket=").map(|(_, rest)| rest))?;
    if query.contains("&ticket=") { Some("") } else { query.split('&').next() }
}

/// Lets users past and turns guests away with 403. Goes inside [`authenticate`].
///
/// # Errors
///
/// [`ApiError::Forbidden`], and those of the inner services.
pub async fn users_only<B: MessageBody>(
    caller: Caller,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    match caller {
        Caller::User { .. } => next.call(request).await,
        Caller::Guest { .. } => Err(ApiError::Forbidden.into()),
    }
}

/// The token of the one `Authorization: Bearer <token>`: the scheme in any case, one or more spaces (RFC 9110 section 11.4).
/// Two such headers are refused, because the next reader might believe the other one.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION);
    let (only, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, rest) = str::from_utf8(only.as_bytes()).ok()?.trim_matches([' ', '\t']).split_once(' ')?;
    let token = rest.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Only a row that forgot to ask for a caller gets here without one; such a route must stay shut.
        ready(request.extensions().get::<Self>().cloned().ok_or(ApiError::Unauthorized))
    }
}

impl FromRequest for Admitted {
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
    fn one_bearer_header_in_any_case_with_any_number_of_spaces() {
        for value in ["Bearer t", "bearer t", "BEARER t", "bEaReR     t", "  Bearer t \t"] {
            assert_eq!(token_of(&[value.as_bytes()]).as_deref(), Some("t"), "{value}");
        }
    }

    #[test]
    fn one_ticket_anywhere_in_the_query() {
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
    fn anything_else_is_no_token() {
        for value in ["", "Bearer", "Bearer ", "Bearer:t", "Bearert", "t", "Basic t", "Bearer\tt"] {
            assert_eq!(token_of(&[value.as_bytes()]), None, "{value}");
        }
        assert_eq!(token_of(&[]), None);
        assert_eq!(token_of(&[b"Bearer t", b"Bearer t"]), None);
        assert_eq!(token_of(&[b"Bearer \xff"]), None);
    }
}
