//! One window over several replicas, by way of Redis or Valkey: where one replica would call Admin Control, it looks there first,
//! and of several that would call at once one does and the others wait for what it got.
//!
//! Nothing here is needed: where Redis is slow, full, restarted, gone or not Redis at all, each replica is on its own, as
//! without it. It knows neither who asks nor what an answer says.
//!
//! # Who calls
//!
//! Whoever finds no answer takes a lease on the key, in the same step, and calls. A lease is short and renewed while the call
//! goes on: a replica that dies holds the others up for a second, not for as long as a call may take. A replica that was
//! stopped for longer than its lease and goes on has lost it, and what it got is not stored over what others got since.
//!
//! # Ages
//!
//! An answer is stored for a fixed time, and its age is what Redis says has passed of that. So no two machines' clocks are
//! ever compared.

mod entry;
mod link;
mod scripts;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, sleep, timeout};

use super::{CallError, Kind, Layer};
use crate::answer::{Answer, Served};
use crate::background::Background;
use crate::random;
use crate::secret::Secret;
use entry::Seal;
pub use link::BadUrl;
use link::{Link, Look, Told};

/// How long a lease holds unless it is renewed: what a replica that dies costs those who wait for it.
const LEASE: Duration = Duration::from_secs(1);
/// How often it is renewed; twice may fail.
const RENEWAL: Duration = Duration::from_millis(300);
/// How often those who wait look, should no word reach them.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The least time that an answer is stored for, so that who waited for it finds it even where nothing is fresh for long.
const SHORTEST: Duration = Duration::from_secs(2);
/// The longest time: what is in Redis ends by itself.
const LONGEST: Duration = Duration::from_hours(1);
/// The largest answer that is stored, in bytes; of a larger one each replica gets its own.
const LARGEST: usize = 1 << 20;
/// What those who wait are told of an answer that was not stored.
const TOO_LARGE: &str = "too large";

/// An error that replicas tell one another.
pub trait Shareable: CallError {
    /// Its name between replicas.
    fn name(&self) -> &'static str;
    /// The error of that name; `None` if a replica of another version made it up.
    fn named(name: &str) -> Option<Self>;
}

/// What is shared, and with whom.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Where Redis is.
    pub url: Secret,
    /// What names this deployment: answers of two with different ones never mix.
    pub deployment: String,
    /// Which window this is.
    pub endpoint: &'static str,
    /// What answers are sealed with, the current secret first: what was not sealed with one of these is not believed.
    pub secrets: Vec<Secret>,
    /// How long an answer is stored.
    pub kept_for: Duration,
    /// How long waiting for another replica's call, and one's own call after it, may take together.
    pub deadline: Duration,
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
    deadline: Duration,
    background: Background,
}

/// What a replica that found nothing in its own window does next.
enum Turn<E> {
    /// It takes this answer.
    Served(Served),
    /// It fails as the one that it waited for failed.
    Failed(E),
    /// It calls, and the others wait for it.
    Lead,
    /// It calls, and nobody knows.
    Alone,
}

/// Whether a URL can be one of Redis.
///
/// # Errors
///
/// [`BadUrl`] if not.
pub fn accepts(url: &Secret) -> Result<(), BadUrl> {
    link::client(url).map(drop)
}

/// Whether Redis can be reached, and speaks as the windows need it. Changes nothing.
///
/// # Errors
///
/// A sentence on why not.
pub async fn reach(url: &Secret) -> Result<&'static str, &'static str> {
    link::reach(url).await
}

impl SharedWindow {
    /// Connects, and stays connected from now on. A Redis that can't be reached is no failure.
    ///
    /// # Errors
    ///
    /// [`BadUrl`] if the URL can't be one of Redis.
    pub async fn open(rules: Rules, background: Background) -> Result<Self, BadUrl> {
        let seal = Seal::new(&rules.secrets, &[&rules.deployment, rules.endpoint]);
        let prefix = format!("proconf:{}:{}", entry::fingerprint(&rules.deployment), rules.endpoint);
        let link = Link::open(&rules.url, format!("{prefix}:told"), &background).await?;
        let kept_for = rules.kept_for.clamp(SHORTEST, LONGEST);
        Ok(Self { link, seal, prefix, kept_for, deadline: rules.deadline, background })
    }

    /// The keys of `key`. The braces keep them on one node of a cluster.
    fn names(&self, key: &str) -> Names {
        let of = |what| format!("{}:{{{}}}:{what}", self.prefix, entry::fingerprint(key));
        Names { answer: of("answer"), lease: of("lease"), failure: of("failure") }
    }

    async fn turn<E: Shareable>(&self, key: &str, names: &Names, owner: &str, max_age: Duration, until: Instant) -> Turn<E> {
        let told = self.link.listen(&names.lease);
        let (mut waited_for, mut believed) = (String::new(), true);
        loop {
            let max_age = believed.then_some(max_age);
            let Some(look) = self.link.look(names, owner, LEASE, max_age, &waited_for).await else {
                return Turn::Alone;
            };
            match look {
                Look::Answer { stored, left } => match self.seal.open(key, &stored, left) {
                    Some(served) => return Turn::Served(served),
                    // Somebody else's, or broken: as good as nothing, and soon replaced.
                    None if believed => (believed, waited_for) = (false, String::new()),
                    None => return Turn::Alone,
                },
                Look::Failed(name) => return E::named(&name).map_or(Turn::Alone, Turn::Failed),
                Look::Lead => return Turn::Lead,
                Look::Wait(holder) => {
                    waited_for = holder;
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Turn::Failed(E::given_up());
                    }
                    told.heard_within(LOOK_AGAIN.min(left)).await;
                }
            }
        }
    }

    /// Calls, with the lease renewed meanwhile.
    async fn renewing<T>(&self, names: &Names, owner: &str, call: impl Future<Output = T>) -> T {
        let renewals = async {
            loop {
                sleep(RENEWAL).await;
                self.link.renew(names, owner, LEASE).await;
            }
        };
        tokio::select! {
            outcome = call => outcome,
            // Never done.
            () = renewals => std::future::pending().await,
        }
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
    ) -> LocalBoxFuture<'static, Result<Served, E>> {
        Box::pin(async move {
            let (names, owner) = (self.names(&key), random::id());
            let began = Instant::now();
            let turn = self.turn(&key, &names, &owner, max_age, began + self.deadline).await;
            // A call that waited for nobody has a deadline of its own, and a reason to give when it is over.
            let waited = began.elapsed() > LOOK_AGAIN;
            let left = if waited { self.deadline.saturating_sub(began.elapsed()) } else { Duration::MAX };
            let call = async { timeout(left, call).await.unwrap_or_else(|_| Err(E::given_up())) };
            let outcome = match turn {
                Turn::Served(served) => return Ok(served),
                Turn::Failed(error) => return Err(error),
                Turn::Alone => call.await,
                Turn::Lead => {
                    let outcome = self.renewing(&names, &owner, call).await;
                    self.tell(key, names, owner, &outcome);
                    outcome
                }
            };
            outcome.map(|answer| Served { answer, age: Duration::ZERO })
        })
    }
}
