//! Limits the event streams that each caller may have open at once on this replica.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::principal::Principal;

/// Counts the open streams of each caller. Clones share the counts.
#[derive(Clone)]
pub struct StreamLimit(Arc<Counts>);

struct Counts {
    max: usize,
    /// Callers without a stream have no entry.
    open: Mutex<HashMap<Holder, usize>>,
}

/// Identifies a caller, whichever token or session it comes with.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Holder {
    User(Arc<str>),
    Guest(Arc<str>),
}

/// Counts as one open stream of its caller until it is dropped.
pub struct StreamPermit {
    counts: Arc<Counts>,
    holder: Holder,
}

impl StreamLimit {
    /// Allows each caller `max` streams (`APP_LIVE__MAX_PER_CALLER`).
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Counts { max, open: Mutex::default() }))
    }

    /// Counts one more stream of `caller`; `None` if it has as many as it may.
    #[must_use]
    pub fn acquire(&self, caller: &Principal) -> Option<StreamPermit> {
        let holder = match caller {
            Principal::User { id, .. } => Holder::User(Arc::clone(id)),
            Principal::Guest { id, .. } => Holder::Guest(Arc::clone(id)),
        };
        let mut all = self.0.open();
        let count = all.get(&holder).copied().unwrap_or(0);
        if count >= self.0.max {
            return None;
        }
        all.insert(holder.clone(), count + 1);
        drop(all);
        Some(StreamPermit { counts: Arc::clone(&self.0), holder })
    }
}

impl Counts {
    fn open(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        // Nothing in here panics while it holds the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.counts.open().entry(self.holder.clone()) {
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
    use crate::room::NameComparison;

    fn user(id: &str, session: &str) -> Principal {
        Principal::User { id: id.into(), session: session.into() }
    }

    #[test]
    fn caller_over_the_limit_is_refused_until_a_permit_is_dropped() {
        let limit = StreamLimit::new(2);
        let (first, second) = (limit.acquire(&user("a", "s1")), limit.acquire(&user("a", "s2")));
        assert!(first.is_some() && second.is_some());
        assert!(limit.clone().acquire(&user("a", "s3")).is_none(), "another session is the same user");
        drop(first);
        assert!(limit.acquire(&user("a", "s1")).is_some());
    }

    #[test]
    fn other_caller_has_its_own_count() {
        let limit = StreamLimit::new(1);
        let guest = Principal::Guest { id: "a".into(), room: NameComparison::Exact.parse("r1").unwrap() };
        let permits = [limit.acquire(&user("a", "s")), limit.acquire(&user("b", "s")), limit.acquire(&guest)];
        assert!(permits.iter().all(Option::is_some), "a guest is no user, whatever its id");
        assert!(limit.acquire(&guest).is_none());
    }

    #[test]
    fn caller_without_streams_takes_no_memory() {
        let limit = StreamLimit::new(1);
        for id in 0..100 {
            let caller = user(&id.to_string(), "s");
            let permit = limit.acquire(&caller);
            assert!(permit.is_some() && limit.acquire(&caller).is_none());
        }
        assert_eq!(limit.0.open().len(), 0);
    }
}
