//! What was used most recently, as much of it as a number of bytes allows. Shared by all workers; knows nothing of what it keeps.
//!
//! One lock and no bookkeeping beside it: what is done under it takes less time than a cache without a lock spends on remembering
//! what to do later.

use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use hashlink::LruCache;

/// Values by key, the least recently used going first.
pub struct Recent<V> {
    entries: Mutex<Entries<V>>,
    max_bytes: u64,
}

struct Entries<V> {
    // Hashed with a seed that differs from start to start: only rooms that exist and tokens that are good get in here.
    by_key: LruCache<String, Entry<V>, RandomState>,
    /// What they all take.
    bytes: u64,
}

struct Entry<V> {
    value: V,
    bytes: u64,
}

impl<V: Clone> Recent<V> {
    /// Nothing, and no more than `max_bytes` of it.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let by_key = LruCache::with_hasher(usize::MAX, RandomState::default());
        Self { entries: Mutex::new(Entries { by_key, bytes: 0 }), max_bytes }
    }

    /// The value of `key`, which counts as a use.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<V> {
        self.entries().by_key.get(key).map(|entry| entry.value.clone())
    }

    /// Keeps a value that takes so many bytes, its key included; not if that is more than all may take.
    pub fn keep(&self, key: String, value: V, bytes: u64) {
        let mut entries = self.entries();
        entries.forget(&key);
        if bytes > self.max_bytes {
            return;
        }
        entries.by_key.insert(key, Entry { value, bytes });
        entries.bytes = entries.bytes.saturating_add(bytes);
        while entries.bytes > self.max_bytes
            && let Some((_, gone)) = entries.by_key.remove_lru()
        {
            entries.bytes = entries.bytes.saturating_sub(gone.bytes);
        }
    }

    /// Forgets `key`.
    pub fn forget(&self, key: &str) {
        self.entries().forget(key);
    }

    /// How many values there are, and how many bytes they take.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        let entries = self.entries();
        (entries.by_key.len() as u64, entries.bytes)
    }

    fn entries(&self) -> MutexGuard<'_, Entries<V>> {
        // Nothing in here panics while it holds the lock.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Entries<V> {
    fn forget(&mut self, key: &str) {
        if let Some(gone) = self.by_key.remove(key) {
            self.bytes = self.bytes.saturating_sub(gone.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_the_bytes_are_never_more_than_they_may_be() {
        let recent = Recent::new(100);
        for number in 0..1_000_u64 {
            recent.keep(format!("k{number}"), number, 1 + number % 40);
            assert!(recent.held().1 <= 100);
            recent.keep("used".into(), number, 10);
            assert_eq!(recent.get("used"), Some(number));
        }
        assert_eq!(recent.get("k999"), Some(999), "the newest beside it");
        assert_eq!(recent.get("k1"), None);
    }

    #[test]
    fn an_old_value_makes_way_for_the_new_one_and_its_bytes_with_it() {
        let recent = Recent::new(100);
        recent.keep("other".into(), 0, 20);
        for bytes in [80, 10, 80, 30] {
            recent.keep("k".into(), bytes, bytes);
            assert_eq!((recent.get("k"), recent.held()), (Some(bytes), (2, 20 + bytes)));
        }
        recent.keep("k".into(), 1, 101);
        assert_eq!((recent.get("k"), recent.held()), (None, (1, 20)), "too large, and the old value is not true any more");
        recent.forget("other");
        recent.forget("nobody");
        assert_eq!(recent.held(), (0, 0));
    }
}
