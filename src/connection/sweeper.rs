//! Ends connections whose time is over: one timer for all connections of a worker, instead of one for each read or write.
//!
//! A connection notes in its [`Watch`] what it waits for and since when, in ticks; the sweeper looks through them all once a
//! tick. It knows no HTTP.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use tokio::time::MissedTickBehavior;

use super::watch::{TICK, Tick, Watch, after};
use super::{Capacity, Rules};
use crate::draining::Draining;

/// Where more answers than this are being made or wait, no other one waits.
const CROWD: usize = 256;

/// Looks after the connections of one worker.
#[derive(Debug)]
pub(super) struct Sweeper {
    rules: Rules,
    capacity: Capacity,
    now: Cell<Tick>,
    watches: RefCell<Vec<Rc<Watch>>>,
    /// Those without a seat, the oldest first.
    standing: RefCell<VecDeque<Weak<Watch>>>,
    /// How many answers are being made, or wait for others.
    answers: Cell<usize>,
}

impl Sweeper {
    /// Starts on this thread, and goes on until the last of its connections is gone.
    pub(super) fn start(rules: Rules, capacity: Capacity, draining: Draining) -> Rc<Self> {
        let (now, watches, standing, answers) = Default::default();
        let sweeper = Rc::new(Self { rules, capacity, now, watches, standing, answers });
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
            *seat = self.capacity.take_seat();
        }
        seat.is_some()
    }

    /// One more without a seat: if they are too many, the oldest of them gives way.
    fn stand(&self, watch: &Rc<Watch>) {
        let mut standing = self.standing.borrow_mut();
        if standing.len() >= self.capacity.standing {
            // One that is gone is only known here.
            standing.retain(|other| {
                other.strong_count() > 1
                    && other.upgrade().is_some_and(|other| !other.is_over() && other.seat.borrow().is_none())
            });
        }
        while standing.len() >= self.capacity.standing.max(1) {
            if let Some(oldest) = standing.pop_front().and_then(|oldest| oldest.upgrade()) {
                oldest.expire();
            }
        }
        standing.push_back(Rc::downgrade(watch));
    }

    /// One more answer is being made or waits.
    pub(super) fn has_one_more(&self) {
        self.answers.set(self.answers.get() + 1);
    }

    pub(super) fn has_one_less(&self) {
        self.answers.set(self.answers.get() - 1);
    }

    /// Whether they are so many that to wait for all that are ready would take long.
    pub(super) fn is_crowded(&self) -> bool {
        self.answers.get() > CROWD
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
