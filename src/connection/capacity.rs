//! How many connections there may be, over all workers. Who comes when all seats are taken stands: is heard, told so, and sent
//! away, and gives way to those who come later. Knows no socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections that there may be, over all workers. Clones are the same.
#[derive(Debug, Clone)]
pub struct Capacity {
    seats: Arc<Seats>,
    pub(super) standing: usize,
}

impl Capacity {
    /// For so many connections in all, and for so many more that are only told that there is no room, spread over the workers.
    #[must_use]
    pub fn new(connections: usize, standing: usize, workers: usize) -> Self {
        Self { seats: Arc::new(Seats::new(connections)), standing: standing.div_ceil(workers.max(1)) }
    }

    /// How many connections there may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.seats.limit
    }

    /// How many there are; who stands does not count.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.seats.taken.load(Ordering::Relaxed)
    }

    /// More than a worker of so many ever has, those included that give way and may be there for a moment yet.
    #[must_use]
    pub fn more_than_one_has(&self, workers: usize) -> usize {
        self.limit().div_ceil(workers.max(1)).saturating_add(2 * self.standing)
    }

    /// A seat, if one is free.
    pub(super) fn take_seat(&self) -> Option<Seat> {
        if self.seats.taken.fetch_add(1, Ordering::Relaxed) < self.seats.limit {
            return Some(Seat(Arc::clone(&self.seats)));
        }
        self.seats.taken.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// How many seats there are, and how many are taken.
#[derive(Debug)]
struct Seats {
    limit: usize,
    taken: AtomicUsize,
}

/// A seat that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Seats>);

impl Seats {
    fn new(limit: usize) -> Self {
        Self { limit, taken: AtomicUsize::new(0) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
