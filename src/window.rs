//! The window: one answer for each key, shared by all workers. However many ask at once, one call is made; for a while its
//! answer serves everybody who asks; and when the next call fails, the old answer may stand in.
//!
//! It knows neither who asks (that is decided before it is looked at) nor what an answer says. Ages are measured by the
//! runtime's monotonic clock: a wall clock that jumps ages nothing.

mod call_error;
mod counted;
mod layer;
mod rules;
pub mod shared;

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

pub use call_error::{CallError, Kind};
pub use counted::Counted;
pub use layer::{Found, Layer};
pub use rules::Rules;

use crate::answer::{Answer, Served};
use crate::recent::Recent;

/// What an entry takes beside its key and its answer, in bytes, as far as the bound on memory is concerned.
const OVERHEAD: usize = 200;

type Outcome<E> = Result<Kept, E>;

/// Tells those who wait how a call ended.
type Waiting<E> = watch::Sender<Option<Outcome<E>>>;

/// An answer and when it arrived.
#[derive(Clone)]
struct Kept {
    answer: Answer,
    arrived: Instant,
}

impl Kept {
    fn age(&self) -> Duration {
        self.arrived.elapsed()
    }

    fn served(self) -> Served {
        Served { age: self.age(), answer: self.answer }
    }
}

/// One answer a key. Clones are the same window.
pub struct Window<E>(Arc<Shared<E>>);

struct Shared<E> {
    kept: Recent<Kept>,
    /// The calls under way. Who finds one here waits for it: the first who does makes the channel.
    in_flight: Mutex<HashMap<String, Option<Waiting<E>>>>,
    rules: Rules,
    layer: Option<Arc<dyn Layer<E>>>,
    counted: Counted,
}

impl<E> Clone for Window<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: CallError> Window<E> {
    /// An empty window.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self::over(rules, None, Counted::default())
    }

    /// An empty window that reads through `layer`, if there is one, and is counted.
    #[must_use]
    pub fn over(rules: Rules, layer: Option<Arc<dyn Layer<E>>>, counted: Counted) -> Self {
        let kept = Recent::new(rules.max_bytes);
        Self(Arc::new(Shared { kept, in_flight: Mutex::default(), rules, layer, counted }))
    }

    /// How many answers it holds, and how many bytes they take.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        self.0.kept.held()
    }

    /// How long an answer is fresh.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        self.0.rules.fresh_for
    }

    /// The answer for `key`: a fresh one that is here, or the one that `call` gives, made by whoever asks first.
    ///
    /// The call is a task of its own on the asker's worker: an asker who leaves neither ends it nor starts another one.
    ///
    /// # Errors
    ///
    /// The call's, for everybody who waited for it; the next asker tries again.
    pub async fn read<F>(&self, key: &str, call: impl FnOnce() -> F) -> Result<Served, E>
    where
        F: Future<Output = Result<Answer, E>> + 'static,
    {
        self.read_within(self.0.rules.fresh_for, key, call).await
    }

    /// The same, where an answer is fresh until it is `max_age` old.
    ///
    /// # Errors
    ///
    /// As [`Window::read`].
    pub async fn read_within<F>(&self, max_age: Duration, key: &str, call: impl FnOnce() -> F) -> Result<Served, E>
    where
        F: Future<Output = Result<Answer, E>> + 'static,
    {
        let counted = &self.0.counted;
        if let Some(kept) = self.0.fresh(key, max_age) {
            counted.hit.increment(1);
            return Ok(kept.served());
        }
        let mut outcome = match self.0.join(key, max_age) {
            Joined::Fresh(kept) => {
                counted.hit.increment(1);
                return Ok(kept.served());
            }
            Joined::First(report) => {
                let call = self.0.through_the_layer(key, max_age, call());
                let call = tokio::task::spawn_local(async move {
                    let outcome = AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| Err(E::given_up()));
                    report.conclude(outcome)
                });
                return call.await.unwrap_or_else(|_| Err(E::given_up())).map(Kept::served);
            }
            Joined::Waiting(outcome) => {
                counted.coalesced.increment(1);
                outcome
            }
        };
        let outcome = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        outcome.ok().flatten().unwrap_or_else(|| Err(E::given_up())).map(Kept::served)
    }
}

enum Joined<E: CallError> {
    /// An answer arrived in between.
    Fresh(Kept),
    /// Somebody else's call is under way.
    Waiting(watch::Receiver<Option<Outcome<E>>>),
    /// Nobody's is; this one must be made.
    First(Report<E>),
}

impl<E: CallError> Shared<E> {
    fn fresh(&self, key: &str, max_age: Duration) -> Option<Kept> {
        self.kept.get(key).filter(|kept| kept.age() < max_age)
    }

    /// The answer of a call, or of another replica's; counted as what it was.
    fn through_the_layer<F>(
        self: &Arc<Self>,
        key: &str,
        max_age: Duration,
        call: F,
    ) -> LocalBoxFuture<'static, Result<Found, E>>
    where
        F: Future<Output = Result<Answer, E>> + 'static,
    {
        let window = Arc::clone(self);
        let Some(layer) = self.layer.clone() else {
            return Box::pin(async move {
                window.counted.call.increment(1);
                call.await.map(Found::new)
            });
        };
        let (calls, made, key) = (Arc::clone(self), Rc::new(Cell::new(false)), key.to_owned());
        let makes = Rc::clone(&made);
        let call = async move {
            makes.set(true);
            calls.counted.call.increment(1);
            call.await
        };
        Box::pin(async move {
            let found = layer.read(key, max_age, Box::pin(call)).await;
            if !made.get() {
                window.counted.shared.increment(1);
            }
            found
        })
    }

    fn join(self: &Arc<Self>, key: &str, max_age: Duration) -> Joined<E> {
        let mut in_flight = self.in_flight();
        if let Some(waiting) = in_flight.get_mut(key) {
            return Joined::Waiting(waiting.get_or_insert_with(|| watch::channel(None).0).subscribe());
        }
        // Looked at again under the lock: a call may have ended since.
        if let Some(kept) = self.fresh(key, max_age) {
            return Joined::Fresh(kept);
        }
        in_flight.insert(key.to_owned(), None);
        Joined::First(Report { window: Arc::clone(self), key: Some(key.to_owned()) })
    }

    /// What those who waited get, once a call has ended; and what is kept of it.
    fn settle(&self, key: &str, outcome: Result<Found, E>) -> Outcome<E> {
        let error = match outcome {
            Ok(Found { served: Served { answer, age }, stands_in }) => {
                if stands_in {
                    // Another replica's, in place of a failure; what is here may be younger.
                    self.counted.stale.increment(1);
                    let limit = age.min(self.rules.fresh_for + self.rules.stale_if_error);
                    if let Some(own) = self.kept.get(key).filter(|kept| kept.age() < limit) {
                        return Ok(own);
                    }
                }
                let now = Instant::now();
                let kept = Kept { answer, arrived: now.checked_sub(age).unwrap_or(now) };
                if !(self.rules.fresh_for + self.rules.stale_if_error).is_zero() {
                    let bytes = key.len() + kept.answer.size() + OVERHEAD;
                    self.kept.keep(key, kept.clone(), bytes as u64);
                }
                return Ok(kept);
            }
            Err(error) => error,
        };
        match error.kind() {
            Kind::Absence => self.kept.forget(key),
            // Whatever kept the call from being made may be the same failure, seen earlier.
            Kind::Failure | Kind::Refusal => {
                let limit = self.rules.fresh_for + self.rules.stale_if_error;
                if let Some(old) = self.kept.get(key).filter(|kept| kept.age() < limit) {
                    self.counted.stale.increment(1);
                    return Ok(old);
                }
            }
        }
        Err(error)
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<String, Option<Waiting<E>>>> {
        // Nothing in here panics while it holds the lock.
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to say how a call ended. Dropped without a word (its worker is gone), those who wait are told so.
struct Report<E: CallError> {
    window: Arc<Shared<E>>,
    /// `None` once it is said.
    key: Option<String>,
}

impl<E: CallError> Report<E> {
    fn conclude(mut self, outcome: Result<Found, E>) -> Outcome<E> {
        let outcome = self.window.settle(self.key.as_deref().unwrap_or_default(), outcome);
        // First out of the way, then told: who comes in between finds the answer, or makes a call of its own.
        if let Some(waiting) = self.end() {
            waiting.send_replace(Some(outcome.clone()));
        }
        outcome
    }

    /// The call is under way no longer. Those who wait, if it was; dropped, they are told that nobody knows how it ended.
    fn end(&mut self) -> Option<Waiting<E>> {
        let key = self.key.take()?;
        self.window.in_flight().remove(&key)?
    }
}

impl<E: CallError> Drop for Report<E> {
    fn drop(&mut self) {
        drop(self.end());
    }
}

#[cfg(test)]
mod tests;
