//! Authenticates requests by token, stream ticket or API key, on the routes whose row requires it.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest};

use crate::auth::api_key::{self, ApiKeys};
use crate::auth::principal::{Credentials, Principal};
use crate::auth::revoked_sessions::RevokedSessions;
use crate::auth::token::Tokens;
use crate::extract::app_data;
use crate::middleware::request_log::RequestLog;
use crate::response::ApiError;

/// Rejects with 401, or calls the inner services with the credentials in the [`RequestLog`].
///
/// API keys are authenticated on every route. The check of the permission, after that of the input, keeps each to its scope.
pub(crate) async fn authenticate<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    // A missing token is not logged as a rejected one.
    let Some(token) = bearer_token(request.headers()) else {
        let is_malformed = request.headers().get_all(AUTHORIZATION).any(is_bearer);
        return Err(if is_malformed { ApiError::InvalidToken } else { ApiError::Unauthorized }.into());
    };
    let verified = if token.starts_with(api_key::PREFIX) {
        let api_keys: &ApiKeys = app_data(request.request())?;
        Box::pin(api_keys.verify(token)).await.map_err(ApiError::from)?.map(Arc::new).ok_or("api-key")
    } else {
        app_data::<Tokens>(request.request())?.verify_token(token).map_err(<&str>::from)
    };
    admit(request.request(), verified)?;
    next.call(request).await
}

/// Authenticates by a token or by a ticket in the query. Both at once are rejected.
///
/// The handler redeems the ticket, once room and permission have been checked.
pub(crate) async fn authenticate_stream<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let Some(ticket) = ticket(request.query_string()) else {
        return authenticate(request, next).await;
    };
    if request.headers().contains_key(AUTHORIZATION) {
        return Err(reject(request.request(), "token and ticket").into());
    }
    let verified = app_data::<Tokens>(request.request())?.verify_stream_ticket(ticket);
    admit(request.request(), verified.map(Arc::new).map_err(<&str>::from))?;
    next.call(request).await
}

/// Records the credentials of the request, and checks that they are not revoked. Logs why they are rejected.
///
/// They are recorded first, because the log has those of a revoked session, too.
fn admit(request: &HttpRequest, verified: Result<Arc<Credentials>, &'static str>) -> Result<(), ApiError> {
    let verified = verified.map_err(|reason| reject(request, reason))?;
    let log = RequestLog::of(request).ok_or(ApiError::Internal)?;
    log.credentials.set(Arc::clone(&verified)).map_err(|_| ApiError::Internal)?;
    let revoked_sessions: &RevokedSessions = app_data(request)?;
    match verified.principal.session().map(|session| revoked_sessions.contains(session)) {
        Some(Some(true)) => Err(reject(request, "revoked")),
        // A session may have been revoked before the start.
        Some(None) => Err(ApiError::Internal),
        Some(Some(false)) | None => Ok(()),
    }
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
pub(crate) async fn users_only<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let log = RequestLog::of(request.request());
    match log.as_ref().and_then(|log| log.credentials()).map(|credentials| &credentials.principal) {
        Some(Principal::User { .. }) => next.call(request).await,
        Some(Principal::Guest { .. } | Principal::ApiKey { .. }) => Err(ApiError::Forbidden.into()),
        None => Err(ApiError::Internal.into()),
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
