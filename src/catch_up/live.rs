//! A catch-up that keeps coming: those who watch a room share one poll of its source, and none is made while nobody watches.
//!
//! Each watcher is told the latest and nothing else: whoever reads slowly misses what is old by then, and nothing piles up.
//! The news are put into their form once, not once a watcher. Must not know how they travel.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::reason::Rooms;
use crate::admin_control::{Endpoint, Error};
use crate::cache::Envelope;
use crate::request_context::RequestContext;
use crate::room::RoomName;

/// The shortest time between two polls of a room, whatever the age of what the first one found.
const SHORTEST: Duration = Duration::from_millis(50);
/// How long it may take to find out that a meeting is over.
const ENDED_WITHIN: Duration = Duration::from_secs(2);

/// What is known of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Its catch-up.
    CatchUp(Envelope),
    /// There is none, and the room is not among the meetings that ended.
    NoneYet,
    /// The meeting is over. Nothing comes after this.
    Ended,
    /// Admin Control failed before there was anything to show.
    Failed(Error),
}

/// News in the form that every watcher gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// The news.
    pub news: News,
    /// Their form.
    pub form: Bytes,
    /// The catch-up that was found with them, for those who have not got it yet.
    pub before: Option<Arc<Told>>,
}

/// Puts news into their form.
pub type Form = fn(&News) -> Bytes;

type Sender = watch::Sender<Option<Arc<Told>>>;

/// The rooms that are watched. Clones are the same.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    rooms: Mutex<HashMap<RoomName, Arc<Sender>>>,
    every: Duration,
    form: Form,
}

/// Somebody who watches a room.
pub struct Watching(watch::Receiver<Option<Arc<Told>>>);

impl Watching {
    /// What is known now, the first time; then the next news. `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Arc<Told>> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(told) = self.0.borrow_and_update().clone() {
                return Some(told);
            }
        }
    }
}

impl Live {
    /// Asks for each watched room once in `every`.
    #[must_use]
    pub fn new(every: Duration, form: Form) -> Self {
        Self(Arc::new(Shared { rooms: Mutex::default(), every, form }))
    }

    /// Watches `room` from now on. The first watcher's worker polls for all of them.
    pub(super) fn watch(&self, room: &RoomName, rooms: &Rc<Rooms>) -> Watching {
        let mut watched = self.rooms();
        if let Some(sender) = watched.get(room) {
            let mut receiver = sender.subscribe();
            receiver.mark_changed();
            return Watching(receiver);
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        watched.insert(room.clone(), Arc::clone(&sender));
        let poll = Poll { live: self.clone(), room: room.clone(), source: Rc::clone(rooms), sender };
        tokio::task::spawn_local(poll.go_on());
        Watching(receiver)
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Arc<Sender>>> {
        // Nothing in here panics while it holds the lock.
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The poll of one room, for as long as somebody watches it.
struct Poll {
    live: Live,
    room: RoomName,
    source: Rc<Rooms>,
    sender: Arc<Sender>,
}

impl Poll {
    async fn go_on(self) {
        loop {
            let due = self.ask().await;
            let ended = self.sender.borrow().as_ref().is_some_and(|told| told.news == News::Ended);
            tokio::select! {
                () = sleep_until(due) => {}
                // Who comes right after the end is told so without another call.
                () = self.sender.closed(), if !ended => {}
            }
            if self.is_over(ended) {
                return;
            }
        }
    }

    /// Asks once, tells what is new, and says when to ask again.
    async fn ask(&self) -> Instant {
        // What is fresh for everybody is fresh for watchers too, and as they ask rarely, so is what others got in between.
        let responses = &self.source.responses;
        let every = self.live.0.every.max(responses.fresh_for(Endpoint::CallCatchUp));
        let read = responses.get_within(every, Endpoint::CallCatchUp, Some(&self.room), &RequestContext::nobody()).await;
        let after = |pause: Duration| Instant::now() + pause.max(SHORTEST);
        match read {
            Ok(response) => {
                // As old as that, it stands in for a failure: then the next poll is due when it always is.
                let left = every.checked_sub(response.age).filter(|left| !left.is_zero());
                let due = after(left.unwrap_or(every));
                let shown = self.shows_something();
                let is_new = self.tell(News::CatchUp(response.envelope));
                // Admin Control may go on giving the last catch-up of a meeting that is over. One that grows goes on.
                if !(shown && is_new) && self.nothing_goes_on().await && self.has_ended().await {
                    self.tell(News::Ended);
                }
                due
            }
            Err(Error::NotFound) => {
                let due = after(every);
                self.tell(if self.has_ended().await { News::Ended } else { News::NoneYet });
                due
            }
            // What they have is better than a failure.
            Err(_) if self.shows_something() => after(every),
            Err(error) => {
                self.tell(News::Failed(error));
                after(every)
            }
        }
    }

    /// Whether no call goes on in the room. Not to find out means that one does.
    async fn nothing_goes_on(&self) -> bool {
        let status = timeout(ENDED_WITHIN, self.source.is_transcribed(&self.room, &RequestContext::nobody())).await;
        matches!(status, Ok(Err(Error::NotFound)))
    }

    async fn has_ended(&self) -> bool {
        timeout(ENDED_WITHIN, self.source.has_ended(&self.room, &RequestContext::nobody())).await == Ok(Ok(true))
    }

    fn shows_something(&self) -> bool {
        self.sender.borrow().as_ref().is_some_and(|told| matches!(told.news, News::CatchUp(_)))
    }

    /// Whether it is news.
    fn tell(&self, news: News) -> bool {
        let before = self.sender.borrow().clone();
        if before.as_ref().is_some_and(|told| told.news == news) {
            return false;
        }
        let form = (self.live.0.form)(&news);
        let before = before.filter(|told| news == News::Ended && matches!(told.news, News::CatchUp(_)));
        // Also when nobody is there at this very moment: who comes next gets it.
        self.sender.send_replace(Some(Arc::new(Told { news, form, before })));
        true
    }

    /// Whether nobody watches any more, or nothing will come any more. Looked at under the lock, so that nobody joins what is over.
    fn is_over(&self, ended: bool) -> bool {
        let mut rooms = self.live.rooms();
        let over = ended || self.sender.receiver_count() == 0;
        if over {
            rooms.remove(&self.room);
        }
        over
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        // Its worker may be gone in the middle; the next watcher must not wait for a poll that nobody makes.
        let mut rooms = self.live.rooms();
        if rooms.get(&self.room).is_some_and(|sender| Arc::ptr_eq(sender, &self.sender)) {
            rooms.remove(&self.room);
        }
    }
}
