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
/// The same for those beyond so many younger ones,
const LEAST_SILENCE: Duration = Duration::from_millis(2);
const PLENTY: usize = 128;
/// once so many silences in a row have proven something. With 30,000 calls a second a thousand sockets would take turns
/// otherwise, and their state would be in no processor's cache.
const PROOFS: u32 = 10_000;
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
    resting: RefCell<Resting<Socket>>,
    /// Whether somebody closes in time what rests.
    is_tidied: Cell<bool>,
    trust: Cell<Trust>,
}

/// What rests, the longest at rest first, and since when.
struct Resting<S> {
    /// Silent for as long as they must be.
    silent: VecDeque<(S, Instant)>,
    /// Not yet.
    young: VecDeque<(S, Instant)>,
}

/// What is known of how Admin Control behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nothing.
    Unknown,
    /// A socket has been silent for long, and since then so many in a row for as long as they had to.
    Earned(u32),
    /// It sent what nobody had asked for, at that time.
    Lost(Instant),
}

impl Trust {
    /// How long a socket must have been silent, where so many have not been for longer.
    fn silence(self, young: usize) -> Duration {
        match self {
            Self::Earned(PROOFS..) if young > PLENTY => LEAST_SILENCE,
            Self::Earned(_) => SILENCE,
            Self::Unknown | Self::Lost(_) => FIRST_SILENCE,
        }
    }

    /// A socket has been silent for that long.
    fn proven(self) -> Self {
        match self {
            Self::Earned(proofs) => Self::Earned(proofs.saturating_add(1)),
            Self::Unknown | Self::Lost(_) => Self::Earned(0),
        }
    }
}

impl<S> Resting<S> {
    /// Nothing.
    const fn new() -> Self {
        Self { silent: VecDeque::new(), young: VecDeque::new() }
    }

    /// The one to be lent next. Of the silent ones the youngest, which leaves those that are too many to be closed.
    fn next(&mut self, trust: Trust, now: Instant) -> Option<(S, Instant)> {
        while let Some((_, since)) = self.young.front()
            && now - *since >= trust.silence(self.young.len())
        {
            self.silent.extend(self.young.pop_front());
        }
        self.silent.pop_back()
    }

    /// Closes what has rested for too long.
    fn tidy(&mut self, now: Instant) {
        for queue in [&mut self.silent, &mut self.young] {
            while queue.front().is_some_and(|(_, since)| now - *since >= REST) {
                queue.pop_front();
            }
        }
    }

    fn clear(&mut self) {
        self.silent.clear();
        self.young.clear();
    }

    fn len(&self) -> usize {
        self.silent.len() + self.young.len()
    }
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
        Self {
            target,
            keeps,
            resting: RefCell::new(Resting::new()),
            is_tidied: Cell::new(false),
            trust: Cell::new(Trust::Unknown),
        }
    }

    fn take(&self) -> Option<Socket> {
        let (trust, now) = (self.trust.get(), Instant::now());
        let mut resting = self.resting.borrow_mut();
        while let Some((mut socket, since)) = resting.next(trust, now) {
            match socket.heard() {
                Heard::Nothing if now - since < REST && now - socket.opened < LIFETIME => {
                    self.trust.set(trust.proven());
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
            Trust::Unknown | Trust::Earned(_) => {}
        }
        let mut resting = self.resting.borrow_mut();
        if resting.len() >= self.keeps {
            return;
        }
        if !self.is_tidied.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).tidy());
        }
        resting.young.push_back((socket, Instant::now()));
    }

    /// Closes what has rested for too long, until nothing rests: nobody may ask for a while.
    async fn tidy(self: Rc<Self>) {
        loop {
            tokio::time::sleep(REST / 3).await;
            let mut resting = self.resting.borrow_mut();
            resting.tidy(Instant::now());
            if resting.len() == 0 {
                self.is_tidied.set(false);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many that have rested for so long, numbered from the one that rests longest.
    fn resting(count: usize, rested: Duration, now: Instant) -> Resting<usize> {
        let since = now.checked_sub(rested).unwrap();
        Resting { silent: VecDeque::new(), young: (0..count).map(|number| (number, since)).collect() }
    }

    /// The numbers of those that are lent, in their order.
    fn lent(mut resting: Resting<usize>, trust: Trust, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| resting.next(trust, now)).map(|(number, _)| number).collect()
    }

    #[test]
    fn a_socket_is_lent_after_its_silence_and_the_first_of_all_after_a_longer_one() {
        let (now, tick) = (Instant::now(), Duration::from_millis(1));
        for (trust, silence) in [
            (Trust::Unknown, FIRST_SILENCE),
            (Trust::Lost(now), FIRST_SILENCE),
            (Trust::Earned(0), SILENCE),
            (Trust::Earned(PROOFS), SILENCE),
        ] {
            assert_eq!(lent(resting(2, silence, now), trust, now), [1, 0], "{trust:?}");
            assert_eq!(lent(resting(2, silence - tick, now), trust, now), [] as [usize; 0], "{trust:?}");
        }
    }

    #[test]
    fn less_silence_does_only_beyond_plenty_and_after_many_silences() {
        let (now, tick) = (Instant::now(), Duration::from_millis(1));
        let count = PLENTY + 50;
        let lent = |rested, trust| lent(resting(count, rested, now), trust, now).len();
        assert_eq!(lent(LEAST_SILENCE, Trust::Earned(PROOFS)), 50);
        assert_eq!(lent(LEAST_SILENCE - tick, Trust::Earned(PROOFS)), 0);
        assert_eq!(lent(SILENCE - tick, Trust::Earned(PROOFS - 1)), 0);
        assert_eq!(lent(SILENCE, Trust::Earned(PROOFS)), count);
    }

    #[test]
    fn proofs_are_counted_and_one_word_too_many_begins_anew() {
        let mut trust = Trust::Unknown;
        for proofs in 0..3 {
            trust = trust.proven();
            assert_eq!(trust, Trust::Earned(proofs));
        }
        assert_eq!(Trust::Earned(u32::MAX).proven(), Trust::Earned(u32::MAX));
        let home = Home::new(None, 1);
        home.trust.set(Trust::Earned(PROOFS));
        home.distrust();
        assert!(matches!(home.trust.get(), Trust::Lost(_)));
        assert_eq!(home.trust.get().proven(), Trust::Earned(0));
    }

    #[test]
    fn those_that_are_too_many_are_left_and_closed_in_time() {
        let start = Instant::now();
        let mut resting = resting(10, SILENCE, start);
        // One call after the other has the same one each time.
        for round in 1..5 {
            let now = start + SILENCE * round;
            let (socket, _) = resting.next(Trust::Earned(0), now).unwrap();
            assert_eq!(socket, 9);
            resting.young.push_back((socket, now));
        }
        resting.tidy(start + REST);
        assert_eq!(resting.len(), 1);
        resting.tidy(start + REST + SILENCE * 4);
        assert_eq!(resting.len(), 0);
    }
}
