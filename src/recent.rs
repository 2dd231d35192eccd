//! What was used most recently, as much of it as a number of bytes allows. Shared by all workers; knows nothing of what it keeps.
//!
//! One lock and no bookkeeping beside it: what is done under it takes less time than a cache without a lock spends on remembering
//! what to do later.

use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use lru_slab::LruSlab;

/// Values by key, the least recently used going first.
pub struct Recent<V> {
    entries: Mutex<Entries<V>>,
    max_bytes: u64,
}

struct Entries<V> {
    /// In the order of their use, which is kept beside them and not in them: those before and after one in it lie anywhere in
    /// memory, and to touch them as well would take longer than all the rest.
    used: LruSlab<Box<Entry<V>>>,
    /// Where each is among those, by the hash of its key.
    places: HashTable<u32>,
    /// With a seed that differs from start to start: only rooms that exist and tokens that are good get in here.
    hasher: RandomState,
    /// What they all take.
    bytes: u64,
}

struct Entry<V> {
    key: Box<str>,
    value: V,
    bytes: u64,
}

impl<V: Clone> Recent<V> {
    /// Nothing, and no more than `max_bytes` of it.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let (used, places, hasher, bytes) = Default::default();
        Self { entries: Mutex::new(Entries { used, places, hasher, bytes }), max_bytes }
    }

    /// The value of `key`, which counts as a use.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<V> {
        self.entries().use_now(key).map(|entry| entry.value.clone())
    }

    /// Keeps a value that takes so many bytes, its key included; not if that is more than all may take.
    pub fn keep(&self, key: &str, value: V, bytes: u64) {
        let mut entries = self.entries();
        entries.forget(key);
        if bytes > self.max_bytes {
            return;
        }
        entries.add(Entry { key: key.into(), value, bytes });
        while entries.bytes > self.max_bytes && entries.forget_one() {}
    }

    /// Forgets `key`.
    pub fn forget(&self, key: &str) {
        self.entries().forget(key);
    }

    /// How many values there are, and how many bytes they take.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        let entries = self.entries();
        (entries.places.len() as u64, entries.bytes)
    }

    fn entries(&self) -> MutexGuard<'_, Entries<V>> {
        // Nothing in here panics while it holds the lock.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Entries<V> {
    fn use_now(&mut self, key: &str) -> Option<&Entry<V>> {
        let is_it = |place: &u32| *self.used.peek(*place).key == *key;
        let place = *self.places.find(self.hasher.hash_one(key), is_it)?;
        Some(self.used.get_mut(place))
    }

    /// One that is not there.
    fn add(&mut self, entry: Entry<V>) {
        self.bytes = self.bytes.saturating_add(entry.bytes);
        let hash = self.hasher.hash_one(&*entry.key);
        let place = self.used.insert(Box::new(entry));
        let hash_of = |place: &u32| self.hasher.hash_one(&*self.used.peek(*place).key);
        self.places.insert_unique(hash, place, hash_of);
    }

    fn forget(&mut self, key: &str) {
        let is_it = |place: &u32| *self.used.peek(*place).key == *key;
        if let Ok(found) = self.places.find_entry(self.hasher.hash_one(key), is_it) {
            let gone = self.used.remove(found.remove().0);
            self.bytes = self.bytes.saturating_sub(gone.bytes);
        }
    }

    /// The least recently used; whether there was one.
    fn forget_one(&mut self) -> bool {
        let Some(place) = self.used.lru() else { return false };
        let gone = self.used.remove(place);
        if let Ok(found) = self.places.find_entry(self.hasher.hash_one(&*gone.key), |other| *other == place) {
            found.remove();
        }
        self.bytes = self.bytes.saturating_sub(gone.bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_the_bytes_are_never_more_than_they_may_be() {
        let recent = Recent::new(100);
        for number in 0..1_000_u64 {
            recent.keep(&format!("k{number}"), number, 1 + number % 40);
            assert!(recent.held().1 <= 100);
            recent.keep("used", number, 10);
            assert_eq!(recent.get("used"), Some(number));
        }
        assert_eq!(recent.get("k999"), Some(999), "the newest beside it");
        assert_eq!(recent.get("k1"), None);
    }

    #[test]
    fn an_old_value_makes_way_for_the_new_one_and_its_bytes_with_it() {
        let recent = Recent::new(100);
        recent.keep("other", 0, 20);
        for bytes in [80, 10, 80, 30] {
            recent.keep("k", bytes, bytes);
            assert_eq!((recent.get("k"), recent.held()), (Some(bytes), (2, 20 + bytes)));
        }
        recent.keep("k", 1, 101);
        assert_eq!((recent.get("k"), recent.held()), (None, (1, 20)), "too large, and the old value is not true any more");
        recent.forget("other");
        recent.forget("nobody");
        assert_eq!(recent.held(), (0, 0));
    }
}
