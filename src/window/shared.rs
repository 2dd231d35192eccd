//! One window over several replicas, by way of Redis or Valkey: where one replica would call Admin Control, it looks there first,
//! and of several that would call at once one does and the others wait for what it got.
//!
//! Nothing here is needed: where Redis is slow, full, restarted, gone or not Redis at all, each replica is on its own, as
//! without it. It knows neither who asks nor what an answer says.
//!
//! # Who calls
//!
//! Whoever finds no answer takes a lease on the key, in the same step, and calls. A lease is short and renewed while the call
//! goes on, by a task that no busy worker holds up: a replica that dies keeps the others waiting for two seconds, not for as
//! long as a call may take, and those who wait do so for as long as the lease is alive. A replica that was stopped for longer
//! than its lease and goes on has lost it, and what it got is not stored over what others got since.
//!
//! A replica that got no answer in time from Redis calls without having the lease for sure. Should the answer have been late and
//! the lease its own, it acts on it all the same: it renews and tells, and neither does anything without the lease.
//!
//! # When calls fail
//!
//! What is stored stays for as long as an old answer may stand in for a failure, so that a replica which never saw the room can
//! serve it when Admin Control is down.
//!
//! # Ages
//!
//! An answer is stored for a fixed time, and its age is what Redis says has passed of that. So no two machines' clocks are
//! ever compared.

mod entry;
mod failures;
mod link;
mod rules;
mod scripts;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{CallError, Found, Kind, Layer};
use crate::answer::{Answer, Served};
use crate::background::Background;
use crate::random;
use crate::secret::Secret;
use entry::Seal;
pub use failures::Failures;
pub use link::BadUrl;
use link::{Link, Look, Told};
pub use rules::Rules;

/// How long a lease holds at most unless it is renewed: what a replica that dies costs those who wait for it.
const LONGEST_LEASE: Duration = Duration::from_secs(2);
/// How many leases there are in a deadline, so that there is time for a call after one that ran out.
const LEASES: u32 = 3;
/// How often a lease is renewed while it would hold.
const RENEWALS: u32 = 6;
/// The least time that an answer is stored for, so that who waited for it finds it even where nothing is fresh for long.
const SHORTEST: Duration = Duration::from_secs(2);
/// The longest time: what is in Redis ends by itself.
const LONGEST: Duration = Duration::from_hours(1);
/// The largest answer that is stored, in bytes; of a larger one each replica gets its own.
const LARGEST: usize = 256 << 10;
/// What those who wait are told of an answer that was not stored.
const TOO_LARGE: &str = "too large";

/// An error that replicas tell one another.
pub trait Shareable: CallError {
    /// Its name between replicas.
    fn name(&self) -> &'static str;
    /// Whether it is everyday, and nobody has to look into it.
    fn is_everyday(&self) -> bool;
    /// The error of that name; `None` if a replica of another version made it up.
    fn named(name: &str) -> Option<Self>;
}

/// The keys of one room.
#[derive(Debug, Clone)]
struct Names {
    answer: String,
    lease: String,
    failure: String,
}

/// The shared layer of one window.
pub struct SharedWindow {
    link: Link,
    seal: Seal,
    prefix: String,
    kept_for: Duration,
    stands_in_for: Duration,
    deadline: Duration,
    lease: Duration,
    background: Background,
    failures: Failures,
}

/// What a replica that found nothing in its own window does next.
enum Turn<E> {
    /// It takes this answer.
    Served(Served),
    /// It fails as the one that it waited for failed.
    Failed(E),
    /// It calls, and the others wait for it, as far as they know. If it waited before, it has until then.
    Call(Option<Instant>),
}

/// A task that goes on for as long as this is there.
struct Meanwhile(Option<JoinHandle<()>>);

impl Drop for Meanwhile {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Whether a URL can be one of Redis.
///
/// # Errors
///
/// [`BadUrl`] if not.
pub fn accepts(url: &Secret) -> Result<(), BadUrl> {
    link::client(url).map(drop)
}

/// Whether Redis can be reached, and does what the windows need. Leaves nothing behind.
///
/// # Errors
///
/// A sentence on why not.
pub async fn reach(rules: &Rules) -> Result<&'static str, &'static str> {
    link::reach(&rules.url, rules.channel()).await
}

impl SharedWindow {
    /// Connects, and stays connected from now on. A Redis that can't be reached is no failure.
    ///
    /// # Errors
    ///
    /// [`BadUrl`] if the URL can't be one of Redis.
    pub async fn open(rules: Rules, background: Background, failures: Failures) -> Result<Self, BadUrl> {
        let seal = Seal::new(&rules.secrets, &[&rules.deployment, rules.endpoint]);
        let prefix = rules.prefix();
        let link = Link::open(&rules.url, rules.channel(), background.clone()).await?;
        let fresh_for = rules.window.fresh_for.max(rules.watched_every);
        let kept_for = (fresh_for + rules.window.stale_if_error).clamp(SHORTEST, LONGEST);
        let (deadline, stands_in_for) = (rules.deadline, rules.window.oldest());
        let lease = LONGEST_LEASE.min(deadline / LEASES);
        Ok(Self { link, seal, prefix, kept_for, stands_in_for, deadline, lease, background, failures })
    }

    /// Whether replicas share it at the moment.
    #[must_use]
    pub fn shares(&self) -> bool {
        self.link.shares()
    }

    /// The keys of `key`. The braces keep them on one node of a cluster.
    fn names(&self, key: &str) -> Names {
        let of = |what| format!("{}:{{{}}}:{what}", self.prefix, entry::fingerprint(key));
        Names { answer: of("answer"), lease: of("lease"), failure: of("failure") }
    }

    async fn turn<E: Shareable>(&self, key: &str, names: &Names, owner: &str, max_age: Duration) -> Turn<E> {
        let (told, deadline) = (self.link.listen(&names.lease), Instant::now() + self.deadline);
        let (mut waited_for, mut believed, mut until) = (String::new(), true, None);
        loop {
            let max_age = believed.then_some(max_age);
            let Some(look) = self.link.look(names, (owner, self.lease), max_age, &waited_for).await else {
                return Turn::Call(until);
            };
            match look {
                Look::Answer { stored, left } => match self.seal.open(key, &stored, left) {
                    Some(served) => return Turn::Served(served),
                    // Somebody else's, or broken: as good as nothing, and soon replaced.
                    None if believed => (believed, waited_for) = (false, String::new()),
                    None => return Turn::Call(until),
                },
                Look::Failed(name) => {
                    let Some(error) = E::named(&name) else { return Turn::Call(until) };
                    if !error.is_everyday() {
                        self.failures.another_replica(key);
                    }
                    return Turn::Failed(error);
                }
                Look::Lead => return Turn::Call(until),
                Look::Wait { holder, left: lease } => {
                    (waited_for, until) = (holder, Some(deadline));
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.failures.waited_too_long(key);
                        return Turn::Failed(E::given_up());
                    }
                    // Unless word comes before, there is nothing to be seen until the lease ends, or would have.
                    told.heard_within(lease.min(left)).await;
                }
            }
        }
    }

    /// Renews the lease from now on.
    fn renewing(self: &Arc<Self>, names: &Names, owner: &str) -> Meanwhile {
        let (shared, names, owner) = (Arc::clone(self), names.clone(), owner.to_owned());
        Meanwhile(self.background.spawn(async move {
            loop {
                sleep(shared.lease / RENEWALS).await;
                shared.link.renew(&names, &owner, shared.lease).await;
            }
        }))
    }

    /// The old answer that stands in for a failure, if there is one.
    async fn old(&self, key: &str, names: &Names) -> Option<Served> {
        if self.stands_in_for.is_zero() {
            return None;
        }
        let (stored, left) = self.link.old(names, self.stands_in_for).await?;
        self.seal.open(key, &stored, left)
    }

    /// Tells the others, and does not make anybody here wait for it.
    fn tell<E: Shareable>(self: &Arc<Self>, key: String, names: Names, owner: String, outcome: &Result<Answer, E>) {
        let told = match outcome {
            Ok(answer) if answer.size() <= LARGEST => Ok(answer.clone()),
            Ok(_) => Err((TOO_LARGE, Kind::Absence)),
            Err(error) => Err((error.name(), error.kind())),
        };
        let shared = Arc::clone(self);
        self.background.spawn(async move {
            let told = match told {
                Ok(answer) => Told::Answer(shared.seal.close(&key, &answer, &owner, shared.kept_for)),
                Err((name, Kind::Absence)) => Told::Gone(name),
                Err((name, Kind::Failure | Kind::Refusal)) => Told::Failed(name),
            };
            shared.link.tell(&names, &owner, told, shared.kept_for).await;
        });
    }
}

impl<E: Shareable> Layer<E> for SharedWindow {
    fn read(
        self: Arc<Self>,
        key: String,
        max_age: Duration,
        call: LocalBoxFuture<'static, Result<Answer, E>>,
    ) -> LocalBoxFuture<'static, Result<Found, E>> {
        Box::pin(async move {
            let (names, owner) = (self.names(&key), random::id());
            let outcome = match self.turn(&key, &names, &owner, max_age).await {
                Turn::Served(served) => return Ok(Found { served, stands_in: false }),
                Turn::Failed(error) => Err(error),
                Turn::Call(until) => {
                    // A call that waited for nobody has a deadline of its own, and a reason to give when it is over.
                    let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
                    let renewing = self.renewing(&names, &owner);
                    let outcome = timeout(left, call).await.unwrap_or_else(|_| {
                        self.failures.waited_too_long(&key);
                        Err(E::given_up())
                    });
                    drop(renewing);
                    self.tell(key.clone(), names.clone(), owner, &outcome);
                    outcome.map(Found::new)
                }
            };
            match outcome {
                Err(error) if error.kind() != Kind::Absence => {
                    let old = self.old(&key, &names).await.ok_or(error)?;
                    Ok(Found { served: old, stands_in: true })
                }
                outcome => outcome,
            }
        })
    }
}
