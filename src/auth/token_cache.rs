//! Claims of tokens that were verified before. A participant sends the same token again and again, and verifying it takes
//! longer than the rest of a request that the response cache answers.
//!
//! The key is the whole text of a valid token, so a text that differs in one byte is verified anew. Keys and configuration
//! never change while the cache lives; the time does, and is checked on each use.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::token::InvalidToken;
use crate::auth::principal::{Principal, TokenScope};

/// The bound on memory, in bytes; about 6,000 tokens of ours.
const MAX_BYTES: u64 = 4 << 20;
/// What one takes beside its text, in bytes.
const OVERHEAD: usize = 300;
/// The expected number of tokens: an estimate for the storage.
const TYPICAL_TOKENS: usize = 6_000;

/// The claims of a valid token.
pub(super) struct CachedClaims {
    pub(super) holder: Principal,
    pub(super) not_before: i64,
    pub(super) expires: i64,
}

impl CachedClaims {
    fn at(&self, now: i64) -> Result<(Principal, TokenScope), InvalidToken> {
        if self.not_before <= now && now < self.expires {
            Ok((self.holder.clone(), TokenScope { expires_at: self.expires, ticket: None }))
        } else {
            Err(InvalidToken)
        }
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<str>, Arc<CachedClaims>> for ByBytes {
    fn weight(&self, token: &Box<str>, _: &Arc<CachedClaims>) -> u64 {
        (token.len() + OVERHEAD) as u64
    }
}

/// Claims by token, bounded by bytes.
pub(super) struct TokenCache(Cache<Box<str>, Arc<CachedClaims>, ByBytes>);

impl TokenCache {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(TYPICAL_TOKENS, MAX_BYTES, ByBytes))
    }

    /// Returns what `token` allows at the time `now`, if it was verified before.
    pub(super) fn get(&self, token: &str, now: i64) -> Option<Result<(Principal, TokenScope), InvalidToken>> {
        Some(self.0.get(token)?.at(now))
    }

    /// Stores the claims of a valid token.
    pub(super) fn insert(&self, token: &str, claims: CachedClaims) {
        self.0.insert(token.into(), Arc::new(claims));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_cache_stays_within_its_bytes() {
        let cache = TokenCache::new();
        for n in 0..12_000 {
            let holder = Principal::User { id: "u1".into(), session: "s1".into() };
            cache.insert(&format!("{n:0400}"), CachedClaims { holder, not_before: 0, expires: 10 });
        }
        assert!(cache.0.weight() <= MAX_BYTES && cache.0.len() > 5_000);
    }
}
