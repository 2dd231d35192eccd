//! Unit tests of the window. Time is paused and put forward, never waited for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{advance, pause};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Error(Kind);

impl CallError for Error {
    fn kind(&self) -> Kind {
        self.0
    }

    fn given_up() -> Self {
        Self(Kind::Failure)
    }
}

const FRESH_FOR: Duration = Duration::from_secs(5);
const STALE_IF_ERROR: Duration = Duration::from_mins(1);
const ALMOST_FRESH_FOR: Duration = Duration::from_millis(4_999);
const ALMOST_STALE_IF_ERROR: Duration = Duration::from_millis(59_999);
const RULES: Rules = Rules { fresh_for: FRESH_FOR, stale_if_error: STALE_IF_ERROR, max_bytes: 1 << 20 };

fn answer(text: &str) -> Answer {
    Answer::new(&RawValue::from_string(format!("{text:?}")).unwrap())
}

/// A call's key, and the way to end it.
type OpenCall = (String, oneshot::Sender<Result<Answer, Error>>);

/// A source whose calls end when the test says so.
#[derive(Clone, Default)]
struct Source {
    calls: Rc<Cell<usize>>,
    open: Rc<RefCell<Vec<OpenCall>>>,
}

impl Source {
    fn call(&self, key: &str) -> impl Future<Output = Result<Answer, Error>> + use<> {
        self.calls.set(self.calls.get() + 1);
        let (sender, receiver) = oneshot::channel();
        self.open.borrow_mut().push((key.to_owned(), sender));
        async move { receiver.await.expect("the test ends each call") }
    }

    /// Ends the oldest call.
    fn end(&self, outcome: Result<Answer, Error>) {
        let (_, sender) = self.open.borrow_mut().remove(0);
        sender.send(outcome).unwrap();
    }
}

fn ask(window: &Window<Error>, source: &Source, key: &'static str) -> JoinHandle<Result<Served, Error>> {
    let (window, source) = (window.clone(), source.clone());
    tokio::task::spawn_local(async move { window.read(key, || source.call(key)).await })
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn in_paused_time(test: impl AsyncFnOnce(Window<Error>, Source)) {
    pause();
    LocalSet::new().run_until(test(Window::new(RULES), Source::default())).await;
}

/// Fills the window with `text` for `r1`.
async fn filled(window: &Window<Error>, source: &Source, text: &str) {
    let asker = ask(window, source, "r1");
    settle().await;
    source.end(Ok(answer(text)));
    assert_eq!(asker.await.unwrap().unwrap().answer, answer(text));
}

#[tokio::test]
async fn many_askers_cost_one_call_and_rooms_do_not_wait_for_one_another() {
    in_paused_time(async |window, source| {
        let waiting: Vec<_> = (0..100).map(|_| ask(&window, &source, "r1")).collect();
        let other = ask(&window, &source, "r2");
        settle().await;
        assert_eq!(source.calls.get(), 2);
        let (_, second) = source.open.borrow_mut().pop().unwrap();
        second.send(Ok(answer("two"))).unwrap();
        assert_eq!(other.await.unwrap().unwrap().answer, answer("two"));
        source.end(Ok(answer("one")));
        for asker in waiting {
            assert_eq!(asker.await.unwrap().unwrap().answer, answer("one"));
        }
        assert_eq!(source.calls.get(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_fresh_for_its_time_and_then_a_new_one_is_waited_for() {
    in_paused_time(async |window, source| {
        filled(&window, &source, "old").await;
        advance(ALMOST_FRESH_FOR).await;
        let served = ask(&window, &source, "r1").await.unwrap().unwrap();
        assert_eq!((served.answer, served.age), (answer("old"), ALMOST_FRESH_FOR));
        assert_eq!(source.calls.get(), 1);
        advance(Duration::from_millis(1)).await;
        let asker = ask(&window, &source, "r1");
        settle().await;
        assert!(!asker.is_finished(), "it waits for the new one");
        source.end(Ok(answer("new")));
        let served = asker.await.unwrap().unwrap();
        assert_eq!((served.answer, served.age), (answer("new"), Duration::ZERO));
    })
    .await;
}

#[tokio::test]
async fn the_old_answer_stands_in_for_a_failure_for_its_time() {
    in_paused_time(async |window, source| {
        filled(&window, &source, "old").await;
        for wait in [FRESH_FOR, ALMOST_STALE_IF_ERROR] {
            advance(wait).await;
            let waiting: Vec<_> = (0..3).map(|_| ask(&window, &source, "r1")).collect();
            settle().await;
            source.end(Err(Error(Kind::Failure)));
            for asker in waiting {
                assert_eq!(asker.await.unwrap().unwrap().answer, answer("old"));
            }
        }
        advance(Duration::from_millis(1)).await;
        let asker = ask(&window, &source, "r1");
        settle().await;
        source.end(Err(Error(Kind::Failure)));
        assert_eq!(asker.await.unwrap(), Err(Error(Kind::Failure)));
    })
    .await;
}

/// Another replica's answer, of this age, in place of whatever the call gives.
struct Others(Duration);

impl Layer<Error> for Others {
    fn read(
        self: Arc<Self>,
        _: String,
        _: Duration,
        call: LocalBoxFuture<'static, Result<Answer, Error>>,
    ) -> LocalBoxFuture<'static, Result<Found, Error>> {
        Box::pin(async move {
            match call.await {
                Ok(answer) => Ok(Found::new(answer)),
                Err(_) => Ok(Found { served: Served { answer: answer("theirs"), age: self.0 }, stands_in: true }),
            }
        })
    }
}

#[tokio::test]
async fn an_older_answer_of_another_replica_does_not_replace_a_younger_one_when_the_call_fails() {
    pause();
    let test = async |theirs: Duration, text: &str| {
        let (window, source) = (Window::over(RULES, Some(Arc::new(Others(theirs))), Counted::default()), Source::default());
        filled(&window, &source, "ours").await;
        advance(Duration::from_secs(20)).await;
        let asker = ask(&window, &source, "r1");
        settle().await;
        source.end(Err(Error(Kind::Failure)));
        assert_eq!(asker.await.unwrap().unwrap().answer, answer(text), "{theirs:?}");
    };
    LocalSet::new().run_until(test(Duration::from_secs(40), "ours")).await;
    LocalSet::new().run_until(test(Duration::from_secs(10), "theirs")).await;
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_waited_and_forgotten_at_once() {
    in_paused_time(async |window, source| {
        let waiting: Vec<_> = (0..10).map(|_| ask(&window, &source, "r1")).collect();
        settle().await;
        source.end(Err(Error(Kind::Failure)));
        for asker in waiting {
            assert_eq!(asker.await.unwrap(), Err(Error(Kind::Failure)));
        }
        assert_eq!(source.calls.get(), 1);
        filled(&window, &source, "good").await;
    })
    .await;
}

#[tokio::test]
async fn an_absence_drops_the_old_answer_and_a_refusal_does_not() {
    in_paused_time(async |window, source| {
        filled(&window, &source, "old").await;
        advance(FRESH_FOR).await;
        for (outcome, expected) in [
            (Err(Error(Kind::Refusal)), Ok(answer("old"))),
            (Err(Error(Kind::Failure)), Ok(answer("old"))),
            (Err(Error(Kind::Absence)), Err(Error(Kind::Absence))),
            (Err(Error(Kind::Failure)), Err(Error(Kind::Failure))),
        ] {
            let asker = ask(&window, &source, "r1");
            settle().await;
            source.end(outcome);
            assert_eq!(asker.await.unwrap().map(|served| served.answer), expected);
        }
    })
    .await;
}

#[tokio::test]
async fn an_asker_who_leaves_neither_ends_the_call_nor_starts_another() {
    in_paused_time(async |window, source| {
        let first = ask(&window, &source, "r1");
        settle().await;
        let second = ask(&window, &source, "r1");
        settle().await;
        first.abort();
        settle().await;
        source.end(Ok(answer("one")));
        assert_eq!(second.await.unwrap().unwrap().answer, answer("one"));
        assert_eq!(source.calls.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_panic_in_the_call_is_an_error_and_never_a_hang() {
    in_paused_time(async |window, source| {
        let panicking = window.read("r1", || async { panic!("a bug") }).await;
        assert_eq!(panicking.map(|_| ()), Err(Error::given_up()));
        filled(&window, &source, "good").await;
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_gone_is_an_error_for_the_others_and_the_next_asker_calls_again() {
    pause();
    let (window, source) = (Window::new(RULES), Source::default());
    let gone = LocalSet::new();
    gone.run_until(async {
        drop(ask(&window, &source, "r1"));
        settle().await;
    })
    .await;
    LocalSet::new()
        .run_until(async {
            let waiting = ask(&window, &source, "r1");
            settle().await;
            drop(gone);
            assert_eq!(waiting.await.unwrap().map(|_| ()), Err(Error::given_up()));
            source.open.borrow_mut().clear();
            filled(&window, &source, "good").await;
        })
        .await;
}

#[tokio::test]
async fn zero_turns_the_window_off_but_not_the_coalescing() {
    pause();
    let rules = Rules { fresh_for: Duration::ZERO, stale_if_error: Duration::ZERO, ..RULES };
    let (window, source) = (Window::new(rules), Source::default());
    LocalSet::new()
        .run_until(async {
            for round in 1..3 {
                let waiting = [ask(&window, &source, "r1"), ask(&window, &source, "r1")];
                settle().await;
                assert_eq!(source.calls.get(), round);
                source.end(Ok(answer("x")));
                for asker in waiting {
                    asker.await.unwrap().unwrap();
                }
            }
        })
        .await;
}

#[tokio::test]
async fn memory_is_bounded_by_bytes_and_the_least_recently_asked_goes_first() {
    let window: Window<Error> = Window::new(Rules { max_bytes: 100_000, ..RULES });
    LocalSet::new()
        .run_until(async {
            for number in 0..10_000 {
                let key = format!("room {number}");
                window.read(&key, || async { Ok(answer(&"x".repeat(1000))) }).await.unwrap();
                let hottest = window.read("hottest", || async { Ok(answer("hot")) }).await.unwrap();
                assert_eq!(hottest.answer, answer("hot"));
            }
            assert!((90_000..=100_000).contains(&window.held().1), "{:?}", window.held());
            assert!(window.0.kept.get("hottest").is_some());
            assert!(window.0.in_flight().is_empty());
        })
        .await;
}

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    Ask(usize),
    /// The oldest call of a room ends.
    Answer(usize),
    Fail(usize, Kind),
    /// The oldest waiting asker leaves.
    Leave,
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_usize..3).prop_map(Event::Ask),
        3 => (0_usize..3).prop_map(Event::Answer),
        2 => (0_usize..3, prop_oneof![Just(Kind::Failure), Just(Kind::Absence), Just(Kind::Refusal)]).prop_map(|(room, kind)| Event::Fail(room, kind)),
        1 => Just(Event::Leave),
        2 => prop_oneof![0_u64..7_000, 0_u64..80_000].prop_map(Event::Pass),
    ]
}

const ROOMS: [&str; 3] = ["r0", "r1", "r2"];

/// Plays the events and checks what must hold after each one.
#[expect(clippy::too_many_lines, reason = "one story, told once")]
async fn play(window: Window<Error>, source: Source, events: Vec<Event>) {
    let mut waiting: Vec<(usize, JoinHandle<Result<Served, Error>>)> = Vec::new();
    let mut number = 0;
    let end = |room: usize, outcome: Result<Answer, Error>| {
        let at = source.open.borrow().iter().position(|(key, _)| key == ROOMS[room]);
        if let Some(at) = at {
            let (_, sender) = source.open.borrow_mut().remove(at);
            sender.send(outcome).unwrap();
        }
    };
    for event in events {
        let mut failing = false;
        match event {
            Event::Ask(room) => waiting.push((room, ask(&window, &source, ROOMS[room]))),
            Event::Answer(room) => {
                number += 1;
                end(room, Ok(answer(&format!("{} {number}", ROOMS[room]))));
            }
            Event::Fail(room, kind) => {
                failing = true;
                end(room, Err(Error(kind)));
            }
            Event::Leave if !waiting.is_empty() => waiting.remove(0).1.abort(),
            Event::Leave => {}
            Event::Pass(milliseconds) => advance(Duration::from_millis(milliseconds)).await,
        }
        settle().await;
        for room in ROOMS {
            let open = source.open.borrow().iter().filter(|(key, _)| key == room).count();
            assert!(open <= 1, "{open} calls in flight for {room}");
        }
        let (done, still): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, asker)| asker.is_finished());
        waiting = still;
        for (room, asker) in done {
            if let Ok(Ok(served)) = asker.await {
                let text = String::from_utf8(served.answer.envelope().to_vec()).unwrap();
                assert!(text.contains(ROOMS[room]), "{} got {text}", ROOMS[room]);
                let limit = if failing { FRESH_FOR + STALE_IF_ERROR } else { FRESH_FOR };
                assert!(served.age < limit, "{:?} old", served.age);
            }
        }
        for (room, _) in &waiting {
            let open = source.open.borrow().iter().any(|(key, _)| key == ROOMS[*room]);
            assert!(open, "somebody waits for {} and nothing is under way", ROOMS[*room]);
        }
    }
    // Everybody who still waits is waiting for a call, and gets its end.
    while !source.open.borrow().is_empty() {
        source.end(Err(Error(Kind::Failure)));
        settle().await;
    }
    assert!(waiting.iter().all(|(_, asker)| asker.is_finished()));
    assert!(window.0.in_flight().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn any_interleaving_keeps_the_invariants(events in prop::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(LocalSet::new().run_until(play(Window::new(RULES), Source::default(), events)));
    }
}
