//! What the HTTP side may say to a connection, or ask it, while it works on one of its requests. Must not know its bytes.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Connection;
use super::sweeper::Sweeper;
use super::watch::Watch;

impl Connection {
    /// What says that the body of a request on this connection is wanted.
    #[must_use]
    pub fn invitation(&self) -> Invitation {
        Invitation(Rc::clone(&self.watch))
    }

    /// How much of a body its client announces.
    #[must_use]
    pub fn announcement(&self) -> Announcement {
        Announcement(Rc::clone(&self.watch))
    }

    /// What it sends.
    #[must_use]
    pub fn sending(&self) -> Sending {
        Sending(Rc::clone(&self.watch))
    }

    /// What says whether there is room for this connection.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing(Rc::clone(&self.watch), Rc::clone(&self.sweeper))
    }

    /// What says when an answer has been made.
    #[must_use]
    pub fn turn(&self) -> Turn {
        Turn(Rc::clone(&self.watch), Rc::clone(&self.sweeper))
    }
}

/// Says that the body of the request that is being worked on is wanted, to a client that waits to hear it.
pub struct Invitation(pub(super) Rc<Watch>);

impl Invitation {
    /// Says so.
    pub fn send(&self) {
        self.0.want();
    }
}

/// How long the body of the request that is being read will be, as far as its client has said so: chunk by chunk.
#[derive(Clone)]
pub struct Announcement(Rc<Watch>);

impl Announcement {
    /// Waits until that is more than `limit` bytes, however few of them have come; for ever, if it never is.
    pub async fn exceeds(self, limit: u64) {
        poll_fn(|context| self.0.poll_longer_than(limit, context)).await;
    }
}

/// What a connection sends its client.
#[derive(Clone)]
pub struct Sending(pub(super) Rc<Watch>);

impl Sending {
    /// Cuts the connection off once `revoked` says so, if its client does not take what it is being sent. Until this is dropped,
    /// somebody makes more of it, and ends it where the client takes it.
    #[must_use]
    pub fn until(&self, revoked: Arc<AtomicBool>) -> Revocable {
        self.0.sends_until(revoked);
        Revocable(Rc::clone(&self.0))
    }
}

/// Something that is being made and sent, and that the client may lose its right to.
pub struct Revocable(Rc<Watch>);

impl Drop for Revocable {
    fn drop(&mut self) {
        self.0.has_been_made();
    }
}

/// Says whether the server has room for a connection.
pub struct Standing(pub(super) Rc<Watch>, pub(super) Rc<Sweeper>);

impl Standing {
    /// Whether it has; once it had none, asked again.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.1.seat(&self.0)
    }
}

/// Says when an answer has been made: until then no other request of its connection is begun.
pub struct Turn(Rc<Watch>, Rc<Sweeper>);

impl Turn {
    /// The answer to the request that has begun is being made until this is dropped. `patient`: it, or what of it is still to be
    /// sent then, may wait for other answers that are ready.
    #[must_use]
    pub fn begin(&self, patient: bool) -> Answering {
        self.1.has_one_more();
        Answering { watch: Rc::clone(&self.0), sweeper: Rc::clone(&self.1), patient }
    }
}

/// An answer that is being made.
pub struct Answering {
    watch: Rc<Watch>,
    sweeper: Rc<Sweeper>,
    patient: bool,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.sweeper.has_one_less();
        self.watch.has_answered(self.patient);
    }
}
