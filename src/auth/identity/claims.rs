//! The claims of an identity provider's token: which are required, and what they say of the user.

use std::sync::Arc;

use serde_json::Value;

use super::IdentityConfig;
use crate::auth::principal::{Credentials, Identity, Principal};
use crate::auth::token::InvalidToken;
use crate::auth::token_cache::CachedClaims;
use crate::auth::token_parts::is_for;
use crate::room::RoomName;
use crate::strict_json::Object;

/// The most rooms that a token may name; with more, it names none.
const MAX_ROOMS: usize = 256;
/// The longest display name, in bytes; the end of a longer one is removed.
const MAX_NAME: usize = 255;
/// The longest `sub`, in bytes (OIDC Core section 2).
const MAX_SUBJECT: usize = 255;

/// Checks the claims of a token whose issuer and signature are verified.
pub(super) fn read(
    config: &IdentityConfig,
    claims: &Object,
    key: &Arc<str>,
    generation: u64,
) -> Result<CachedClaims, InvalidToken> {
    let is_for_us = config.audiences.iter().any(|audience| is_for(claims.get("aud"), audience));
    // A token with a nonce is an ID token, made for a login. Its audience is another one, too.
    if claims.get("nonce").is_some() {
        return Err(InvalidToken::IdToken);
    }
    if !is_for_us {
        return Err(InvalidToken::Audience);
    }
    let is_usable = |subject: &&str| (1..=MAX_SUBJECT).contains(&subject.len()) && !subject.contains(char::is_control);
    let subject = claims.text("sub").filter(is_usable).ok_or(InvalidToken::Subject)?.into();
    let leeway = i64::try_from(config.leeway.as_secs()).unwrap_or(i64::MAX);
    let not_before = date(claims, "nbf")?.max(date(claims, "iat")?).unwrap_or(i64::MIN);
    let identity = Some(Arc::new(identity(config, claims, key)));
    let expires_at = date(claims, "exp")?.ok_or(InvalidToken::Claim)?.saturating_add(leeway);
    let principal = Principal::User { id: subject, session: None, identity };
    Ok(CachedClaims {
        credentials: Arc::new(Credentials { principal, expires_at, ticket: None }),
        not_before: not_before.saturating_sub(leeway),
        generation: Some(generation),
    })
}

/// Returns a date in whole seconds. Some providers write floats.
fn date(claims: &Object, name: &str) -> Result<Option<i64>, InvalidToken> {
    #[expect(clippy::cast_possible_truncation, reason = "a date beyond i64 is its end")]
    let whole = |number: f64| number.floor() as i64;
    let Some(claim) = claims.get(name) else { return Ok(None) };
    claims.integer(name).or_else(|| claim.as_f64().map(whole)).map(Some).ok_or(InvalidToken::Claim)
}

fn identity(config: &IdentityConfig, claims: &Object, key: &Arc<str>) -> Identity {
    let name = claim(claims, &config.name_claim).and_then(Value::as_str);
    Identity {
        issuer: Arc::clone(&config.issuer),
        key: Arc::clone(key),
        name: name.and_then(|name| name.get(..name.floor_char_boundary(MAX_NAME))).map(Arc::from),
        roles: config.roles_claim.as_ref().map(|path| roles(claim(claims, path), &config.roles_map)),
        rooms: config.rooms_claim.as_ref().map_or(Vec::new(), |path| rooms(config, claim(claims, path))),
    }
}

/// Returns the claim at a dotted path. A name may itself have dots, as in `https://example.com/roles`.
fn claim<'a>(claims: &'a Object, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        let mut names = path.split('.');
        let first = claims.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    })
}

/// Maps the provider's roles. A claim that is neither a string nor an array of strings gives none.
fn roles(claim: Option<&Value>, map: &[(String, String)]) -> Vec<String> {
    let given = claim.map_or(&[][..], |claim| claim.as_array().map_or(std::slice::from_ref(claim), Vec::as_slice));
    if !given.iter().all(Value::is_string) {
        return Vec::new();
    }
    map.iter().filter(|(theirs, _)| given.iter().any(|role| role == theirs)).map(|(_, ours)| ours.clone()).collect()
}

/// Returns the rooms of an array of strings. Impossible names match no room, and are left out.
fn rooms(config: &IdentityConfig, claim: Option<&Value>) -> Vec<RoomName> {
    match claim.and_then(Value::as_array) {
        Some(names) if names.len() <= MAX_ROOMS && names.iter().all(Value::is_string) => {
            names.iter().filter_map(Value::as_str).filter_map(|name| config.room_names.parse(name).ok()).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_leads_to_a_claim_of_that_name_or_within_others() {
        let claims: Object = serde_json::from_str(
            r#"{"roles": 1, "realm_access": {"roles": 2, "a.b": 3}, "https://example.com/roles": 4, "a": {"b": 5}, "a.b": 6}"#,
        )
        .unwrap();
        for (path, expected) in [
            ("roles", Some(1)),
            ("realm_access.roles", Some(2)),
            ("https://example.com/roles", Some(4)),
            ("a.b", Some(6)),
            ("realm_access.a.b", None),
            ("realm_access.roles.x", None),
            ("roles.roles", None),
            ("Roles", None),
        ] {
            assert_eq!(claim(&claims, path).and_then(Value::as_i64), expected, "{path}");
        }
    }

    #[test]
    fn rooms_are_an_array_of_at_most_256_names() {
        let config = IdentityConfig {
            issuer: "https://id.example.com".into(),
            audiences: Vec::new(),
            jwks_url: None,
            algorithms: Vec::new(),
            name_claim: "name".into(),
            roles_claim: None,
            roles_map: Vec::new(),
            rooms_claim: Some("rooms".into()),
            room_names: crate::room::NameComparison::Exact,
            leeway: std::time::Duration::ZERO,
        };
        let rooms = |claims: &str| -> Vec<String> {
            let identity = identity(&config, &serde_json::from_str(claims).unwrap(), &"k1".into());
            identity.rooms.iter().map(|room| room.as_str().to_owned()).collect()
        };
        assert_eq!(rooms(r#"{"rooms": ["r1", "*", "a/b", "", "r 2"]}"#), ["r1", "r 2"]);
        for none in ["{}", r#"{"rooms": "r1"}"#, r#"{"rooms": ["r1", 2]}"#, r#"{"rooms": {"r1": true}}"#] {
            assert!(rooms(none).is_empty(), "{none}");
        }
        let many = |number: usize| serde_json::json!({"rooms": vec!["r"; number]}).to_string();
        assert_eq!((rooms(&many(256)).len(), rooms(&many(257)).len()), (256, 0));
    }
}
