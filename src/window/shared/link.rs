//! The way to Redis: the only module that knows the `redis` package. Each command has a strict time limit, and after one that
//! ran out or a connection that broke, none is tried until a task of its own has found Redis well again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, ProtocolVersion, PushInfo,
    PushKind, RedisError, Value,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::Names;
use super::scripts::{LOOK, RENEW, TELL};
use crate::background::Background;
use crate::secret::Secret;

/// What one command may take: more, and a request is better off without it.
const COMMAND: Duration = Duration::from_millis(40);
/// What connecting may take; no request waits for it.
const CONNECTING: Duration = Duration::from_secs(1);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a failure is kept for those who waited for it, in milliseconds.
const FAILURE_KEPT: u64 = 2_000;
/// Commands that may wait to be sent; the usual 50 would make a burst wait for itself.
const BUFFERED: usize = 1_000;

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
    /// Nothing yet: this one is calling.
    Wait(String),
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

/// Connects as a server does, and asks for a sign of life. What Redis says of a failure is not passed on.
pub(super) async fn reach(url: &Secret) -> Result<&'static str, &'static str> {
    let client = client(url).map_err(|_| "the URL is not one of Redis")?;
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECTING)).set_response_timeout(Some(CONNECTING));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let connected = timeout(CONNECTING, connecting).await.map_err(|_| "it does not answer in time")?;
    let mut connection = connected.map_err(|error| match error.kind() {
        ErrorKind::AuthenticationFailed => "it does not accept the user name and password",
        _ => "there is no Redis that can be connected to",
    })?;
    let ping = redis::cmd("PING");
    match timeout(CONNECTING, ping.query_async::<String>(&mut connection)).await {
        Ok(Ok(answer)) if answer == "PONG" => Ok("it answers"),
        Ok(_) => Err("it refuses what it is asked"),
        Err(_) => Err("it does not answer in time"),
    }
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
pub(super) struct Link(Arc<State>);

struct State {
    client: Client,
    channel: String,
    current: Mutex<Current>,
    lost: Notify,
    /// Who waits for a word about a key.
    waiting: Mutex<HashMap<String, Arc<Notify>>>,
}

#[derive(Default)]
struct Current {
    /// Counts connections, so that what happens to an old one is not blamed on the new.
    number: u64,
    connection: Option<MultiplexedConnection>,
}

impl Link {
    pub(super) async fn open(url: &Secret, channel: String, background: &Background) -> Result<Self, BadUrl> {
        let client = client(url)?;
        let (current, lost, waiting) = (Mutex::default(), Notify::new(), Mutex::default());
        let state = Arc::new(State { client, channel, current, lost, waiting });
        let connecting = Arc::clone(&state);
        // Waited for, so that a server that has started shares from its first request on.
        let first = background.run(async move { connecting.connect(1).await }).await;
        let failing = !matches!(first, Ok(Ok(())));
        if failing {
            log::warn!("Redis can't be reached; this replica's window is its own until it can");
        }
        background.spawn(Arc::clone(&state).stay_connected(failing));
        Ok(Self(state))
    }

    /// Looks by the script above; with no `max_age`, only for what somebody is getting now. `None` where Redis is no help.
    pub(super) async fn look(
        &self,
        names: &Names,
        owner: &str,
        lease: Duration,
        max_age: Option<Duration>,
        waited_for: &str,
    ) -> Option<Look> {
        let max_age = max_age.map_or(-1, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let mut command = redis::cmd("EVAL");
        command.arg(LOOK).arg(3).arg(&names.answer).arg(&names.lease).arg(&names.failure);
        command.arg(owner).arg(milliseconds(lease)).arg(max_age).arg(waited_for);
        let found: Vec<Value> = self.ask(&command).await?;
        let mut found = found.into_iter();
        let what: String = taken(&mut found)?;
        match what.as_str() {
            "answer" => Some(Look::Answer { stored: taken(&mut found)?, left: Duration::from_millis(taken(&mut found)?) }),
            "failed" => Some(Look::Failed(taken(&mut found)?)),
            "wait" => Some(Look::Wait(taken(&mut found)?)),
            "lead" => Some(Look::Lead),
            _ => None,
        }
    }

    pub(super) async fn renew(&self, names: &Names, owner: &str, lease: Duration) {
        let mut command = redis::cmd("EVAL");
        command.arg(RENEW).arg(1).arg(&names.lease).arg(owner).arg(milliseconds(lease));
        let _: Option<i64> = self.ask(&command).await;
    }

    pub(super) async fn tell(&self, names: &Names, owner: &str, told: Told, kept_for: Duration) {
        let mut command = redis::cmd("EVAL");
        command.arg(TELL).arg(3).arg(&names.answer).arg(&names.lease).arg(&names.failure).arg(owner);
        match told {
            Told::Answer(entry) => command.arg("answer").arg(entry).arg(milliseconds(kept_for)),
            Told::Failed(name) => command.arg("failed").arg(name).arg(FAILURE_KEPT),
            Told::Gone(name) => command.arg("gone").arg(name).arg(FAILURE_KEPT),
        };
        let _: Option<i64> = self.ask(command.arg(&self.0.channel)).await;
    }

    /// Listens for a word about `key` from now on.
    pub(super) fn listen(&self, key: &str) -> Listening {
        let told = Arc::clone(lock(&self.0.waiting).entry(key.to_owned()).or_default());
        Listening { state: Arc::clone(&self.0), key: key.to_owned(), told }
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let (number, connection) = {
            let current = lock(&self.0.current);
            (current.number, current.connection.clone())
        };
        let cause = match timeout(COMMAND, command.query_async(&mut connection?)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) if is_an_answer(&error) => {
                log::debug!(cause:% = error; "Redis refused a command");
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {COMMAND:?}"),
        };
        if self.0.lose(number) {
            log::warn!(cause; "Redis failed; this replica's window is its own until it is back");
        }
        None
    }
}

/// Redis was there and said no: it is full, or the key holds something else. That is no reason not to ask it again.
fn is_an_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType)
}

impl State {
    async fn stay_connected(self: Arc<Self>, mut failing: bool) {
        for number in 2.. {
            if !failing {
                self.lost.notified().await;
            }
            // Also after a connection that worked: one that is lost again at once must not be made again at once.
            sleep(PAUSE).await;
            failing = self.connect(number).await.is_err();
            if !failing {
                log::info!("Redis answers; replicas share the window");
            }
        }
    }

    async fn connect(self: &Arc<Self>, number: u64) -> Result<(), ()> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(Some(CONNECTING))
            .set_pipeline_buffer_size(BUFFERED)
            .set_push_sender(self.pushes_of(number));
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = timeout(CONNECTING, connecting).await.map_err(drop)?.map_err(drop)?;
        timeout(CONNECTING, connection.subscribe(&self.channel)).await.map_err(drop)?.map_err(drop)?;
        // As fast as requests will need it to be, or it is not back yet.
        let ping = redis::cmd("PING");
        let answer: String = timeout(COMMAND, ping.query_async(&mut connection)).await.map_err(drop)?.map_err(drop)?;
        if answer != "PONG" {
            return Err(());
        }
        *lock(&self.current) = Current { number, connection: Some(connection) };
        Ok(())
    }

    /// What the connection says unasked: that somebody told something, or that it is lost.
    fn pushes_of(self: &Arc<Self>, number: u64) -> impl Fn(PushInfo) -> Result<(), SendError> + Send + Sync + 'static {
        let state: Weak<Self> = Arc::downgrade(self);
        move |push| {
            let state = state.upgrade().ok_or(SendError)?;
            match push.kind {
                PushKind::Message => {
                    let key = push.data.into_iter().nth(1).and_then(|key| String::from_redis_value(key).ok());
                    if let Some(told) = key.and_then(|key| lock(&state.waiting).get(&key).cloned()) {
                        told.notify_one();
                    }
                }
                PushKind::Disconnection if state.lose(number) => {
                    log::warn!("the connection to Redis is lost; this replica's window is its own until it is back");
                }
                _ => {}
            }
            Ok(())
        }
    }

    /// Gives up connection `number`; `false` if that happened before.
    fn lose(&self, number: u64) -> bool {
        let mut current = lock(&self.current);
        let had = current.number == number && current.connection.take().is_some();
        if had {
            self.lost.notify_one();
        }
        had
    }
}

/// Somebody who waits for a word about a key.
pub(super) struct Listening {
    state: Arc<State>,
    key: String,
    told: Arc<Notify>,
}

impl Listening {
    /// Done when somebody said something, or after `limit`.
    pub(super) async fn heard_within(&self, limit: Duration) {
        let _ = timeout(limit, self.told.notified()).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // There is never a second one of a key: within one server, the window lets one ask for all.
        lock(&self.state.waiting).remove(&self.key);
    }
}

fn taken<T: FromRedisValue>(values: &mut impl Iterator<Item = Value>) -> Option<T> {
    T::from_redis_value(values.next()?).ok()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
