//! Tokens that were found good before: a participant asks again and again with the same one, and checking it takes longer than
//! all else that is done for a catch-up from the window.
//!
//! Only whole texts of good tokens are in here, so a text that differs in one byte is checked as if nothing were here. Keys and
//! rules never change while it lives; the time does, and is looked at on each use. Must not know how a token is checked.

use std::sync::Arc;

use super::Invalid;
use crate::caller::{Admitted, Caller};
use crate::recent::Recent;

/// The memory that they may take, in bytes; about 6,000 of ours.
const MEMORY: u64 = 4 << 20;
/// What one takes beside its text, in bytes.
const OVERHEAD: usize = 300;

/// What a good token says.
pub(super) struct Good {
    pub(super) holder: Caller,
    pub(super) not_before: i64,
    pub(super) expires: i64,
}

impl Good {
    fn at(&self, now: i64) -> Result<(Caller, Admitted), Invalid> {
        if self.not_before <= now && now < self.expires {
            Ok((self.holder.clone(), Admitted { until: self.expires, ticket: None }))
        } else {
            Err(Invalid)
        }
    }
}

/// Tokens by their text, the least recently used going first.
pub(super) struct Memo(Recent<Arc<Good>>);

impl Memo {
    pub(super) fn new() -> Self {
        Self(Recent::new(MEMORY))
    }

    /// What `token` says at the time `now`, if it is remembered.
    pub(super) fn get(&self, token: &str, now: i64) -> Option<Result<(Caller, Admitted), Invalid>> {
        Some(self.0.get(token)?.at(now))
    }

    /// Remembers that `token` is good.
    pub(super) fn keep(&self, token: &str, good: Good) {
        self.0.keep(token, Arc::new(good), (token.len() + OVERHEAD) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_more_memory_than_it_may() {
        let memo = Memo::new();
        for n in 0..12_000 {
            let holder = Caller::User { id: "u1".into(), session: "s1".into() };
            memo.keep(&format!("{n:0400}"), Good { holder, not_before: 0, expires: 10 });
        }
        let (tokens, bytes) = memo.0.held();
        assert!(bytes <= MEMORY && tokens > 5_000);
    }
}
