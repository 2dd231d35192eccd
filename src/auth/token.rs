//! Signs and verifies the tokens of users and guests: HS256 and nothing else, each claim checked by its type and its value.
//!
//! jsonwebtoken does the signature alone; its claim checks leave gaps (60 seconds of leeway, `crit` and a wrongly typed `aud`
//! accepted) and read the system's clock, so they are made here.

use std::sync::Arc;
use std::time::Duration;

use super::token_cache::{CachedClaims, TokenCache};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto};
use serde::Serialize;

use crate::auth::principal::{Principal, StreamTicket, TokenScope};
use crate::clock::Clock;
use crate::room::{NameComparison, RoomName};
use crate::secret;
use crate::secret::Secret;
use crate::strict_json::Object;

/// The longest token that is looked at, in bytes; ours have about 400.
pub const MAX_BYTES: usize = 8 * 1024;

/// How long a ticket may be used, in seconds: long enough to open a connection with it.
const TICKET_TTL: i64 = 30;

/// What [`Tokens`] signs and accepts.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The secret that signs.
    pub secret: Secret,
    /// Secrets whose tokens are still accepted, so that a change of secret logs nobody out.
    pub previous_secrets: Vec<Secret>,
    /// The `iss` of every token.
    pub issuer: String,
    /// The `aud` of every token.
    pub audience: String,
    /// How long a user token is good for.
    pub user_ttl: Duration,
    /// How long a guest token is good for; `None` where guests are turned off.
    pub guest_ttl: Option<Duration>,
    /// How the rooms of guests and tickets are compared.
    pub room_names: NameComparison,
}

/// The token is not one of ours, or not any more. Which rule it broke is nobody's business, so it is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken;

/// Signs and verifies.
pub struct Tokens {
    signing_key: EncodingKey,
    accepted_keys: Vec<DecodingKey>,
    rules: TokenConfig,
    clock: Clock,
    verified: TokenCache,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    sub: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(rename = "roomName", skip_serializing_if = "Option::is_none")]
    room_name: Option<&'a str>,
    #[serde(rename = "userId", skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    /// Of a ticket: when the token ends that it was given for.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

impl Tokens {
    /// Signs and verifies by `rules`, at the time that `clock` shows.
    #[must_use]
    pub fn new(rules: TokenConfig, clock: Clock) -> Self {
        let accepted_keys = std::iter::once(&rules.secret)
            .chain(&rules.previous_secrets)
            .map(|secret| DecodingKey::from_secret(secret.expose().as_bytes()))
            .collect();
        let signing_key = EncodingKey::from_secret(rules.secret.expose().as_bytes());
        Self { signing_key, accepted_keys, rules, clock, verified: TokenCache::new() }
    }

    /// How long a user token is good for.
    #[must_use]
    pub fn user_ttl(&self) -> Duration {
        self.rules.user_ttl
    }

    /// A token for the account `id` in `session`.
    #[must_use]
    pub fn issue_user_token(&self, id: &str, session: &str) -> String {
        let claims = Claims { sid: Some(session), ..self.claims("user", id, self.rules.user_ttl) };
        self.sign(&claims)
    }

    /// A token for a new guest of `room` alone; `None` where guests are turned off.
    #[must_use]
    pub fn issue_guest_token(&self, room: &RoomName) -> Option<String> {
        let id = secret::random_id();
        let claims = Claims {
            room_name: Some(room.as_str()),
            user_id: Some(&id),
            ..self.claims("guest", &id, self.rules.guest_ttl?)
        };
        Some(self.sign(&claims))
    }

    /// A ticket for `principal` and `room` alone; the stream that it opens ends at `until`, in seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn issue_stream_ticket(&self, principal: &Principal, room: &RoomName, until: i64) -> String {
        let (kind, id) = match principal {
            Principal::User { id, .. } => ("user-ticket", id),
            Principal::Guest { id, .. } => ("guest-ticket", id),
        };
        let claims = self.claims(kind, id, Duration::ZERO);
        let exp = claims.iat.saturating_add(TICKET_TTL).min(until);
        let (sid, room_name) = (principal.session(), Some(room.as_str()));
        self.sign(&Claims { exp, sid, room_name, until: Some(until), ..claims })
    }

    fn claims<'a>(&'a self, kind: &'static str, subject: &'a str, ttl: Duration) -> Claims<'a> {
        let now = self.clock.unix_seconds();
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        Claims {
            iss: &self.rules.issuer,
            aud: &self.rules.audience,
            iat: now,
            exp: now.saturating_add(ttl),
            jti: secret::random_id(),
            sub: subject,
            kind,
            sid: None,
            room_name: None,
            user_id: None,
            until: None,
        }
    }

    #[expect(clippy::expect_used, reason = "an HMAC over our own claims, which are strings and integers, can't fail")]
    fn sign(&self, claims: &Claims<'_>) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signing_key).expect("claims are signed")
    }

    /// Who holds `token`, and for how long it is good.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`], whatever is wrong with it.
    pub fn verify_token(&self, token: &str) -> Result<(Principal, TokenScope), InvalidToken> {
        if let Some(known) = self.verified.get(token, self.clock.unix_seconds()) {
            return known;
        }
        let claims = self.verified(token)?;
        let holder = self.principal_of(&claims)?;
        let expires = claims.integer("exp").ok_or(InvalidToken)?;
        let not_before = claims.integer("nbf").unwrap_or(i64::MIN);
        self.verified.insert(token, CachedClaims { holder: holder.clone(), not_before, expires });
        Ok((holder, TokenScope { expires_at: expires, ticket: None }))
    }

    /// Who holds `ticket`, and what it opens. That it was not used before is checked elsewhere.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`], whatever is wrong with it.
    pub fn verify_stream_ticket(&self, ticket: &str) -> Result<(Principal, TokenScope), InvalidToken> {
        let claims = self.verified(ticket)?;
        self.check_claims(&claims)?;
        let (id, holder) = (non_empty(&claims, "jti")?, non_empty(&claims, "sub")?);
        let room = self.room_of(&claims)?;
        let principal = match claims.text("kind") {
            Some("user-ticket") => Principal::User { id: holder, session: non_empty(&claims, "sid")? },
            Some("guest-ticket") if self.rules.guest_ttl.is_some() => Principal::Guest { id: holder, room: room.clone() },
            _ => return Err(InvalidToken),
        };
        let (expires_at, until) = (claims.integer("exp").ok_or(InvalidToken)?, claims.integer("until").ok_or(InvalidToken)?);
        let ticket = StreamTicket { id: id.to_string(), room, expires_at };
        Ok((principal, TokenScope { expires_at: until, ticket: Some(ticket) }))
    }

    /// The claims of a token that was signed here, and not yet looked at.
    fn verified(&self, token: &str) -> Result<Object, InvalidToken> {
        if token.len() > MAX_BYTES {
            return Err(InvalidToken);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(InvalidToken)?;
        let (header, payload) = message.split_once('.').ok_or(InvalidToken)?;
        check_header(&decode(header)?)?;
        // The engine is strict: no padding, no second spelling of the last character.
        URL_SAFE_NO_PAD.decode(signature).map_err(|_| InvalidToken)?;
        let signed = |key| crypto::verify(signature, message.as_bytes(), key, Algorithm::HS256).unwrap_or(false);
        if !self.accepted_keys.iter().any(signed) {
            return Err(InvalidToken);
        }
        decode(payload)
    }

    fn check_claims(&self, claims: &Object) -> Result<(), InvalidToken> {
        self.check_dates(claims)?;
        let ours = claims.text("iss") == Some(&self.rules.issuer) && is_for(claims.get("aud"), &self.rules.audience);
        if ours { Ok(()) } else { Err(InvalidToken) }
    }

    fn principal_of(&self, claims: &Object) -> Result<Principal, InvalidToken> {
        self.check_claims(claims)?;
        let id = non_empty(claims, "sub")?;
        match claims.text("kind") {
            Some("user") => Ok(Principal::User { id, session: non_empty(claims, "sid")? }),
            // Where guests are turned off, those that were let in before are none any more.
            Some("guest") if self.rules.guest_ttl.is_some() => {
                non_empty(claims, "userId")?;
                Ok(Principal::Guest { id, room: self.room_of(claims)? })
            }
            _ => Err(InvalidToken),
        }
    }

    fn room_of(&self, claims: &Object) -> Result<RoomName, InvalidToken> {
        self.rules.room_names.parse(claims.text("roomName").ok_or(InvalidToken)?).map_err(|_| InvalidToken)
    }

    fn check_dates(&self, claims: &Object) -> Result<(), InvalidToken> {
        let now = self.clock.unix_seconds();
        let expires = claims.integer("exp").ok_or(InvalidToken)?;
        // Required, but not compared: a clock that was set back must not log everybody out.
        claims.integer("iat").ok_or(InvalidToken)?;
        let not_before = match claims.get("nbf") {
            None => now,
            Some(_) => claims.integer("nbf").ok_or(InvalidToken)?,
        };
        if now < expires && not_before <= now { Ok(()) } else { Err(InvalidToken) }
    }
}

/// One part of the token: strict base64url around one strict JSON object.
fn decode(part: &str) -> Result<Object, InvalidToken> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidToken)?;
    serde_json::from_slice(&json).map_err(|_| InvalidToken)
}

/// HS256, no extension that must be understood, and a type that is a string. Keys and addresses in a header are never used.
fn check_header(header: &Object) -> Result<(), InvalidToken> {
    let typed = header.get("typ").is_none_or(serde_json::Value::is_string);
    if header.text("alg") == Some("HS256") && header.get("crit").is_none() && typed { Ok(()) } else { Err(InvalidToken) }
}

/// RFC 7519 section 4.1.3: one audience, or an array of them that has ours.
fn is_for(claim: Option<&serde_json::Value>, audience: &str) -> bool {
    match claim {
        Some(serde_json::Value::String(one)) => one == audience,
        Some(serde_json::Value::Array(many)) => {
            many.iter().all(serde_json::Value::is_string) && many.iter().any(|one| one == audience)
        }
        _ => false,
    }
}

fn non_empty(claims: &Object, name: &str) -> Result<Arc<str>, InvalidToken> {
    match claims.text(name) {
        Some(text) if !text.is_empty() => Ok(text.into()),
        _ => Err(InvalidToken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    impl Tokens {
        fn verify(&self, token: &str) -> Result<Principal, InvalidToken> {
            self.verify_token(token).map(|(principal, _)| principal)
        }
    }

    fn tokens(secret: &str, previous: &[&str], seconds: &Arc<AtomicU64>) -> Tokens {
        let seconds = Arc::clone(seconds);
        let rules = TokenConfig {
            secret: Secret::new(secret),
            previous_secrets: previous.iter().copied().map(Secret::new).collect(),
            issuer: "us".into(),
            audience: "us too".into(),
            user_ttl: Duration::from_secs(2),
            guest_ttl: Some(Duration::from_secs(4)),
            room_names: NameComparison::Exact,
        };
        Tokens::new(rules, Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))))
    }

    #[test]
    fn a_token_is_good_until_the_very_second_it_expires() {
        let seconds = Arc::new(AtomicU64::new(1_000_000));
        let tokens = tokens("first secret", &[], &seconds);
        let token = tokens.issue_user_token("u1", "s1");
        assert_eq!(tokens.verify(&token), Ok(Principal::User { id: "u1".into(), session: "s1".into() }));
        seconds.store(1_000_001, Ordering::SeqCst);
        assert!(tokens.verify(&token).is_ok());
        seconds.store(1_000_002, Ordering::SeqCst);
        assert_eq!(tokens.verify(&token), Err(InvalidToken));
        seconds.store(900_000, Ordering::SeqCst);
        assert!(tokens.verify(&token).is_ok(), "a clock set back logs nobody out");
    }

    #[test]
    fn a_guest_token_names_its_room_and_a_guest_of_its_own() {
        let tokens = tokens("first secret", &[], &Arc::default());
        let room = NameComparison::Exact.parse("комната 1").unwrap();
        let (one, two) = (tokens.issue_guest_token(&room).unwrap(), tokens.issue_guest_token(&room).unwrap());
        let (Ok(Principal::Guest { id: one, room: of_one }), Ok(Principal::Guest { id: two, .. })) =
            (tokens.verify(&one), tokens.verify(&two))
        else {
            panic!("both are guests");
        };
        assert_ne!(one, two);
        assert_eq!(of_one, room);
    }

    #[test]
    fn a_ticket_is_good_for_half_a_minute_and_is_no_token_nor_is_a_token_a_ticket() {
        let seconds = Arc::new(AtomicU64::new(1_000_000));
        let tokens = tokens("first secret", &[], &seconds);
        let room = NameComparison::Exact.parse("r1").unwrap();
        let user = Principal::User { id: "u1".into(), session: "s1".into() };
        let guest = Principal::Guest { id: "g1".into(), room: room.clone() };
        for principal in [user, guest] {
            let ticket = tokens.issue_stream_ticket(&principal, &room, 1_000_100);
            let admit = |ticket: &str| {
                let (holder, admitted) = tokens.verify_stream_ticket(ticket).unwrap();
                assert_eq!((&holder, admitted.expires_at), (&principal, 1_000_100));
                admitted.ticket.unwrap()
            };
            let good = admit(&ticket);
            assert_eq!((&good.room, good.expires_at), (&room, 1_000_030));
            assert_ne!(admit(&tokens.issue_stream_ticket(&principal, &room, 1_000_100)).id, good.id);
            assert_eq!(tokens.verify(&ticket), Err(InvalidToken));
            seconds.store(1_000_030, Ordering::SeqCst);
            assert_eq!(tokens.verify_stream_ticket(&ticket), Err(InvalidToken));
            seconds.store(1_000_000, Ordering::SeqCst);
        }
        assert_eq!(tokens.verify_stream_ticket(&tokens.issue_user_token("u1", "s1")), Err(InvalidToken));
        assert_eq!(tokens.verify_stream_ticket(&tokens.issue_guest_token(&room).unwrap()), Err(InvalidToken));
    }

    #[test]
    fn a_previous_secret_still_opens_but_never_signs() {
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
    fn what_was_verified_before_is_still_held_against_the_clock() {
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
    fn a_token_that_is_nearly_one_verified_before_is_refused() {
        let tokens = tokens("first secret", &[], &Arc::default());
        let token = tokens.issue_user_token("u1", "s1");
        assert!(tokens.verify(&token).is_ok() && tokens.verify(&token).is_ok());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(tokens.verify(std::str::from_utf8(&bytes).unwrap()), Err(InvalidToken), "byte {at}");
        }
        for changed in [format!("{token} "), format!("{token}A"), token[1..].to_owned(), token[..token.len() - 1].to_owned()]
        {
            assert_eq!(tokens.verify(&changed), Err(InvalidToken));
        }
    }
}
