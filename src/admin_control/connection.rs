//! Connections to Admin Control: one call at a time on each, used again only when nothing can be left on it.
//!
//! awc gives a connection back to its pool after an interim response, after a 204, or with the next response's bytes already
//! on it; whatever arrives then is taken for the answer to the next call, and that is another room's text. So awc's pool is
//! not used. Each call is lent a connection; when the answer's last byte has come, by a length that leaves no doubt, and not
//! one byte more, the socket rests. It is lent again only after a while of proven silence. Any doubt closes it, and a byte that
//! nobody asked for closes them all: who sends one will send others, and one that comes during a call is taken for its answer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;

use super::lent::Lent;
use super::socket::{Heard, Socket, Target, is_out_of_files};

/// How long a socket must have been silent before it is lent again. What Admin Control sends too late, or unasked, comes
/// within that time, and closes the socket. After 40 ms Linux would acknowledge the answer by a packet of its own.
const SILENCE: Duration = Duration::from_millis(30);
/// The same as long as no socket has been silent for so long: nothing is known yet of how Admin Control behaves.
const FIRST_SILENCE: Duration = Duration::from_secs(1);
/// How long nothing is used again after a byte that nobody asked for.
const DISTRUST: Duration = Duration::from_mins(10);
/// How long a socket may rest. Node, which Admin Control is thought to run on, closes it after five seconds.
const REST: Duration = Duration::from_secs(3);
/// How old a socket may become: a name that resolves to another address is noticed by then.
const LIFETIME: Duration = Duration::from_secs(25);
/// The most sockets that rest, for each worker.
const MAX_RESTING: usize = 2048;

/// Connects for awc, or lends a socket that rests. Clones are the same; they belong to one worker.
#[derive(Clone)]
pub(super) struct Connections(Rc<Home>);

/// Where sockets rest between two calls.
pub(super) struct Home {
    /// `None` if the base URL names no place.
    target: Option<Rc<Target>>,
    /// The most sockets that rest.
    keeps: usize,
    resting: RefCell<Resting>,
    /// Whether somebody closes in time what rests.
    is_tidied: Cell<bool>,
    trust: Cell<Trust>,
}

/// Sockets that rest, each with the moment since when.
#[derive(Default)]
struct Resting {
    /// Those that may still be spoken to; the longest at rest first.
    listened_to: VecDeque<(Socket, Instant)>,
    /// Those that have been silent for long enough when it was looked; the longest at rest first. The last of them is lent: what
    /// is at the front is more than is needed, and is closed in the end.
    silent: VecDeque<(Socket, Instant)>,
}

impl Resting {
    fn len(&self) -> usize {
        self.listened_to.len() + self.silent.len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    /// The one that was last to have rested for `silence`.
    fn pop(&mut self, now: Instant, silence: Duration) -> Option<(Socket, Instant)> {
        while let Some(silent) = self.listened_to.pop_front_if(|(_, since)| now - *since >= silence) {
            self.silent.push_back(silent);
        }
        self.silent.pop_back()
    }

    /// One that has rested for as long as anything may.
    fn pop_expired(&mut self) -> Option<Socket> {
        let is_over = |(_, since): &mut (Socket, Instant)| since.elapsed() >= REST;
        let expired = self.silent.pop_front_if(is_over).or_else(|| self.listened_to.pop_front_if(is_over));
        expired.map(|(socket, _)| socket)
    }
}

/// What is known of how Admin Control behaves.
#[derive(Clone, Copy)]
enum Trust {
    /// Nothing.
    Unknown,
    /// A socket has been silent for long.
    Earned,
    /// It sent what nobody had asked for, at that time.
    Lost(Instant),
}

impl Connections {
    /// Connections that are used again.
    pub(super) fn kept(target: Option<Rc<Target>>) -> Self {
        Self(Rc::new(Home::new(target, MAX_RESTING)))
    }

    /// A fresh connection for each call.
    pub(super) fn fresh(target: Option<Rc<Target>>) -> Self {
        Self(Rc::new(Home::new(target, 0)))
    }

    /// Forgets what rests: one of them was closed at the other end, and the others may be too.
    pub(super) fn forget(&self) {
        self.0.resting.borrow_mut().clear();
    }
}

impl Service<ConnectInfo<Uri>> for Connections {
    type Response = Connection<Uri, Lent>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, _: ConnectInfo<Uri>) -> Self::Future {
        let home = Rc::clone(&self.0);
        Box::pin(async move {
            let socket = match (home.take(), &home.target) {
                (Some(socket), _) => socket,
                (None, Some(target)) => home.connect(target).await.map_err(ConnectError::Io)?,
                (None, None) => return Err(ConnectError::Unresolved),
            };
            Ok(Connection::new(Uri::default(), Lent::new(socket, home)))
        })
    }
}

impl Home {
    fn new(target: Option<Rc<Target>>, keeps: usize) -> Self {
        Self { target, keeps, resting: RefCell::default(), is_tidied: Cell::default(), trust: Cell::new(Trust::Unknown) }
    }

    fn take(&self) -> Option<Socket> {
        let now = Instant::now();
        let silence = if matches!(self.trust.get(), Trust::Earned) { SILENCE } else { FIRST_SILENCE };
        let mut resting = self.resting.borrow_mut();
        while let Some((mut socket, since)) = resting.pop(now, silence) {
            match socket.heard() {
                Heard::Nothing if now - since < REST && now - socket.opened < LIFETIME => {
                    self.trust.set(Trust::Earned);
                    return Some(socket);
                }
                Heard::Nothing | Heard::End => {}
                Heard::Something => {
                    drop(resting);
                    self.distrust();
                    return None;
                }
            }
        }
        None
    }

    /// A fresh socket. If no file is left for it, those that rest are given up.
    async fn connect(&self, target: &Target) -> io::Result<Socket> {
        match target.connect().await {
            Err(error) if is_out_of_files(&error) && self.resting.borrow().len() > 0 => {
                self.resting.borrow_mut().clear();
                target.connect().await
            }
            connected => connected,
        }
    }

    /// Something came that nobody had asked for.
    pub(super) fn distrust(&self) {
        if self.keeps > 0 && !matches!(self.trust.get(), Trust::Lost(_)) {
            log::warn!("Admin Control sends what nobody asked for; its connections are not used again for now");
        }
        self.trust.set(Trust::Lost(Instant::now()));
        self.resting.borrow_mut().clear();
    }

    /// The answer has come, to its last byte and not one more: the socket rests.
    pub(super) fn give_back(self: &Rc<Self>, socket: Socket) {
        match self.trust.get() {
            Trust::Lost(when) if when.elapsed() < DISTRUST => return,
            Trust::Lost(_) => self.trust.set(Trust::Unknown),
            Trust::Unknown | Trust::Earned => {}
        }
        let mut resting = self.resting.borrow_mut();
        if resting.len() >= self.keeps {
            return;
        }
        if !self.is_tidied.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).tidy());
        }
        resting.listened_to.push_back((socket, Instant::now()));
    }

    /// Closes what has rested for too long, until nothing rests: nobody may ask for a while.
    async fn tidy(self: Rc<Self>) {
        loop {
            tokio::time::sleep(REST / 3).await;
            loop {
                let expired = self.resting.borrow_mut().pop_expired();
                let Some(mut socket) = expired else { break };
                if socket.heard() == Heard::Something {
                    self.distrust();
                }
            }
            if self.resting.borrow().len() == 0 {
                self.is_tidied.set(false);
                return;
            }
        }
    }
}
