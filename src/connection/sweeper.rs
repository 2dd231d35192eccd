//! Ends connections whose time is over: one timer for all connections of a worker, instead of one for each read or write.
//!
//! A connection notes in its [`Watch`] what it waits for and since when, in ticks; the sweeper looks through them all once a
//! tick. It knows no HTTP.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::seats::Seat;
use super::{Room, Rules};
use crate::draining::Draining;

/// How often it looks, and so by how much an end may be late.
const TICK: Duration = Duration::from_millis(250);

/// A moment, in ticks of one worker.
type Tick = u32;

/// What one connection waits for.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Who is woken when time is over: the task that serves the connection.
    waker: RefCell<Option<Waker>>,
    expired: Cell<bool>,
    /// Without one it is only told that there is no room.
    seat: RefCell<Option<Seat>>,
    /// Somebody waits for the body of the request that is being worked on.
    wanted: Cell<bool>,
    /// By when what the client has begun to send must be there. Only counts while nothing is there to be read.
    read_by: Cell<Option<Tick>>,
    starving: Cell<bool>,
    /// Since when, and how much, the client has taken of what it is sent. Only counts while it takes nothing more.
    sending: Cell<Option<Tick>>,
    taken: Cell<usize>,
    blocked: Cell<bool>,
    /// Says that the client may not have any more what it is being sent.
    revoked: RefCell<Option<Arc<AtomicBool>>>,
    /// All of that has been made by now; what is asked for next is something else.
    made: Cell<bool>,
}

impl Watch {
    /// Whether its time is over.
    pub(super) fn is_over(&self) -> bool {
        self.expired.get()
    }

    /// A read found nothing.
    pub(super) fn starves(&self, context: &Context<'_>) {
        self.starving.set(true);
        self.remember(context);
    }

    /// A read found something, after which the rest must be there by then.
    pub(super) fn has_read(&self, by: Option<Tick>) {
        self.starving.set(false);
        self.read_by.set(by);
    }

    /// The client takes no more at the moment.
    pub(super) fn is_blocked(&self, context: &Context<'_>, now: Tick) {
        self.blocked.set(true);
        if self.sending.get().is_none() {
            self.sending.set(Some(now));
            self.taken.set(0);
        }
        self.remember(context);
    }

    /// The client took so many bytes.
    pub(super) fn has_taken(&self, bytes: usize) {
        self.blocked.set(false);
        self.taken.set(self.taken.get().saturating_add(bytes));
    }

    /// Says that the body is wanted.
    pub(super) fn want(&self) {
        if !self.wanted.replace(true) {
            self.wake();
        }
    }

    /// Whether it was said since the last time.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.take()
    }

    /// From now on the client is sent what it may only have until then.
    pub(super) fn sends_until(&self, revoked: Arc<AtomicBool>) {
        self.made.set(false);
        self.revoked.replace(Some(revoked));
    }

    /// No more of that will be made.
    pub(super) fn has_been_made(&self) {
        self.made.set(true);
    }

    /// Another request begins.
    pub(super) fn begins(&self) {
        self.wanted.set(false);
        if self.made.get() {
            self.revoked.replace(None);
        }
    }

    fn is_revoked(&self) -> bool {
        self.revoked.borrow().as_ref().is_some_and(|revoked| revoked.load(Ordering::Relaxed))
    }

    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn remember(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }

    fn expire(&self) {
        self.expired.set(true);
        self.wake();
    }

    fn look(&self, now: Tick, stopped: Option<Tick>, rules: &Rules) {
        // Whoever makes it can't end it, because nobody asks for more as long as the client does not take what there is.
        if self.blocked.get() && self.is_revoked() {
            return self.expire();
        }
        let late = |since: Tick, limit: Duration| now >= after(since, limit);
        if self.starving.get() {
            let by = self.read_by.get();
            let stopping = by.is_some() && stopped.is_some_and(|since| late(since, rules.once_stopped));
            if stopping || by.is_some_and(|by| now >= by) {
                return self.expire();
            }
        }
        let Some(since) = self.sending.get() else {
            return;
        };
        if !self.blocked.get() {
            // It had taken everything when it was looked at: it is not slow.
            return self.sending.set(None);
        }
        // From the stop on, a window of its own, and a shorter one.
        let (since, window) = match stopped {
            Some(stopped) if stopped >= since => return self.sending_since(stopped.max(since)),
            Some(_) => (since, rules.once_stopped),
            None => (since, rules.send_window),
        };
        let least = usize::try_from(window.as_secs().max(1)).unwrap_or(usize::MAX).saturating_mul(rules.least_per_second);
        if self.taken.get() >= least {
            // Its time begins anew with each such portion, so that a swift start is no excuse for what follows.
            self.sending_since(now);
        } else if late(since, window) {
            self.expire();
        }
    }

    fn sending_since(&self, since: Tick) {
        // One later than the stop, so that it is not begun anew each time.
        self.sending.set(Some(since + 1));
        self.taken.set(0);
    }
}

/// The tick by which `limit` has passed for sure.
fn after(since: Tick, limit: Duration) -> Tick {
    let ticks = limit.as_millis().div_ceil(TICK.as_millis());
    since.saturating_add(Tick::try_from(ticks).unwrap_or(Tick::MAX)).saturating_add(1)
}

/// Looks after the connections of one worker.
#[derive(Debug)]
pub(super) struct Sweeper {
    rules: Rules,
    room: Room,
    now: Cell<Tick>,
    watches: RefCell<Vec<Rc<Watch>>>,
    /// Those without a seat, the oldest first.
    standing: RefCell<VecDeque<Weak<Watch>>>,
}

impl Sweeper {
    /// Starts on this thread, and goes on until the last of its connections is gone.
    pub(super) fn start(rules: Rules, room: Room, draining: Draining) -> Rc<Self> {
        let (now, watches, standing) = (Cell::new(0), RefCell::default(), RefCell::default());
        let sweeper = Rc::new(Self { rules, room, now, watches, standing });
        let weak = Rc::downgrade(&sweeper);
        tokio::task::spawn_local(async move {
            let mut ticks = tokio::time::interval(TICK);
            // A worker that was held up must not make its connections older than they are.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut stopped = None;
            loop {
                ticks.tick().await;
                let Some(sweeper) = weak.upgrade() else {
                    return;
                };
                let now = sweeper.now.get().saturating_add(1);
                sweeper.now.set(now);
                if stopped.is_none() && draining.is_over() {
                    stopped = Some(now);
                }
                sweeper.sweep(now, stopped);
            }
        });
        sweeper
    }

    fn sweep(&self, now: Tick, stopped: Option<Tick>) {
        let mut watches = self.watches.borrow_mut();
        // Only here, of a connection that is gone.
        watches.retain(|watch| Rc::strong_count(watch) > 1);
        for watch in watches.iter() {
            watch.look(now, stopped, &self.rules);
        }
        let (length, capacity) = (watches.len(), watches.capacity());
        if capacity > 1024 && length < capacity / 4 {
            watches.shrink_to(length * 2);
        }
    }

    pub(super) fn watch(&self) -> Rc<Watch> {
        let watch = Rc::new(Watch::default());
        self.watches.borrow_mut().push(Rc::clone(&watch));
        if !self.seat(&watch) {
            self.stand(&watch);
        }
        watch
    }

    /// Whether that connection has a seat, or gets one now.
    pub(super) fn seat(&self, watch: &Watch) -> bool {
        let mut seat = watch.seat.borrow_mut();
        if seat.is_none() {
            *seat = self.room.take_seat();
        }
        seat.is_some()
    }

    /// One more without a seat: if they are too many, the oldest of them gives way.
    fn stand(&self, watch: &Rc<Watch>) {
        let mut standing = self.standing.borrow_mut();
        if standing.len() >= self.room.standing {
            // One that is gone is only known here.
            standing.retain(|other| {
                other.strong_count() > 1
                    && other.upgrade().is_some_and(|other| !other.is_over() && other.seat.borrow().is_none())
            });
        }
        while standing.len() >= self.room.standing.max(1) {
            if let Some(oldest) = standing.pop_front().and_then(|oldest| oldest.upgrade()) {
                oldest.expire();
            }
        }
        standing.push_back(Rc::downgrade(watch));
    }

    pub(super) fn now(&self) -> Tick {
        self.now.get()
    }

    /// By when a head must be there that began now.
    pub(super) fn head_by(&self, begun: Tick) -> Tick {
        after(begun, self.rules.head)
    }

    /// By when a request must be there, its body included, that began then.
    pub(super) fn request_by(&self, begun: Tick) -> Tick {
        after(begun, self.rules.request)
    }

    /// By when a connection that is being closed is dropped.
    pub(super) fn closed_by(&self) -> Tick {
        after(self.now(), self.rules.closing)
    }
}
