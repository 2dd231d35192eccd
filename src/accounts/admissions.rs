//! Who was let in and stays: whether they still may. A request is checked once; whoever keeps a connection open is checked on,
//! until the token ends or its session is revoked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Revocations;
use crate::background::Background;
use crate::caller::Caller;
use crate::clock::Clock;

/// How often they are checked. With what it takes to hear of a revocation elsewhere, the contract's two seconds hold.
const EVERY: Duration = Duration::from_millis(500);

/// Everybody who was let in and is still there. Clones are the same.
#[derive(Clone)]
pub struct Admissions(Arc<Shared>);

struct Shared {
    all: Mutex<HashMap<u64, Admitted>>,
    next: AtomicU64,
}

struct Admitted {
    session: Option<String>,
    /// Seconds since 1970-01-01 UTC.
    until: i64,
    revoked: Arc<AtomicBool>,
    /// Dropped when it is over.
    _open: oneshot::Sender<()>,
}

/// Leave to stay; given back when it is dropped.
pub struct Admission {
    number: u64,
    admissions: Admissions,
    revoked: Arc<AtomicBool>,
    over: oneshot::Receiver<()>,
}

impl Admissions {
    /// Nobody; checked from now on, by one task for all.
    #[must_use]
    pub fn start(revocations: Revocations, clock: Clock, background: &Background) -> Self {
        let shared = Arc::new(Shared { all: Mutex::default(), next: AtomicU64::new(0) });
        let checked = Arc::downgrade(&shared);
        background.spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                let Some(shared) = checked.upgrade() else { return };
                let now = clock.unix_seconds();
                let may_stay = |admitted: &Admitted| {
                    now < admitted.until && !admitted.session.as_ref().is_some_and(|session| revocations.contain(session))
                };
                shared.all().retain(|_, admitted| {
                    let stays = may_stay(admitted);
                    admitted.revoked.store(!stays, Ordering::Relaxed);
                    stays
                });
            }
        });
        Self(shared)
    }

    /// Lets `caller` stay until `until` (seconds since 1970-01-01 UTC), or until its session is revoked.
    #[must_use]
    pub fn admit(&self, caller: &Caller, until: i64) -> Admission {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (open, over) = oneshot::channel();
        let (session, revoked) = (caller.session().map(str::to_owned), Arc::default());
        self.0.all().insert(number, Admitted { session, until, revoked: Arc::clone(&revoked), _open: open });
        Admission { number, admissions: self.clone(), revoked, over }
    }
}

impl Shared {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Admitted>> {
        // Nothing in here panics while it holds the lock.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// What says, without being waited for, that it is over: true from then on. To give it back is no such end.
    #[must_use]
    pub fn revoked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.revoked)
    }

    /// Done when it is over. Not to be waited for again after that.
    pub async fn over(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.over).await;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admissions.0.all().remove(&self.number);
    }
}
