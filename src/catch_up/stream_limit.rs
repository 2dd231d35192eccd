//! Limits the event streams that each principal may have open at once on this replica.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::principal::Principal;

/// Identifies a user or guest, across its tokens and sessions.
type PrincipalKey = (Discriminant<Principal>, Option<Arc<str>>, Arc<str>);

/// The number of open streams by principal. Principals without a stream have no entry.
type OpenStreams = Mutex<HashMap<PrincipalKey, usize>>;

/// Counts the open streams of each principal. Clones share the counts.
#[derive(Clone)]
pub(crate) struct StreamLimit {
    max: usize,
    open: Arc<OpenStreams>,
}

/// Counts as one open stream of its principal until it is dropped.
pub(crate) struct StreamPermit {
    open: Arc<OpenStreams>,
    principal: PrincipalKey,
}

impl StreamLimit {
    /// Allows each principal `max` streams (`APP_LIVE__MAX_PER_CALLER`).
    pub(crate) fn new(max: usize) -> Self {
        Self { max, open: Arc::default() }
    }

    /// Counts one more stream of `principal`; `None` if it has as many as it may.
    pub(crate) fn acquire(&self, principal: &Principal) -> Option<StreamPermit> {
        let (Principal::User { id, .. } | Principal::Guest { id, .. } | Principal::ApiKey { name: id, .. }) = principal;
        let issuer = principal.identity().map(|identity| Arc::clone(&identity.issuer));
        let key = (discriminant(principal), issuer, Arc::clone(id));
        let mut open = lock(&self.open);
        let count = open.get(&key).copied().unwrap_or(0);
        if count >= self.max {
            return None;
        }
        open.insert(key.clone(), count + 1);
        Some(StreamPermit { open: Arc::clone(&self.open), principal: key })
    }
}

/// Locks the counts. Nothing panics while it holds the lock.
fn lock(open: &OpenStreams) -> MutexGuard<'_, HashMap<PrincipalKey, usize>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = lock(&self.open).entry(self.principal.clone()) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::principal::Identity;
    use crate::room::NameComparison;

    fn user(id: &str, session: &str) -> Principal {
        Principal::User { id: id.into(), session: Some(session.into()), identity: None }
    }

    #[test]
    fn principal_over_the_limit_waits_for_a_dropped_permit() {
        let limit = StreamLimit::new(2);
        let (first, second) = (limit.acquire(&user("a", "s1")), limit.acquire(&user("a", "s2")));
        assert!(first.is_some() && second.is_some());
        assert!(limit.clone().acquire(&user("a", "s3")).is_none(), "another session is the same user");
        drop(first);
        assert!(limit.acquire(&user("a", "s1")).is_some());
    }

    #[test]
    fn other_principal_has_its_own_count() {
        let limit = StreamLimit::new(1);
        let guest = Principal::Guest { id: "a".into(), room: NameComparison::Exact.parse("r1").unwrap() };
        let identity = Identity {
            issuer: "https://id.example.com".into(),
            key: "k1".into(),
            name: None,
            roles: None,
            rooms: Vec::new(),
        };
        let of_provider = Principal::User { id: "a".into(), session: None, identity: Some(identity.into()) };
        let permits = [user("a", "s"), user("b", "s"), guest.clone(), of_provider].map(|one| limit.acquire(&one));
        assert!(permits.iter().all(Option::is_some), "a guest or a provider's user is no account, whatever its id");
        assert!(limit.acquire(&guest).is_none());
    }

    #[test]
    fn principal_without_streams_takes_no_memory() {
        let limit = StreamLimit::new(1);
        for id in 0..100 {
            let principal = user(&id.to_string(), "s");
            let permit = limit.acquire(&principal);
            assert!(permit.is_some() && limit.acquire(&principal).is_none());
        }
        assert_eq!(lock(&limit.open).len(), 0);
    }
}
