//! The memory that the bodies of requests may take, over all workers: a body is held from its first byte until its request is
//! done, and how long that is may be up to its client. Knows no HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So much of each body is free, so that who sends what a login needs is never told to wait for those who send more.
const FREE: usize = 1024;

/// How much bodies may take beyond that: dozens of the longest.
const LIMIT: usize = 4 << 20;

/// What bodies take beyond that, and how much they may.
#[derive(Debug)]
pub struct Bodies {
    limit: usize,
    now: AtomicUsize,
}

/// What one body takes; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    bodies: Arc<Bodies>,
    free: usize,
    taken: usize,
}

impl Bodies {
    /// None, and no more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, now: AtomicUsize::new(0) }
    }

    /// A body of which nothing has come yet.
    #[must_use]
    pub fn hold(self: Arc<Self>) -> Held {
        Held { bodies: self, free: FREE, taken: 0 }
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Held {
    /// Takes so many bytes more, if there is room for them.
    pub fn take(&mut self, bytes: usize) -> bool {
        let free = bytes.min(self.free);
        self.free -= free;
        let bytes = bytes - free;
        if self.bodies.now.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.bodies.limit && bytes > 0 {
            self.bodies.now.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.taken += bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bodies.now.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_much_in_all_and_for_every_small_body() {
        let bodies = Arc::new(Bodies::new(10));
        let hold = || Arc::clone(&bodies).hold();
        let (mut first, mut second) = (hold(), hold());
        assert!(first.take(FREE - 1) && first.take(1) && first.take(10));
        assert!(second.take(FREE) && second.take(0) && !second.take(1) && !first.take(1));
        assert!(hold().take(FREE) && !hold().take(FREE + 1));
        drop(first);
        assert!(second.take(9) && !second.take(2) && second.take(1));
        drop(second);
        assert_eq!(bodies.now.load(Ordering::Relaxed), 0);
    }
}
