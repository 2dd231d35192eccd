//! Authenticates requests by token, stream ticket or API key, on the routes whose row requires it.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};

use crate::auth::api_key::{self, ApiKeys};
use crate::auth::principal::{Principal, TokenScope};
use crate::auth::revoked_sessions::RevokedSessions;
use crate::auth::token::Tokens;
use crate::middleware::request_log::RequestLog;
use crate::response::ApiError;

/// Rejects with 401, or calls the inner services with [`Principal`] and [`TokenScope`] as request data.
///
/// API keys are authenticated on every route. The check of the permission, after that of the input, keeps each to its scope.
pub(crate) async fn authenticate<B: MessageBody>(
    tokens: web::Data<Tokens>,
    revoked_sessions: web::Data<RevokedSessions>,
    api_keys: web::Data<ApiKeys>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    // A missing token is not logged as a rejected one.
    let Some(token) = bearer_token(request.headers()) else {
        let is_malformed = request.headers().get_all(AUTHORIZATION).any(is_bearer);
        return Err(if is_malformed { ApiError::InvalidToken } else { ApiError::Unauthorized }.into());
    };
    let verified = if token.starts_with(api_key::PREFIX) {
        Box::pin(api_keys.verify(token)).await.map_err(ApiError::from)?.ok_or("api-key")
    } else {
        tokens.verify_token(token).map_err(<&str>::from)
    };
    admit(&request, &revoked_sessions, verified)?;
    next.call(request).await
}

/// Authenticates by a token or by a ticket in the query. Both at once are rejected.
///
/// The handler redeems the ticket, once room and permission have been checked.
pub(crate) async fn authenticate_stream<B: MessageBody>(
    tokens: web::Data<Tokens>,
    revoked_sessions: web::Data<RevokedSessions>,
    api_keys: web::Data<ApiKeys>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let Some(ticket) = ticket(request.query_string()) else {
        return authenticate(tokens, revoked_sessions, api_keys, request, next).await;
    };
    if request.headers().contains_key(AUTHORIZATION) {
        return Err(reject(request.request(), "token and ticket").into());
    }
    admit(&request, &revoked_sessions, tokens.verify_stream_ticket(ticket).map_err(<&str>::from))?;
    next.call(request).await
}

/// Adds the principal to the request, if its token is valid and not revoked. Otherwise, logs why it is not.
fn admit(
    request: &ServiceRequest,
    revoked_sessions: &RevokedSessions,
    verified: Result<(Principal, TokenScope), &'static str>,
) -> Result<(), ApiError> {
    let (principal, scope) = verified.map_err(|reason| reject(request.request(), reason))?;
    if let Some(log) = RequestLog::of(request.request()) {
        log.principal.replace(Some(principal.clone()));
    }
    match principal.session().map(|session| revoked_sessions.contains(session)) {
        Some(Some(true)) => return Err(reject(request.request(), "revoked")),
        // A session may have been revoked before the start.
        Some(None) => return Err(ApiError::Internal),
        Some(Some(false)) | None => {}
    }
    request.extensions_mut().insert(principal);
    request.extensions_mut().insert(scope);
    Ok(())
}

/// Logs why a token or an invitation is rejected, and returns the 401.
pub(crate) fn reject(request: &HttpRequest, reason: &'static str) -> ApiError {
    if let Some(log) = RequestLog::of(request) {
        log.rejection.set(Some(reason));
    }
    ApiError::InvalidToken
}

/// Returns the ticket in the query; an empty one if there are several.
fn ticket(query: &str) -> Option<&str> {
    let query = query.strip_prefix("ticket=").or_else(|| query.split_once("&ticket=").map(|(_, rest)| rest))?;
    if query.contains("&ticket=") { Some("") } else { query.split('&').next() }
}

/// Rejects guests with 403, inside [`authenticate`].
pub(crate) async fn users_only<B: MessageBody>(
    principal: web::ReqData<Principal>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    match *principal {
        Principal::User { .. } => next.call(request).await,
        Principal::Guest { .. } | Principal::ApiKey { .. } => Err(ApiError::Forbidden.into()),
    }
}

/// Returns the token of the only `Authorization: Bearer <token>` header (RFC 9110 section 11.4).
///
/// Two such headers are rejected, because another reader might believe the other one.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION);
    let (header, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, rest) = str::from_utf8(header.as_bytes()).ok()?.trim_matches([' ', '\t']).split_once(' ')?;
    let token = rest.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Returns whether a header begins with the scheme `Bearer`.
///
/// Another scheme is as no token (RFC 6750 section 3.1).
fn is_bearer(header: &HeaderValue) -> bool {
    header.as_bytes().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (query, expected) in [
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
            assert_eq!(ticket(query), expected, "{query}");
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
