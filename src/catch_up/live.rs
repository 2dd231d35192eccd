//! Live catch-ups: one poller for each room that has subscribers, shared by all of them.
//!
//! A subscriber receives the latest update only: a slow one skips older updates, so that no queue grows. Each update is
//! serialised once. A room without subscribers is not polled.

use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::reason::RoomStatus;
use crate::admin_control::{Endpoint, Error};
use crate::cache::{CachedResponse, Envelope, Responses};
use crate::request_context::RequestContext;
use crate::room::RoomName;

/// The shortest time between two polls of a room.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum time to find out whether a meeting has ended.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// The latest that is known of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Update {
    /// Its catch-up.
    CatchUp(Envelope),
    /// There is no catch-up, and the meeting has not ended.
    NoneYet,
    /// The meeting has ended. No update follows.
    Ended,
    /// Admin Control failed before there was a catch-up.
    Failed(Error),
}

/// An update, serialised for all subscribers.
#[derive(Debug)]
pub(crate) struct Event {
    /// The update.
    pub update: Update,
    /// The update as it is sent.
    pub bytes: Bytes,
    /// The last catch-up before [`Update::Ended`], for subscribers that have not received it.
    pub last_catch_up: Option<Arc<Event>>,
}

/// Serialises an update.
pub(crate) type SerializeUpdate = fn(&Update) -> Bytes;

/// Holds the latest event; `None` until the first poll has ended.
type Sender = watch::Sender<Option<Arc<Event>>>;

/// Receives the events of one room.
pub(crate) struct Subscription(watch::Receiver<Option<Arc<Event>>>);

impl Subscription {
    /// Returns the current event, then each next one; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(event) = self.0.borrow_and_update().clone() {
                return Some(event);
            }
        }
    }
}

/// The rooms with subscribers. Clones share them.
#[derive(Clone)]
pub(crate) struct LiveCatchUps {
    rooms: Arc<Mutex<HashMap<RoomName, Arc<Sender>>>>,
    poll_interval: Duration,
    to_event: SerializeUpdate,
}

impl LiveCatchUps {
    /// Polls each room once in `poll_interval`.
    pub(crate) fn new(poll_interval: Duration, to_event: SerializeUpdate) -> Self {
        Self { rooms: Arc::default(), poll_interval, to_event }
    }

    /// Subscribes to `room`. The first subscriber's worker polls for all of them.
    pub(super) fn subscribe(&self, room: &RoomName, responses: &Responses, status: &Rc<RoomStatus>) -> Subscription {
        let mut rooms = self.rooms();
        if let Some(sender) = rooms.get(room) {
            let mut receiver = sender.subscribe();
            receiver.mark_changed();
            return Subscription(receiver);
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        rooms.insert(room.clone(), Arc::clone(&sender));
        let (responses, status) = (responses.clone(), Rc::clone(status));
        let poller = Poller { live: self.clone(), room: room.clone(), responses, status, sender };
        tokio::task::spawn_local(poller.run());
        Subscription(receiver)
    }

    /// Returns the numbers of rooms that are polled and of their subscribers.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let rooms = self.rooms();
        (rooms.len(), rooms.values().map(|sender| sender.receiver_count()).sum())
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Arc<Sender>>> {
        // Nothing panics while it holds the lock.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls one room for as long as it has subscribers.
struct Poller {
    live: LiveCatchUps,
    room: RoomName,
    responses: Responses,
    status: Rc<RoomStatus>,
    sender: Arc<Sender>,
}

impl Poller {
    async fn run(self) {
        loop {
            let next_poll = tokio::select! {
                next_poll = self.poll() => next_poll,
                // The call in flight goes on; no other one is made.
                () = self.sender.closed() => Instant::now(),
            };
            let has_ended = self.sender.borrow().as_ref().is_some_and(|event| event.update == Update::Ended);
            tokio::select! {
                () = sleep_until(next_poll) => {}
                // After the end, the room stays for one interval: late subscribers get the end without another call.
                () = self.sender.closed(), if !has_ended => {}
            }
            // Under the lock, so that no caller subscribes to a room that is being removed.
            let mut rooms = self.live.rooms();
            if has_ended || self.sender.receiver_count() == 0 {
                rooms.remove(&self.room);
                return;
            }
        }
    }

    /// Polls once, publishes a new update, and returns the time of the next poll.
    async fn poll(&self) -> Instant {
        // A response that is fresh for other callers is fresh for subscribers too.
        let interval = self.live.poll_interval.max(self.responses.fresh_for(Endpoint::CallCatchUp));
        let context = RequestContext::internal();
        let read = self.read(interval, &context).await;
        // A response older than the interval is a stale one, served after a failure.
        let age = read.as_ref().map_or(Duration::ZERO, CachedResponse::age);
        let pause = interval.checked_sub(age).filter(|left| !left.is_zero()).unwrap_or(interval);
        let next_poll = Instant::now() + pause.max(MIN_POLL_INTERVAL);
        let had_catch_up = self.has_catch_up();
        match read {
            Ok(response) => {
                let is_new = self.publish(Update::CatchUp(response.envelope));
                // Admin Control may serve the last catch-up of an ended meeting. One that still grows has not ended.
                if !(had_catch_up && is_new) && self.has_no_active_call().await && self.is_listed_as_ended().await {
                    self.publish(Update::Ended);
                }
            }
            Err(Error::NotFound) => {
                // A room that was used before is listed, although its next call is active.
                let has_ended = self.has_no_active_call().await && self.is_listed_as_ended().await;
                self.publish(if has_ended { Update::Ended } else { Update::NoneYet });
            }
            // A catch-up is of more use than a failure.
            Err(_) if had_catch_up => {}
            Err(error) => {
                self.publish(Update::Failed(error));
            }
        }
        next_poll
    }

    /// Reads the catch-up, however slow the call. The first subscriber gets a stale one meanwhile.
    async fn read(&self, interval: Duration, context: &RequestContext) -> Result<CachedResponse, Error> {
        let mut newest = pin!(self.responses.get_within(interval, Endpoint::CallCatchUp, Some(&self.room), context));
        if self.sender.borrow().is_none() {
            tokio::select! {
                biased;
                read = &mut newest => return read,
                Ok(response) = self.responses.get(Endpoint::CallCatchUp, Some(&self.room), context) => {
                    self.publish(Update::CatchUp(response.envelope));
                }
            }
        }
        newest.await
    }

    /// Returns whether there is no call in the room. An unknown state counts as a call.
    async fn has_no_active_call(&self) -> bool {
        let status = timeout(STATUS_TIMEOUT, self.status.is_transcribed(&self.room, &RequestContext::internal())).await;
        matches!(status, Ok(Err(Error::NotFound)))
    }

    async fn is_listed_as_ended(&self) -> bool {
        timeout(STATUS_TIMEOUT, self.status.has_ended(&self.room, &RequestContext::internal())).await == Ok(Ok(true))
    }

    fn has_catch_up(&self) -> bool {
        self.sender.borrow().as_ref().is_some_and(|event| matches!(event.update, Update::CatchUp(_)))
    }

    /// Publishes an update if it is new. Returns whether it is.
    fn publish(&self, update: Update) -> bool {
        let latest = self.sender.borrow().clone();
        if latest.as_ref().is_some_and(|event| event.update == update) {
            return false;
        }
        let bytes = (self.live.to_event)(&update);
        let last_catch_up = latest.filter(|event| update == Update::Ended && matches!(event.update, Update::CatchUp(_)));
        // Stored even without a receiver, for the next subscriber.
        self.sender.send_replace(Some(Arc::new(Event { update, bytes, last_catch_up })));
        true
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // The worker may end before the poller does; the next subscriber must start a new one.
        let mut rooms = self.live.rooms();
        if rooms.get(&self.room).is_some_and(|sender| Arc::ptr_eq(sender, &self.sender)) {
            rooms.remove(&self.room);
        }
    }
}
