//! Caches the claims of verified tokens: participants send the same token with every request.
//!
//! The key is the whole text of a valid token, so any other text is verified anew. Dates, and the generation of an identity
//! provider's keys, are checked on each use; own keys never change while the cache lives.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::principal::Credentials;
use super::token::{InvalidToken, check_dates};

/// The bound on memory, in bytes; about 6,000 issued tokens.
const MAX_BYTES: u64 = 4 << 20;
/// The memory of an entry beside its token, in bytes.
const ENTRY_OVERHEAD: usize = 300;
/// The memory of a room in an identity provider's token, in bytes.
const ROOM_OVERHEAD: usize = 100;
/// The expected number of tokens, an estimate for the storage.
const TYPICAL_TOKENS: usize = 6_000;

/// The claims of a valid token. Dates are seconds since 1970-01-01 UTC.
pub(super) struct CachedClaims {
    pub(super) credentials: Arc<Credentials>,
    pub(super) not_before: i64,
    /// That of the identity provider's keys, for a token of it.
    pub(super) generation: Option<u64>,
}

impl CachedClaims {
    /// Returns the credentials if the token is valid at `now`.
    pub(super) fn check_dates(&self, now: i64) -> Result<Arc<Credentials>, InvalidToken> {
        check_dates(now, self.not_before, self.credentials.expires_at)?;
        Ok(Arc::clone(&self.credentials))
    }
}

#[derive(Clone)]
struct ByteWeighter;

impl Weighter<Box<str>, Arc<CachedClaims>> for ByteWeighter {
    fn weight(&self, token: &Box<str>, claims: &Arc<CachedClaims>) -> u64 {
        let rooms = claims.credentials.principal.identity().map_or(0, |identity| identity.rooms.len());
        (token.len() + ENTRY_OVERHEAD + rooms * ROOM_OVERHEAD) as u64
    }
}

/// Cache of claims by token, bounded by bytes.
pub(super) struct TokenCache(Cache<Box<str>, Arc<CachedClaims>, ByteWeighter>);

impl TokenCache {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(TYPICAL_TOKENS, MAX_BYTES, ByteWeighter))
    }

    pub(super) fn get(&self, token: &str) -> Option<Arc<CachedClaims>> {
        self.0.get(token)
    }

    pub(super) fn insert(&self, token: &str, claims: Arc<CachedClaims>) {
        self.0.insert(token.into(), claims);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::principal::Principal;

    #[test]
    fn token_cache_stays_within_its_bytes() {
        let cache = TokenCache::new();
        for n in 0..12_000 {
            let principal = Principal::User { id: "u1".into(), session: Some("s1".into()), identity: None };
            let credentials = Arc::new(Credentials { principal, expires_at: 10, ticket: None });
            let claims = CachedClaims { credentials, not_before: 0, generation: None };
            cache.insert(&format!("{n:0400}"), Arc::new(claims));
        }
        assert!(cache.0.weight() <= MAX_BYTES && cache.0.len() > 5_000);
    }
}
