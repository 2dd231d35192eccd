//! The way to Redis: the only module that knows the `redis` package. Each command has a strict time limit. All of it is done on
//! the background runtime, so that a busy worker does not take its own delay for Redis's.

mod connection;
mod patience;

use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, ProtocolVersion, Value};

pub(super) use connection::Listening;

use super::scripts::{LOOK, PROVE, RENEW, TELL};
use super::{LONGEST_LEASE, Names};
use crate::background::Background;
use crate::secret::Secret;
use connection::State;
use patience::{Fault, Pace, Patience, is_an_answer, is_read_only};

/// How long a failure is kept for those who waited for it, in milliseconds.
const FAILURE_KEPT: u64 = 2_000;
/// The largest entry that is fetched, in bytes: nobody of ours stores a larger one.
const LARGEST_ENTRY: usize = super::LARGEST + 1024;
/// How often what came of a call is told, should no answer come.
const TELLINGS: u32 = 3;

/// The URL can't be one of Redis.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it is not a URL like redis://[user:password@]host:port[/database]")]
pub struct BadUrl;

/// What a look found.
pub(super) enum Look {
    /// This entry, with so much left of its time.
    Answer { stored: Vec<u8>, left: Duration },
    /// The failure, by name, of the call that was waited for.
    Failed(String),
    /// Nothing; this one is to call.
    Lead,
    /// Nothing yet: this one is calling, and its lease has so much left unless it is renewed.
    Wait { holder: String, left: Duration },
}

/// What connects to `url`.
pub(super) fn client(url: &Secret) -> Result<Client, BadUrl> {
    if !url.expose().starts_with("redis://") {
        // Redis' own package knows others, for which this server has neither TLS nor a use.
        return Err(BadUrl);
    }
    let info = url.expose().into_connection_info().map_err(|_| BadUrl)?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(redis)).map_err(|_| BadUrl)
}

/// Connects as a server does, and proves it. What Redis says of a failure is not passed on.
pub(super) async fn reach(url: &Secret, channel: String) -> Result<&'static str, &'static str> {
    let client = client(url).map_err(|_| "the URL is not one of Redis")?;
    let proof = proof(&channel);
    match Arc::new(State::new(client, channel, proof)).connect(1).await {
        Ok(Pace::Quick) => Ok("it can be used"),
        Ok(Pace::Slow) => Ok("it can be used, but answers slowly"),
        Err(Fault::Late) => Err("it does not answer in time"),
        Err(Fault::Error(error)) if error.kind() == ErrorKind::AuthenticationFailed => {
            Err("it does not accept the user name and password")
        }
        Err(Fault::Error(error)) if is_read_only(&error) => Err("it is read-only"),
        Err(Fault::Error(error)) if is_an_answer(&error) => Err("it refuses what the server has to ask it"),
        Err(Fault::Error(_)) => Err("there is no Redis that can be connected to"),
    }
}

/// What a Redis answers with 1 that does all that is asked of it. Leaves nothing behind.
fn proof(channel: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(PROVE).arg(1).arg(format!("{channel}:proof")).arg(channel);
    command
}

/// What came of a call.
pub(super) enum Told {
    /// This entry.
    Answer(Vec<u8>),
    /// A failure that an old answer may stand in for.
    Failed(&'static str),
    /// A failure that no old answer may stand in for.
    Gone(&'static str),
}

/// Talks to Redis, or says at once that it can't.
pub(super) struct Link {
    state: Arc<State>,
    channel: String,
    background: Background,
}

impl Link {
    pub(super) async fn open(url: &Secret, channel: String, background: Background) -> Result<Self, BadUrl> {
        let state = Arc::new(State::new(client(url)?, channel.clone(), proof(&channel)));
        // Waited for, so that a server that has started shares from its first request on.
        let well = background.run(Arc::clone(&state).begin()).await.unwrap_or(false);
        background.spawn(Arc::clone(&state).stay_connected(well));
        Ok(Self { state, channel, background })
    }

    /// Whether replicas share at the moment.
    pub(super) fn shares(&self) -> bool {
        self.state.is_well()
    }

    /// Looks by the script; with no `max_age`, only for what somebody is getting now. `None` where Redis is no help.
    pub(super) async fn look(
        &self,
        names: &Names,
        (owner, lease): (&str, Duration),
        max_age: Option<Duration>,
        waited_for: &str,
    ) -> Option<Look> {
        let mut command = redis::cmd("EVAL");
        command.arg(LOOK).arg(3).arg(&names.answer).arg(&names.lease).arg(&names.failure);
        command.arg(owner).arg(milliseconds(lease));
        command.arg(max_age.map_or(-1, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        command.arg(waited_for).arg(LARGEST_ENTRY).arg(milliseconds(LONGEST_LEASE));
        let found: Vec<Value> = self.ask(command, Patience::Short).await?;
        let mut found = found.into_iter();
        let what: String = taken(&mut found)?;
        match what.as_str() {
            "answer" => Some(Look::Answer { stored: taken(&mut found)?, left: Duration::from_millis(taken(&mut found)?) }),
            "failed" => Some(Look::Failed(taken(&mut found)?)),
            "wait" => Some(Look::Wait { holder: taken(&mut found)?, left: Duration::from_millis(taken(&mut found)?) }),
            "lead" => Some(Look::Lead),
            _ => None,
        }
    }

    /// The entry that is there, if it is not older than that, with so much left of its time.
    pub(super) async fn old(&self, names: &Names, max_age: Duration) -> Option<(Vec<u8>, Duration)> {
        match self.look(names, ("", Duration::ZERO), Some(max_age), "").await? {
            Look::Answer { stored, left } => Some((stored, left)),
            Look::Failed(_) | Look::Lead | Look::Wait { .. } => None,
        }
    }

    pub(super) async fn renew(&self, names: &Names, owner: &str, lease: Duration) {
        let mut command = redis::cmd("EVAL");
        command.arg(RENEW).arg(1).arg(&names.lease).arg(owner).arg(milliseconds(lease));
        let _: Option<i64> = self.ask(command, Patience::Long).await;
    }

    pub(super) async fn tell(&self, names: &Names, owner: &str, told: Told, kept_for: Duration) {
        let mut command = redis::cmd("EVAL");
        command.arg(TELL).arg(3).arg(&names.answer).arg(&names.lease).arg(&names.failure).arg(owner);
        match told {
            Told::Answer(entry) => command.arg("answer").arg(entry).arg(milliseconds(kept_for)),
            Told::Failed(name) => command.arg("failed").arg(name).arg(FAILURE_KEPT),
            Told::Gone(name) => command.arg("gone").arg(name).arg(FAILURE_KEPT),
        };
        command.arg(&self.channel);
        // A second time does nothing where the first one came through: by then the lease is gone.
        for _ in 0..TELLINGS {
            if self.ask::<i64>(command.clone(), Patience::Long).await.is_some() {
                return;
            }
        }
    }

    /// Listens for a word about `key` from now on.
    pub(super) fn listen(&self, key: &str) -> Listening {
        self.state.listen(key)
    }

    async fn ask<T: FromRedisValue + Send + 'static>(&self, command: Cmd, patience: Patience) -> Option<T> {
        self.background.run(Arc::clone(&self.state).ask(command, patience)).await.ok().flatten()
    }
}

fn taken<T: FromRedisValue>(values: &mut impl Iterator<Item = Value>) -> Option<T> {
    T::from_redis_value(values.next()?).ok()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
