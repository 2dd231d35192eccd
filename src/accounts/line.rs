//! Logins from one address stand in line, and come to their turn in the order in which they came: only so many may be checked at
//! once, and the others would ask the database again and again whether it is their turn, some of them in vain until their time is
//! over. Each replica has lines of its own. Must not know what is counted, or where.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A line for each address from which somebody signs in.
pub(super) struct Lines {
    places: usize,
    by_address: Mutex<HashMap<IpAddr, Weak<Semaphores>>>,
}

/// Those who sign in from one address.
pub(super) struct Line(Arc<Semaphores>);

struct Semaphores {
    /// One: whoever is next, until they have gone in.
    next: Arc<Semaphore>,
    /// Those who have.
    places: Arc<Semaphore>,
}

/// A place, until it is dropped.
pub(super) struct Place {
    next: Option<OwnedSemaphorePermit>,
    _held: OwnedSemaphorePermit,
    _line: Arc<Semaphores>,
}

impl Lines {
    /// With so many places in each.
    pub(super) fn new(places: usize) -> Self {
        Self { places, by_address: Mutex::default() }
    }

    /// The line of an address.
    pub(super) fn of(&self, address: IpAddr) -> Line {
        let mut lines = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&address).and_then(Weak::upgrade) {
            return Line(line);
        }
        if lines.len() == lines.capacity() {
            // Only here is it seen that nobody stands in one any more.
            lines.retain(|_, line| line.strong_count() > 0);
        }
        let (next, places) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(self.places)));
        let line = Arc::new(Semaphores { next, places });
        lines.insert(address, Arc::downgrade(&line));
        Line(line)
    }
}

impl Line {
    /// A place, if one is free and nobody waits for it.
    pub(super) fn place_now(&self) -> Option<Place> {
        let next = Arc::clone(&self.0.next).try_acquire_owned().ok()?;
        let place = Arc::clone(&self.0.places).try_acquire_owned().ok()?;
        Some(self.taken(next, place))
    }

    /// A place, once it is one's turn. Who has it keeps the others waiting until they go in.
    pub(super) async fn place(&self) -> Option<Place> {
        let next = Arc::clone(&self.0.next).acquire_owned().await.ok()?;
        let place = Arc::clone(&self.0.places).acquire_owned().await.ok()?;
        Some(self.taken(next, place))
    }

    fn taken(&self, next: OwnedSemaphorePermit, place: OwnedSemaphorePermit) -> Place {
        Place { next: Some(next), _held: place, _line: Arc::clone(&self.0) }
    }
}

impl Place {
    /// It is somebody else's turn.
    pub(super) fn go_in(&mut self) {
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn who_came_first_gets_the_next_place_and_nobody_gets_in_between() {
        let lines = Lines::new(2);
        let line = || lines.of([192, 0, 2, 1].into());
        let mut one = line().place_now().unwrap();
        assert!(line().place_now().is_none(), "it has not gone in yet");
        one.go_in();
        let mut other = line().place_now().unwrap();
        other.go_in();
        let (kept, late) = (line(), line());
        let (mut first, mut second) = (Box::pin(kept.place()), Box::pin(late.place()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert!(lines.of([192, 0, 2, 2].into()).place_now().is_some(), "another address has a line of its own");
        drop(one);
        assert!(line().place_now().is_none(), "it is the first one's");
        assert!(second.as_mut().now_or_never().is_none());
        assert!(first.as_mut().now_or_never().is_some());
    }

    #[test]
    fn a_line_in_which_nobody_stands_is_forgotten() {
        let lines = Lines::new(1);
        let _place = lines.of([192, 0, 2, 1].into()).place_now();
        for number in 0..10_000_u32 {
            lines.of(IpAddr::from(number.to_be_bytes())).place_now();
        }
        assert!(lines.by_address.lock().unwrap().len() < 100);
        assert!(lines.of([192, 0, 2, 1].into()).place_now().is_none(), "one in which somebody does is not");
    }
}
