//! What one connection waits for, and since when, in ticks of its worker: the connection and the HTTP side note it here, the sweeper
//! looks. It knows no HTTP and no socket.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Rules;
use super::capacity::Seat;

/// How often the sweeper looks, and so by how much an end may be late.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// A moment, in ticks of one worker.
pub(super) type Tick = u32;

/// What one connection waits for.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Who is woken when time is over: the task that serves the connection.
    waker: RefCell<Option<Waker>>,
    expired: Cell<bool>,
    /// Without one it is only told that there is no room.
    pub(super) seat: RefCell<Option<Seat>>,
    /// Somebody waits for the body of the request that is being worked on.
    wanted: Cell<bool>,
    /// How long that body is at least, by what its client has said; and who waits for that to be too much.
    announced: Cell<u64>,
    reader: RefCell<Option<(u64, Waker)>>,
    /// By when what the client has begun to send must be there. Only counts while nothing is there to be read.
    read_by: Cell<Option<Tick>>,
    starving: Cell<bool>,
    /// Since when, and how much, the client has taken of what it is sent. Only counts while it takes nothing more.
    sending: Cell<Option<Tick>>,
    taken: Cell<usize>,
    blocked: Cell<bool>,
    /// A request has begun whose answer has not been made yet.
    answering: Cell<bool>,
    /// The answer that has been made may be sent a little later, with others.
    patient: Cell<bool>,
    /// Something is there that is not read before that answer has been made and sent.
    more: Cell<bool>,
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

    /// A body will be of so many bytes at least.
    pub(super) fn announces(&self, bytes: u64) {
        self.announced.set(bytes);
        if let Some((_, waker)) = self.reader.borrow_mut().take_if(|(limit, _)| bytes > *limit) {
            waker.wake();
        }
    }

    /// Ready once a body will be longer than that.
    pub(super) fn poll_longer_than(&self, limit: u64, context: &Context<'_>) -> Poll<()> {
        if self.announced.get() > limit {
            return Poll::Ready(());
        }
        self.reader.replace(Some((limit, context.waker().clone())));
        Poll::Pending
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

    /// Whether somebody still makes more of what the client is sent, for as long as it is there.
    pub(super) fn goes_on(&self) -> bool {
        self.revoked.borrow().is_some() && !self.made.get()
    }

    /// Another request begins.
    pub(super) fn begins(&self) {
        self.wanted.set(false);
        self.answering.set(true);
        self.patient.set(false);
        if self.made.get() {
            self.revoked.replace(None);
        }
    }

    /// Whether the answer to the last request that began is still being made.
    pub(super) fn is_answering(&self) -> bool {
        self.answering.get()
    }

    /// It has been made; whether it may wait to be sent with others.
    pub(super) fn has_answered(&self, patient: bool) {
        self.answering.set(false);
        self.patient.set(patient);
        if self.more.take() {
            self.wake();
        }
    }

    /// Whether what is to be written now is an answer that may wait for others.
    pub(super) fn is_patient(&self) -> bool {
        self.patient.get()
    }

    /// Whether it is one of those that there is room for.
    pub(super) fn has_seat(&self) -> bool {
        self.seat.borrow().is_some()
    }

    /// Its connection is gone: somebody else may have its seat.
    pub(super) fn leaves(&self) {
        self.seat.take();
    }

    /// Something is there for later: who serves the connection must be woken for it.
    pub(super) fn has_more(&self) {
        self.more.set(true);
    }

    /// Whether that was said since the last time that it was.
    pub(super) fn knows_of_more(&self) -> bool {
        self.more.get()
    }

    /// All that was made has been sent.
    pub(super) fn has_sent(&self) {
        if !self.answering.get() && self.more.take() {
            self.wake();
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

    pub(super) fn expire(&self) {
        self.expired.set(true);
        self.wake();
    }

    pub(super) fn look(&self, now: Tick, stopped: Option<Tick>, rules: &Rules) {
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
pub(super) fn after(since: Tick, limit: Duration) -> Tick {
    let ticks = limit.as_millis().div_ceil(TICK.as_millis());
    since.saturating_add(Tick::try_from(ticks).unwrap_or(Tick::MAX)).saturating_add(1)
}
