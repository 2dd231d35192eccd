//! Issues and verifies own tokens: HS256 only, each claim checked by type and value.
//!
//! Tokens of the identity provider are passed on to `auth::identity`.
//!
//! jsonwebtoken only computes signatures. Its claim checks allow a leeway of 60 seconds, accept `crit` and an `aud` of a wrong
//! type, and read the system's clock, so claims are checked here.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto};
use serde::Serialize;
use serde_json::{Value, json};

use super::identity::IdentityProvider;
use super::principal::{Credentials, Principal};
use super::token_cache::{CachedClaims, TokenCache};
use super::token_parts::{TokenParts, is_for, non_empty};
use crate::clock::Clock;
use crate::room::{NameComparison, RoomName};
use crate::secret::{self, Secret};
use crate::strict_json::Object;

/// Configures what [`Tokens`] issues and accepts.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The secret that signs.
    pub secret: Secret,
    /// Former secrets, whose tokens are still accepted.
    pub previous_secrets: Vec<Secret>,
    /// The `iss` of every token.
    pub issuer: String,
    /// The `aud` of every token.
    pub audience: String,
    /// The lifetime of a user token.
    pub user_ttl: Duration,
    /// The lifetime of a guest token; `None` disables guests.
    pub guest_ttl: Option<Duration>,
    /// How the rooms of guests and tickets are compared.
    pub room_names: NameComparison,
}

/// Why a token is not valid. The log has the reason in kebab case; clients are not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[error("the token is not valid")]
#[strum(serialize_all = "kebab-case")]
pub enum InvalidToken {
    /// It is too long, or not three parts in base64url, the first two of them strict JSON objects.
    Malformed,
    /// `iss` is neither this server nor the identity provider.
    Issuer,
    /// `alg` is not accepted.
    Algorithm,
    /// `typ` is not that of an access token.
    Type,
    /// The header has `crit`, or a `kid` that is no string.
    Header,
    /// No key has this `kid` and algorithm; or there is no `kid`, and several keys or none.
    UnknownKey,
    /// The signature is another one.
    Signature,
    /// It has a `nonce`: it is an ID token.
    IdToken,
    /// `aud` names another service.
    Audience,
    /// `sub` is missing or not usable.
    Subject,
    /// `exp` has passed.
    Expired,
    /// `nbf`, or the provider's `iat`, is in the future.
    NotYetValid,
    /// `kind` is another one, or guests are disabled.
    Kind,
    /// Another claim is missing or has a wrong type.
    Claim,
    /// It was revoked or used up.
    Spent,
}

/// Issues and verifies tokens.
pub struct Tokens {
    signing_key: EncodingKey,
    accepted_keys: Vec<DecodingKey>,
    config: TokenConfig,
    clock: Clock,
    cache: TokenCache,
    identity_provider: Option<Arc<IdentityProvider>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    sub: &'a str,
    kind: &'a str,
    /// The claims of this kind only.
    #[serde(flatten)]
    specific: Value,
}

impl Tokens {
    /// Creates an issuer that takes the time from `clock`.
    #[must_use]
    pub fn new(config: TokenConfig, clock: Clock) -> Self {
        let accepted_keys = std::iter::once(&config.secret)
            .chain(&config.previous_secrets)
            .map(|secret| DecodingKey::from_secret(secret.expose().as_bytes()))
            .collect();
        let signing_key = EncodingKey::from_secret(config.secret.expose().as_bytes());
        Self { signing_key, accepted_keys, config, clock, cache: TokenCache::new(), identity_provider: None }
    }

    /// Accepts the tokens of an identity provider, too.
    pub(crate) fn with_identity_provider(self, identity_provider: Option<Arc<IdentityProvider>>) -> Self {
        Self { identity_provider, ..self }
    }

    /// Returns the lifetime of a user token.
    pub(crate) fn user_ttl(&self) -> Duration {
        self.config.user_ttl
    }

    /// Issues a token for the account `id` in `session`.
    #[must_use]
    pub fn issue_user_token(&self, id: &str, session: &str) -> String {
        self.sign("user", id, self.expiry_after(self.config.user_ttl), json!({ "sid": session }))
    }

    /// Returns whether guests are enabled.
    pub(super) fn are_guests_enabled(&self) -> bool {
        self.config.guest_ttl.is_some()
    }

    /// Issues a token for a new guest of `room`; `None` if guests are disabled.
    ///
    /// It expires at `not_after` at the latest, in seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn issue_guest_token(&self, room: &RoomName, not_after: i64) -> Option<String> {
        let expires_at = self.expiry_after(self.config.guest_ttl?).min(not_after);
        let id = secret::random_id();
        Some(self.sign("guest", &id, expires_at, json!({ "roomName": room.as_str(), "userId": id })))
    }

    pub(super) fn expiry_after(&self, ttl: Duration) -> i64 {
        self.clock.unix_seconds().saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::expect_used, reason = "an HMAC over our own claims, which are strings and integers, can't fail")]
    pub(super) fn sign(&self, kind: &str, subject: &str, expires_at: i64, specific: Value) -> String {
        let claims = Claims {
            iss: &self.config.issuer,
            aud: &self.config.audience,
            iat: self.clock.unix_seconds(),
            exp: expires_at,
            jti: secret::random_id(),
            sub: subject,
            kind,
            specific,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing_key).expect("claims are signed")
    }

    /// Checks that the identity provider still has the key behind its user. Own keys never change.
    pub(super) fn check_key_of(&self, principal: &Principal) -> Result<(), InvalidToken> {
        let Some(identity) = principal.identity() else { return Ok(()) };
        self.identity_provider.as_deref().ok_or(InvalidToken::Issuer)?.check_key_of(identity)
    }

    /// Verifies a bearer token; returns its credentials.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`].
    pub fn verify_token(&self, token: &str) -> Result<Arc<Credentials>, InvalidToken> {
        let now = self.clock.unix_seconds();
        let provider = self.identity_provider.as_deref();
        if let Some(cached) = self.cache.get(token)
            && cached.generation.is_none_or(|generation| provider.is_some_and(|keys| keys.generation() == generation))
        {
            return cached.check_dates(now);
        }
        let parts = TokenParts::parse(token)?;
        let verified = Arc::new(match provider.filter(|provider| provider.claims_to_issue(&parts)) {
            Some(provider) => provider.verify(&parts)?,
            None => self.verify_own_token(parts)?,
        });
        self.cache.insert(token, Arc::clone(&verified));
        verified.check_dates(now)
    }

    fn verify_own_token(&self, token: TokenParts<'_>) -> Result<CachedClaims, InvalidToken> {
        let claims = self.verify_parts(token)?;
        let id = non_empty(&claims, "sub")?;
        let principal = match claims.text("kind") {
            Some("user") => Principal::User { id, session: Some(non_empty(&claims, "sid")?), identity: None },
            // Disabling guests also rejects tokens that were issued before.
            Some("guest") if self.config.guest_ttl.is_some() => {
                non_empty(&claims, "userId")?;
                Principal::Guest { id, room: self.room_of(&claims)? }
            }
            _ => return Err(InvalidToken::Kind),
        };
        let not_before = claims.integer("nbf").unwrap_or(i64::MIN);
        let credentials = Credentials { principal, expires_at: integer(&claims, "exp")?, ticket: None };
        Ok(CachedClaims { credentials: Arc::new(credentials), not_before, generation: None })
    }

    /// Verifies an own token of any kind: signature, dates, issuer and audience. Returns all claims.
    pub(super) fn verify_claims(&self, token: &str) -> Result<Object, InvalidToken> {
        self.verify_parts(TokenParts::parse(token)?)
    }

    fn verify_parts(&self, token: TokenParts<'_>) -> Result<Object, InvalidToken> {
        // First, so that the log tells when a provider's token has another issuer than the configured one.
        if token.claims.text("iss") != Some(&self.config.issuer) {
            return Err(InvalidToken::Issuer);
        }
        let claims = self.verify_signature(token)?;
        self.check_dates(&claims)?;
        if is_for(claims.get("aud"), &self.config.audience) { Ok(claims) } else { Err(InvalidToken::Audience) }
    }

    fn verify_signature(&self, token: TokenParts<'_>) -> Result<Object, InvalidToken> {
        check_header(&token.header)?;
        let (message, signature) = (token.message.as_bytes(), token.signature);
        let verifies = |key| crypto::verify(signature, message, key, Algorithm::HS256).unwrap_or(false);
        if self.accepted_keys.iter().any(verifies) { Ok(token.claims) } else { Err(InvalidToken::Signature) }
    }

    pub(super) fn room_of(&self, claims: &Object) -> Result<RoomName, InvalidToken> {
        let name = claims.text("roomName").and_then(|name| self.config.room_names.parse(name).ok());
        name.ok_or(InvalidToken::Claim)
    }

    fn check_dates(&self, claims: &Object) -> Result<(), InvalidToken> {
        let now = self.clock.unix_seconds();
        // Required but not compared: setting the clock back must not invalidate tokens.
        integer(claims, "iat")?;
        let not_before = if claims.get("nbf").is_some() { integer(claims, "nbf")? } else { now };
        check_dates(now, not_before, integer(claims, "exp")?)
    }
}

/// Requires HS256 and rejects critical extensions. Keys and addresses in a header are never used.
fn check_header(header: &Object) -> Result<(), InvalidToken> {
    let is_typed = header.get("typ").is_none_or(Value::is_string);
    match header.text("alg") {
        Some("HS256") if !is_typed => Err(InvalidToken::Type),
        Some("HS256") if header.get("crit").is_some() => Err(InvalidToken::Header),
        Some("HS256") => Ok(()),
        _ => Err(InvalidToken::Algorithm),
    }
}

/// Checks the dates of a token at `now`, in seconds since 1970-01-01 UTC.
pub(super) fn check_dates(now: i64, not_before: i64, expires_at: i64) -> Result<(), InvalidToken> {
    if now >= expires_at {
        return Err(InvalidToken::Expired);
    }
    if now < not_before { Err(InvalidToken::NotYetValid) } else { Ok(()) }
}

pub(super) fn integer(claims: &Object, name: &str) -> Result<i64, InvalidToken> {
    claims.integer(name).ok_or(InvalidToken::Claim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::principal::Identity;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    impl Tokens {
        fn verify(&self, token: &str) -> Result<Principal, InvalidToken> {
            self.verify_token(token).map(|credentials| credentials.principal.clone())
        }
    }

    fn tokens(secret: &str, previous: &[&str], seconds: &Arc<AtomicU64>) -> Tokens {
        let seconds = Arc::clone(seconds);
        let config = TokenConfig {
            secret: Secret::new(secret),
            previous_secrets: previous.iter().copied().map(Secret::new).collect(),
            issuer: "us".into(),
            audience: "us too".into(),
            user_ttl: Duration::from_secs(2),
            guest_ttl: Some(Duration::from_secs(4)),
            room_names: NameComparison::Exact,
        };
        Tokens::new(config, Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))))
    }

    #[test]
    fn token_is_valid_until_the_second_it_expires() {
        let seconds = Arc::new(AtomicU64::new(1_000_000));
        let tokens = tokens("first secret", &[], &seconds);
        let token = tokens.issue_user_token("u1", "s1");
        assert_eq!(
            tokens.verify(&token),
            Ok(Principal::User { id: "u1".into(), session: Some("s1".into()), identity: None })
        );
        seconds.store(1_000_001, Ordering::SeqCst);
        assert!(tokens.verify(&token).is_ok());
        seconds.store(1_000_002, Ordering::SeqCst);
        assert_eq!(tokens.verify(&token), Err(InvalidToken::Expired));
        seconds.store(900_000, Ordering::SeqCst);
        assert!(tokens.verify(&token).is_ok(), "a clock set back invalidates no token");
    }

    #[test]
    fn guest_token_names_its_room_and_a_new_guest() {
        let tokens = tokens("first secret", &[], &Arc::default());
        let room = NameComparison::Exact.parse("комната 1").unwrap();
        let (one, two) =
            (tokens.issue_guest_token(&room, i64::MAX).unwrap(), tokens.issue_guest_token(&room, i64::MAX).unwrap());
        let (Ok(Principal::Guest { id: one, room: of_one }), Ok(Principal::Guest { id: two, .. })) =
            (tokens.verify(&one), tokens.verify(&two))
        else {
            panic!("both are guests");
        };
        assert_ne!(one, two);
        assert_eq!(of_one, room);
    }

    #[test]
    fn ticket_expires_after_30_seconds_and_is_no_token() {
        let seconds = Arc::new(AtomicU64::new(1_000_000));
        let tokens = tokens("first secret", &[], &seconds);
        let room = NameComparison::Exact.parse("r1").unwrap();
        let user = Principal::User { id: "u1".into(), session: Some("s1".into()), identity: None };
        let guest = Principal::Guest { id: "g1".into(), room: room.clone() };
        let identity = Identity {
            issuer: "https://id.example.com".into(),
            key: "k1".into(),
            name: Some("Ann".into()),
            roles: Some(vec!["owner".into()]),
            rooms: vec![room.clone()],
        };
        let of_provider = Principal::User { id: "u1".into(), session: None, identity: Some(identity.into()) };
        let ticket = tokens.issue_stream_ticket(&of_provider, &room, 1_000_100).unwrap();
        assert_eq!(tokens.verify_stream_ticket(&ticket), Err(InvalidToken::Issuer), "there is no provider");
        for principal in [user, guest] {
            let ticket = tokens.issue_stream_ticket(&principal, &room, 1_000_100).unwrap();
            let verify = |ticket: &str| {
                let verified = tokens.verify_stream_ticket(ticket).unwrap();
                assert_eq!((&verified.principal, verified.expires_at), (&principal, 1_000_100));
                verified.ticket.unwrap()
            };
            let first = verify(&ticket);
            assert_eq!((&first.room, first.expires_at), (&room, 1_000_030));
            assert_ne!(verify(&tokens.issue_stream_ticket(&principal, &room, 1_000_100).unwrap()).id, first.id);
            assert_eq!(tokens.verify(&ticket), Err(InvalidToken::Kind));
            seconds.store(1_000_030, Ordering::SeqCst);
            assert_eq!(tokens.verify_stream_ticket(&ticket), Err(InvalidToken::Expired));
            seconds.store(1_000_000, Ordering::SeqCst);
        }
        assert!(tokens.verify_stream_ticket(&tokens.issue_user_token("u1", "s1")).is_err());
        assert!(tokens.verify_stream_ticket(&tokens.issue_guest_token(&room, i64::MAX).unwrap()).is_err());
    }

    #[test]
    fn previous_secret_verifies_but_never_signs() {
        let seconds = Arc::default();
        let (old, new) = (tokens("old secret", &[], &seconds), tokens("new secret", &["old secret"], &seconds));
        let after = tokens("new secret", &[], &seconds);
        let (from_old, from_new) = (old.issue_user_token("u1", "s1"), new.issue_user_token("u1", "s1"));
        assert!(new.verify(&from_old).is_ok());
        assert!(after.verify(&from_new).is_ok());
        assert!(after.verify(&from_old).is_err());
        assert!(old.verify(&from_new).is_err());
    }

    #[test]
    fn cached_token_is_still_checked_against_the_clock() {
        let seconds = Arc::new(AtomicU64::new(1_000_000));
        let tokens = tokens("first secret", &[], &seconds);
        let claims = serde_json::json!({
            "iss": "us", "aud": "us too", "iat": 1_000_000, "nbf": 1_000_000, "exp": 1_000_002, "sub": "u1", "kind": "user",
            "sid": "s1",
        });
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &tokens.signing_key).unwrap();
        for (now, good) in [(1_000_000, true), (1_000_002, false), (1_000_001, true), (999_999, false), (1_000_000, true)] {
            seconds.store(now, Ordering::SeqCst);
            assert_eq!(tokens.verify(&token).is_ok(), good, "at {now}");
        }
    }

    #[test]
    fn token_nearly_equal_to_a_cached_one_is_rejected() {
        let tokens = tokens("first secret", &[], &Arc::default());
        let token = tokens.issue_user_token("u1", "s1");
        assert!(tokens.verify(&token).is_ok() && tokens.verify(&token).is_ok());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(tokens.verify(std::str::from_utf8(&bytes).unwrap()).is_err(), "byte {at}");
        }
        for changed in [format!("{token} "), format!("{token}A"), token[1..].to_owned(), token[..token.len() - 1].to_owned()]
        {
            assert!(tokens.verify(&changed).is_err());
        }
    }
}
