//! Unit tests of the response cache. Time is paused and advanced, never waited for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, advance, pause};

use super::*;
use crate::cache::FailureKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Error(FailureKind);

impl FetchError for Error {
    fn kind(&self) -> FailureKind {
        self.0
    }

    fn from_kind(kind: FailureKind) -> Self {
        Self(kind)
    }
}

const FRESH_FOR: Duration = Duration::from_secs(5);
const STALE_IF_ERROR: Duration = Duration::from_mins(1);
const ALMOST_FRESH_FOR: Duration = Duration::from_millis(4_999);
const ALMOST_STALE_IF_ERROR: Duration = Duration::from_millis(59_999);
const STALE_AFTER: Duration = Duration::from_secs(2);
/// A timer fires up to this much late.
const TIMER_GRANULARITY: Duration = Duration::from_millis(1);
const CONFIG: CacheConfig =
    CacheConfig { fresh_for: FRESH_FOR, stale_if_error: STALE_IF_ERROR, stale_after: STALE_AFTER, max_bytes: 1 << 20 };

fn cache(config: CacheConfig) -> ResponseCache<Error> {
    ResponseCache::new(config, None, &mut Registry::new(std::time::UNIX_EPOCH), "test")
}

fn envelope(text: &str) -> Envelope {
    Envelope::new(&RawValue::from_string(format!("{text:?}")).unwrap())
}

/// The key of a pending fetch, the sender of its result, and its start.
type PendingFetch = (String, oneshot::Sender<Result<Envelope, Error>>, Instant);

/// Fetches that the test completes.
#[derive(Clone, Default)]
struct FakeFetches {
    started: Rc<Cell<usize>>,
    pending: Rc<RefCell<Vec<PendingFetch>>>,
}

impl FakeFetches {
    fn start(&self, key: &str) -> impl Future<Output = Result<Envelope, Error>> + use<> {
        self.started.set(self.started.get() + 1);
        let (sender, receiver) = oneshot::channel();
        self.pending.borrow_mut().push((key.to_owned(), sender, Instant::now()));
        async move { receiver.await.expect("the test completes each fetch") }
    }

    /// Completes the oldest fetch.
    fn complete(&self, outcome: Result<Envelope, Error>) {
        let (_, sender, _) = self.pending.borrow_mut().remove(0);
        sender.send(outcome).unwrap();
    }
}

fn read(
    cache: &ResponseCache<Error>,
    fetches: &FakeFetches,
    key: &'static str,
) -> JoinHandle<Result<CachedResponse, Error>> {
    let (cache, fetches) = (cache.clone(), fetches.clone());
    tokio::task::spawn_local(async move { cache.get(key, || fetches.start(key)).await })
}

/// Reads `r1`, waiting for a slow fetch.
fn spawn_patient(cache: &ResponseCache<Error>, fetches: &FakeFetches) -> JoinHandle<Result<CachedResponse, Error>> {
    let (cache, fetches) = (cache.clone(), fetches.clone());
    tokio::task::spawn_local(async move { cache.get_within(FRESH_FOR, "r1", || fetches.start("r1")).await })
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn in_paused_time(test: impl AsyncFnOnce(ResponseCache<Error>, FakeFetches)) {
    pause();
    LocalSet::new().run_until(test(cache(CONFIG), FakeFetches::default())).await;
}

/// Fills the cache with `text` for `r1`.
async fn filled(cache: &ResponseCache<Error>, fetches: &FakeFetches, text: &str) {
    let reader = read(cache, fetches, "r1");
    settle().await;
    fetches.complete(Ok(envelope(text)));
    assert_eq!(reader.await.unwrap().unwrap().envelope, envelope(text));
}

#[tokio::test]
async fn concurrent_readers_share_one_fetch_per_key() {
    in_paused_time(async |cache, fetches| {
        let waiting: Vec<_> = (0..100).map(|_| read(&cache, &fetches, "r1")).collect();
        let other = read(&cache, &fetches, "r2");
        settle().await;
        assert_eq!(fetches.started.get(), 2);
        let (_, second, _) = fetches.pending.borrow_mut().pop().unwrap();
        second.send(Ok(envelope("two"))).unwrap();
        assert_eq!(other.await.unwrap().unwrap().envelope, envelope("two"));
        fetches.complete(Ok(envelope("one")));
        for reader in waiting {
            assert_eq!(reader.await.unwrap().unwrap().envelope, envelope("one"));
        }
        assert_eq!(fetches.started.get(), 2);
    })
    .await;
}

#[tokio::test]
async fn expired_entry_makes_readers_wait_for_a_new_one() {
    in_paused_time(async |cache, fetches| {
        filled(&cache, &fetches, "old").await;
        advance(ALMOST_FRESH_FOR).await;
        let response = read(&cache, &fetches, "r1").await.unwrap().unwrap();
        assert_eq!((response.age(), response.envelope), (ALMOST_FRESH_FOR, envelope("old")));
        assert_eq!(fetches.started.get(), 1);
        advance(Duration::from_millis(1)).await;
        let reader = read(&cache, &fetches, "r1");
        settle().await;
        assert!(!reader.is_finished(), "it waits for the new one");
        fetches.complete(Ok(envelope("new")));
        let response = reader.await.unwrap().unwrap();
        assert_eq!((response.age(), response.envelope), (Duration::ZERO, envelope("new")));
    })
    .await;
}

#[tokio::test]
async fn stale_entry_is_served_after_a_failure_until_its_limit() {
    in_paused_time(async |cache, fetches| {
        filled(&cache, &fetches, "old").await;
        for wait in [FRESH_FOR, ALMOST_STALE_IF_ERROR] {
            advance(wait).await;
            let waiting: Vec<_> = (0..3).map(|_| read(&cache, &fetches, "r1")).collect();
            settle().await;
            fetches.complete(Err(Error(FailureKind::Failed)));
            for reader in waiting {
                assert_eq!(reader.await.unwrap().unwrap().envelope, envelope("old"));
            }
        }
        advance(Duration::from_millis(1)).await;
        let reader = read(&cache, &fetches, "r1");
        settle().await;
        fetches.complete(Err(Error(FailureKind::Failed)));
        assert_eq!(reader.await.unwrap(), Err(Error(FailureKind::Failed)));
    })
    .await;
}

#[tokio::test]
async fn younger_one_of_own_and_other_replicas_response_is_kept() {
    pause();
    let cache: ResponseCache<Error> = cache(CONFIG);
    let store = |text, seconds| {
        cache.0.store("r1", CachedResponse::with_age(envelope(text), Duration::from_secs(seconds)));
        cache.0.find_stale("r1").unwrap().envelope
    };
    assert_eq!(["own", "own", "younger"].map(envelope), [store("own", 20), store("older", 40), store("younger", 10)]);
}

#[tokio::test]
async fn slow_fetch_serves_the_stale_entry_and_then_replaces_it() {
    in_paused_time(async |cache, fetches| {
        filled(&cache, &fetches, "old").await;
        advance(FRESH_FOR).await;
        let waiting: Vec<_> = (0..10).map(|_| read(&cache, &fetches, "r1")).collect();
        settle().await;
        advance(Duration::from_millis(1_500)).await;
        let later = read(&cache, &fetches, "r1");
        let patient = spawn_patient(&cache, &fetches);
        settle().await;
        assert!(waiting.iter().chain([&later]).all(|reader| !reader.is_finished()), "it is not slow yet");
        advance(Duration::from_millis(500)).await;
        for reader in waiting.into_iter().chain([later, read(&cache, &fetches, "r1")]) {
            let response = reader.await.unwrap().unwrap();
            assert_eq!((response.age().as_secs(), response.envelope), (7, envelope("old")));
        }
        assert!(!patient.is_finished());
        fetches.complete(Ok(envelope("new")));
        assert_eq!(patient.await.unwrap().unwrap().envelope, envelope("new"));
        assert_eq!(read(&cache, &fetches, "r1").await.unwrap().unwrap().envelope, envelope("new"));
        assert_eq!(fetches.started.get(), 2);
    })
    .await;
}

#[tokio::test]
async fn failed_slow_fetch_keeps_the_entry_and_a_404_removes_it() {
    in_paused_time(async |cache, fetches| {
        filled(&cache, &fetches, "old").await;
        advance(FRESH_FOR).await;
        for (calls, failure) in [(2, FailureKind::Failed), (3, FailureKind::NotFound)] {
            let reader = read(&cache, &fetches, "r1");
            settle().await;
            assert_eq!(fetches.started.get(), calls, "a new fetch");
            advance(STALE_AFTER).await;
            assert_eq!(reader.await.unwrap().unwrap().envelope, envelope("old"));
            fetches.complete(Err(Error(failure)));
            settle().await;
        }
        let reader = read(&cache, &fetches, "r1");
        settle().await;
        advance(STALE_AFTER + TIMER_GRANULARITY).await;
        settle().await;
        assert!(!reader.is_finished(), "the entry is removed");
        fetches.complete(Ok(envelope("new")));
        assert_eq!(reader.await.unwrap().unwrap().envelope, envelope("new"));
    })
    .await;
}

#[tokio::test]
async fn slow_fetch_serves_no_entry_older_than_its_limit() {
    in_paused_time(async |cache, fetches| {
        filled(&cache, &fetches, "old").await;
        advance(FRESH_FOR + ALMOST_STALE_IF_ERROR).await;
        let reader = read(&cache, &fetches, "r1");
        settle().await;
        advance(STALE_AFTER + TIMER_GRANULARITY).await;
        settle().await;
        assert!(!reader.is_finished());
        fetches.complete(Err(Error(FailureKind::Failed)));
        assert_eq!(reader.await.unwrap(), Err(Error(FailureKind::Failed)));
    })
    .await;
}

#[tokio::test]
async fn zero_stale_after_serves_the_stale_entry_at_once() {
    pause();
    let (cache, fetches) = (cache(CacheConfig { stale_after: Duration::ZERO, ..CONFIG }), FakeFetches::default());
    LocalSet::new()
        .run_until(async {
            filled(&cache, &fetches, "old").await;
            advance(FRESH_FOR).await;
            for reader in (0..10).map(|_| read(&cache, &fetches, "r1")).collect::<Vec<_>>() {
                let response = reader.await.unwrap().unwrap();
                assert_eq!((response.age(), response.envelope), (FRESH_FOR, envelope("old")));
            }
            assert_eq!(fetches.started.get(), 2, "one fetch goes on behind");
            fetches.complete(Ok(envelope("new")));
            settle().await;
            assert_eq!(read(&cache, &fetches, "r1").await.unwrap().unwrap().envelope, envelope("new"));
        })
        .await;
}

#[tokio::test]
async fn failure_is_shared_by_waiting_readers_and_not_stored() {
    in_paused_time(async |cache, fetches| {
        let waiting: Vec<_> = (0..10).map(|_| read(&cache, &fetches, "r1")).collect();
        settle().await;
        fetches.complete(Err(Error(FailureKind::Failed)));
        for reader in waiting {
            assert_eq!(reader.await.unwrap(), Err(Error(FailureKind::Failed)));
        }
        assert_eq!(fetches.started.get(), 1);
        filled(&cache, &fetches, "good").await;
    })
    .await;
}

#[tokio::test]
async fn not_found_removes_the_entry_and_other_failures_do_not() {
    in_paused_time(async |cache, fetches| {
        filled(&cache, &fetches, "old").await;
        advance(FRESH_FOR).await;
        for (outcome, expected) in [
            (Err(Error(FailureKind::NotAttempted)), Ok(envelope("old"))),
            (Err(Error(FailureKind::Failed)), Ok(envelope("old"))),
            (Err(Error(FailureKind::NotFound)), Err(Error(FailureKind::NotFound))),
            (Err(Error(FailureKind::Failed)), Err(Error(FailureKind::Failed))),
        ] {
            let reader = read(&cache, &fetches, "r1");
            settle().await;
            fetches.complete(outcome);
            assert_eq!(reader.await.unwrap().map(|response| response.envelope), expected);
        }
    })
    .await;
}

#[tokio::test]
async fn cancelled_first_reader_neither_cancels_nor_repeats_fetch() {
    in_paused_time(async |cache, fetches| {
        let first = read(&cache, &fetches, "r1");
        settle().await;
        let second = read(&cache, &fetches, "r1");
        settle().await;
        first.abort();
        settle().await;
        fetches.complete(Ok(envelope("one")));
        assert_eq!(second.await.unwrap().unwrap().envelope, envelope("one"));
        assert_eq!(fetches.started.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn panic_in_the_fetch_is_an_error_for_all_readers() {
    in_paused_time(async |cache, fetches| {
        let panicking = cache.get("r1", || async { panic!("a bug") }).await;
        assert_eq!(panicking.map(|_| ()), Err(Error::aborted()));
        filled(&cache, &fetches, "good").await;
    })
    .await;
}

#[tokio::test]
async fn ended_worker_fails_its_flight_and_next_reader_fetches() {
    pause();
    let (cache, fetches) = (cache(CONFIG), FakeFetches::default());
    let gone = LocalSet::new();
    gone.run_until(async {
        drop(read(&cache, &fetches, "r1"));
        settle().await;
    })
    .await;
    LocalSet::new()
        .run_until(async {
            let waiting = read(&cache, &fetches, "r1");
            settle().await;
            drop(gone);
            assert_eq!(waiting.await.unwrap().map(|_| ()), Err(Error::aborted()));
            fetches.pending.borrow_mut().clear();
            filled(&cache, &fetches, "good").await;
        })
        .await;
}

#[tokio::test]
async fn zero_freshness_keeps_the_single_flight() {
    pause();
    let config = CacheConfig { fresh_for: Duration::ZERO, stale_if_error: Duration::ZERO, ..CONFIG };
    let (cache, fetches) = (cache(config), FakeFetches::default());
    LocalSet::new()
        .run_until(async {
            for round in 1..3 {
                let waiting = [read(&cache, &fetches, "r1"), read(&cache, &fetches, "r1")];
                settle().await;
                assert_eq!(fetches.started.get(), round);
                fetches.complete(Ok(envelope("x")));
                for reader in waiting {
                    reader.await.unwrap().unwrap();
                }
            }
        })
        .await;
}

#[tokio::test]
async fn memory_is_bounded_and_the_used_entry_stays() {
    let cache: ResponseCache<Error> = cache(CacheConfig { max_bytes: 100_000, ..CONFIG });
    LocalSet::new()
        .run_until(async {
            for number in 0..10_000 {
                let key = format!("room {number}");
                cache.get(&key, || async { Ok(envelope(&"x".repeat(1000))) }).await.unwrap();
                let hottest = cache.get("hottest", || async { Ok(envelope("hot")) }).await.unwrap();
                assert_eq!(hottest.envelope, envelope("hot"));
            }
            assert!((90_000..=100_000).contains(&cache.usage().1), "{:?}", cache.usage());
            assert!(cache.0.entries.get("hottest").is_some());
            assert!(cache.0.flights().is_empty());
        })
        .await;
}

#[tokio::test]
async fn entry_larger_than_the_cache_is_returned_and_not_stored() {
    let cache: ResponseCache<Error> = cache(CacheConfig { max_bytes: 10_000, ..CONFIG });
    LocalSet::new()
        .run_until(async {
            let get =
                async |text: String| cache.get_within(Duration::ZERO, "r1", || async move { Ok(envelope(&text)) }).await;
            get("small".to_owned()).await.unwrap();
            let large = "x".repeat(20_000);
            assert_eq!(get(large.clone()).await.unwrap().envelope, envelope(&large));
            assert_eq!(cache.usage(), (0, 0), "the older entry is removed too");
        })
        .await;
}

/// One event.
#[derive(Debug, Clone, Copy)]
enum Event {
    Read(usize),
    /// The oldest fetch of a room succeeds.
    Succeed(usize),
    Fail(usize, FailureKind),
    /// The oldest waiting reader is cancelled.
    Cancel,
    /// The time advances by milliseconds.
    Advance(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_usize..3).prop_map(Event::Read),
        3 => (0_usize..3).prop_map(Event::Succeed),
        2 => (0_usize..3, prop_oneof![Just(FailureKind::Failed), Just(FailureKind::NotFound), Just(FailureKind::NotAttempted)]).prop_map(|(room, kind)| Event::Fail(room, kind)),
        1 => Just(Event::Cancel),
        2 => prop_oneof![0_u64..7_000, 0_u64..80_000].prop_map(Event::Advance),
    ]
}

const ROOMS: [&str; 3] = ["r0", "r1", "r2"];

/// Runs the events and checks the invariants after each one.
#[expect(clippy::too_many_lines, reason = "one sequence of events")]
async fn run_events(cache: ResponseCache<Error>, fetches: FakeFetches, events: Vec<Event>) {
    let mut waiting: Vec<(usize, JoinHandle<Result<CachedResponse, Error>>)> = Vec::new();
    let mut number = 0;
    let complete = |room: usize, outcome: Result<Envelope, Error>| {
        let at = fetches.pending.borrow().iter().position(|(key, ..)| key == ROOMS[room]);
        if let Some(at) = at {
            let (_, sender, _) = fetches.pending.borrow_mut().remove(at);
            sender.send(outcome).unwrap();
        }
    };
    let is_pending_for = |room: &str, time: Duration| {
        fetches.pending.borrow().iter().any(|(key, _, started)| key == room && started.elapsed() >= time)
    };
    for event in events {
        let mut failing = false;
        match event {
            Event::Read(room) => waiting.push((room, read(&cache, &fetches, ROOMS[room]))),
            Event::Succeed(room) => {
                number += 1;
                complete(room, Ok(envelope(&format!("{} {number}", ROOMS[room]))));
            }
            Event::Fail(room, kind) => {
                failing = true;
                complete(room, Err(Error(kind)));
            }
            Event::Cancel if !waiting.is_empty() => waiting.remove(0).1.abort(),
            Event::Cancel => {}
            Event::Advance(milliseconds) => advance(Duration::from_millis(milliseconds)).await,
        }
        settle().await;
        for room in ROOMS {
            let open = fetches.pending.borrow().iter().filter(|(key, ..)| key == room).count();
            assert!(open <= 1, "{open} calls in flight for {room}");
        }
        let (done, still): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, reader)| reader.is_finished());
        waiting = still;
        for (room, reader) in done {
            if let Ok(Ok(response)) = reader.await {
                let text = String::from_utf8(response.envelope.bytes().to_vec()).unwrap();
                assert!(text.contains(ROOMS[room]), "{} got {text}", ROOMS[room]);
                let limit =
                    if failing || is_pending_for(ROOMS[room], STALE_AFTER) { FRESH_FOR + STALE_IF_ERROR } else { FRESH_FOR };
                assert!(response.age() < limit, "{:?} old", response.age());
            }
        }
        for (room, _) in &waiting {
            let open = fetches.pending.borrow().iter().any(|(key, ..)| key == ROOMS[*room]);
            assert!(open, "a reader waits for {} without a flight", ROOMS[*room]);
            let has_stale = cache.0.find_stale(ROOMS[*room]).is_some();
            let is_slow = is_pending_for(ROOMS[*room], STALE_AFTER + TIMER_GRANULARITY);
            assert!(!(has_stale && is_slow), "a reader of {} waits too long", ROOMS[*room]);
        }
    }
    // Each reader that still waits gets the result of a fetch.
    while !fetches.pending.borrow().is_empty() {
        fetches.complete(Err(Error(FailureKind::Failed)));
        settle().await;
    }
    assert!(waiting.iter().all(|(_, reader)| reader.is_finished()));
    assert!(cache.0.flights().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn invariants_hold_in_any_interleaving(events in prop::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(LocalSet::new().run_until(run_events(cache(CONFIG), FakeFetches::default(), events)));
    }
}
