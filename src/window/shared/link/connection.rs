//! The connection to Redis: made, found slow, found well again, lost, and made anew by a task of its own. Must not know what is
//! said over it.
//!
//! Slow is not lost. While Redis is slow, no request asks it anything; but what no request waits for, the renewal of a lease
//! for one, still goes out, so that a moment's weakness does not undo what replicas agreed on before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, PushInfo, PushKind, RedisError, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::patience::{Fault, LONG, Pace, Patience, is_an_answer, pace, within};

/// How often Redis has to show that it is there while somebody waits for word over it.
const PULSE: Duration = Duration::from_millis(5);
/// How often a slow Redis is tried, and how often one that is gone.
const WHILE_SLOW: Duration = Duration::from_millis(100);
const WHILE_LOST: Duration = Duration::from_secs(1);
/// How often a new connection may answer too late before it counts as slow, and how long that may go on.
const FIRST_TRIES: u32 = 5;
const FIRST_TRIES_WITHIN: Duration = Duration::from_millis(800);
/// What all of it may take while a server starts, which waits for it.
const STARTING: Duration = Duration::from_millis(1_500);
/// Commands that may wait to be sent; the usual 50 would make a burst wait for itself.
const BUFFERED: usize = 1_000;

const SLOW: &str = "Redis is slow; this replica's window is its own until it answers in time";

/// The connection, and who waits for word over it.
pub(super) struct State {
    client: Client,
    channel: String,
    /// What it answers with 1 if it can be used.
    proof: Cmd,
    /// What costs it next to nothing, and needs no right beyond the proof's.
    pulse: Cmd,
    current: Mutex<Current>,
    /// It has become slow, refuses what it is asked, or is lost.
    worse: Notify,
    /// Who waits for a word about a key.
    waiting: Mutex<HashMap<String, Arc<Notify>>>,
    /// Somebody begins to wait.
    waits: Notify,
}

#[derive(Default)]
struct Current {
    /// Counts connections, so that what happens to an old one is not blamed on the new.
    number: u64,
    connection: Option<MultiplexedConnection>,
    slow: bool,
    refuses: bool,
}

impl Current {
    fn is_well(&self) -> bool {
        self.connection.is_some() && !self.slow && !self.refuses
    }
}

impl State {
    pub(super) fn new(client: Client, channel: String, proof: Cmd) -> Self {
        let (current, waiting) = Default::default();
        let mut pulse = redis::cmd("GET");
        pulse.arg(format!("{channel}:pulse"));
        Self { client, channel, proof, pulse, current, worse: Notify::new(), waiting, waits: Notify::new() }
    }

    /// Whether replicas share at the moment.
    pub(super) fn is_well(&self) -> bool {
        lock(&self.current).is_well()
    }

    /// Asks, or gives up at once where there is nobody to ask.
    pub(super) async fn ask<T: FromRedisValue>(self: Arc<Self>, command: Cmd, patience: Patience) -> Option<T> {
        let (number, connection) = self.usable(patience);
        let asked = within(patience.limit(), command.query_async(&mut connection?)).await;
        match asked {
            Some(Ok(answer)) => return Some(answer),
            Some(Err(error)) if is_an_answer(&error) => self.refused(number, &error),
            Some(Err(error)) if !error.is_timeout() => self.lose(number, &error.to_string()),
            Some(Err(_)) | None => self.slow_down(number),
        }
        None
    }

    fn usable(&self, patience: Patience) -> (u64, Option<MultiplexedConnection>) {
        let current = lock(&self.current);
        let skipped = current.slow && patience == Patience::Short;
        (current.number, current.connection.clone().filter(|_| !skipped))
    }

    /// Connects for the first time; whether all is well. If not, it says why.
    pub(super) async fn begin(self: Arc<Self>) -> bool {
        let found = timeout(STARTING, self.connect(1)).await.unwrap_or(Err(Fault::Late));
        match found {
            Ok(Pace::Quick) => return true,
            Ok(Pace::Slow) => log::warn!("{SLOW}"),
            Err(cause) => {
                log::warn!(cause:%; "Redis can't be reached, or used; this replica's window is its own until it can");
            }
        }
        false
    }

    /// Tries again whenever something is wrong, for as long as the runtime goes on.
    pub(super) async fn stay_connected(self: Arc<Self>, mut well: bool) {
        let mut number = 1;
        loop {
            while well {
                tokio::select! {
                    () = self.worse.notified() => {}
                    () = self.feel_the_pulse() => {}
                }
                // What was said may be of a weakness that is over.
                well = self.is_well();
            }
            let (connected, slow, was_well) = {
                let current = lock(&self.current);
                (current.connection.is_some(), current.slow, current.is_well())
            };
            // Also after a connection that worked: one that is lost again at once must not be made again at once.
            sleep(if connected && slow { WHILE_SLOW } else { WHILE_LOST }).await;
            well = if connected {
                self.has_recovered().await
            } else {
                number += 1;
                matches!(self.connect(number).await, Ok(Pace::Quick))
            };
            if well && !was_well {
                log::info!("Redis answers; replicas share the window");
            }
        }
    }

    /// Has Redis show that it is there, for as long as somebody waits for word. Who waits asks nothing, and would not notice that
    /// Redis stands still.
    async fn feel_the_pulse(self: &Arc<Self>) {
        loop {
            if lock(&self.waiting).is_empty() {
                self.waits.notified().await;
            }
            let _: Option<Value> = Arc::clone(self).ask(self.pulse.clone(), Patience::Short).await;
            sleep(PULSE).await;
        }
    }

    /// Has the connection looked after, and all who wait for word over it look for themselves.
    fn has_got_worse(&self) {
        self.worse.notify_one();
        for told in lock(&self.waiting).values() {
            told.notify_one();
        }
    }

    /// Whether a connection that was slow, or refused, is well again. One that does not answer at all is given up.
    async fn has_recovered(&self) -> bool {
        let (number, Some(mut connection)) = self.usable(Patience::Long) else { return false };
        let found = pace(&mut connection, &self.proof).await;
        let mut current = lock(&self.current);
        if current.number == number {
            current.slow = matches!(found, Ok(Pace::Slow));
            current.refuses = matches!(&found, Err(Fault::Error(error)) if is_an_answer(error));
            if found.is_err() && !current.refuses {
                current.connection = None;
                self.has_got_worse();
            }
        }
        matches!(found, Ok(Pace::Quick))
    }

    pub(super) async fn connect(self: &Arc<Self>, number: u64) -> Result<Pace, Fault> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(LONG))
            .set_response_timeout(Some(LONG))
            .set_pipeline_buffer_size(BUFFERED)
            .set_push_sender(self.pushes_of(number));
        let began = Instant::now();
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = timeout(LONG, connecting).await.map_err(|_| Fault::Late)??;
        timeout(LONG, connection.subscribe(&self.channel)).await.map_err(|_| Fault::Late)??;
        let mut found = pace(&mut connection, &self.proof).await?;
        for _ in 1..FIRST_TRIES {
            if found == Pace::Slow && began.elapsed() < FIRST_TRIES_WITHIN {
                found = pace(&mut connection, &self.proof).await?;
            }
        }
        let slow = found == Pace::Slow;
        *lock(&self.current) = Current { number, connection: Some(connection), slow, refuses: false };
        Ok(found)
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
                PushKind::Disconnection => state.lose(number, "the connection is closed"),
                _ => {}
            }
            Ok(())
        }
    }

    /// Gives up connection `number`.
    fn lose(&self, number: u64, cause: &str) {
        let mut current = lock(&self.current);
        if current.number == number && current.connection.take().is_some() {
            self.has_got_worse();
            log::warn!(cause; "Redis is lost; this replica's window is its own until it is back");
        }
    }

    /// Connection `number` was refused something. It is asked on, for much of it may still work.
    fn refused(&self, number: u64, cause: &RedisError) {
        let mut current = lock(&self.current);
        if current.number == number && current.connection.is_some() && !current.refuses {
            current.refuses = true;
            self.has_got_worse();
            log::warn!(cause:%; "Redis refuses what it is asked; this replica's window is its own until it does not");
        }
    }

    /// Spares connection `number`, and the requests that would wait for it.
    fn slow_down(&self, number: u64) {
        let mut current = lock(&self.current);
        if current.number == number && current.connection.is_some() && !current.slow {
            current.slow = true;
            self.has_got_worse();
            log::warn!("{SLOW}");
        }
    }

    /// Listens for a word about `key` from now on.
    pub(super) fn listen(self: &Arc<Self>, key: &str) -> Listening {
        let told = Arc::clone(lock(&self.waiting).entry(key.to_owned()).or_default());
        Listening { state: Arc::clone(self), key: key.to_owned(), told }
    }
}

/// Somebody who waits for a word about a key.
pub(in crate::window::shared) struct Listening {
    state: Arc<State>,
    key: String,
    told: Arc<Notify>,
}

impl Listening {
    /// Done when somebody said something, when Redis is of no use any more, or after `limit`.
    pub(in crate::window::shared) async fn heard_within(&self, limit: Duration) {
        self.state.waits.notify_one();
        let _ = timeout(limit, self.told.notified()).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // There is never a second one of a key: within one server, the window lets one ask for all.
        lock(&self.state.waiting).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
