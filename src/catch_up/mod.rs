//! The catch-up: what was said so far in a room, for those who may enter it. Knows neither HTTP nor Admin Control; where a
//! catch-up comes from is a [`CatchUpSource`], and how many calls that costs is the [`Window`]'s business.

pub mod live;
pub mod stream_limit;

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::answer::{Answer, Served};
use crate::asker::Asker;
use crate::caller::Caller;
use crate::room::RoomName;
use crate::window::shared::Shareable;
use crate::window::{CallError, Kind, Window};
use live::{Live, Watching};

/// How long somebody who gets no catch-up may be kept waiting for the reason.
const REASON_WITHIN: Duration = Duration::from_secs(1);

/// Why a room has no catch-up, as far as that is known. For client developers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The call goes on and is not transcribed.
    TranscriptionOff,
    /// The call is over.
    MeetingEnded,
    /// Nothing has been written yet; or nothing is known.
    NoneYet,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TranscriptionOff, Self::MeetingEnded, Self::NoneYet];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TranscriptionOff => "transcription-off",
            Self::MeetingEnded => "meeting-ended",
            Self::NoneYet => "none-yet",
        }
    }
}

/// A catch-up, and why it says nothing, if it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaughtUp {
    /// The catch-up.
    pub served: Served,
    /// Why it is empty; `None` if it is not, or if reasons are not asked for.
    pub reason: Option<Reason>,
}

/// Why there is no catch-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller may not enter the room.
    #[error("the caller may not enter this room")]
    Forbidden,
    /// The source knows no such room, and why that may be.
    #[error("no such room")]
    UnknownRoom(Option<Reason>),
    /// The source is busy with as many calls as it may have.
    #[error("too many calls at once")]
    Overloaded,
    /// The source failed, and has logged why, but what it said of the room before is not true any more.
    #[error("the room is gone")]
    Gone,
    /// The source failed; it has logged why.
    #[error("the source of catch-ups failed")]
    SourceFailed,
    /// The source could not be asked from here; it has logged why.
    #[error("the source of catch-ups was not asked")]
    NotAsked,
}

impl CallError for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::UnknownRoom(_) | Self::Gone => Kind::Absence,
            Self::Forbidden | Self::Overloaded => Kind::Refusal,
            Self::SourceFailed | Self::NotAsked => Kind::Failure,
        }
    }

    fn given_up() -> Self {
        Self::SourceFailed
    }
}

impl Shareable for Error {
    fn name(&self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::UnknownRoom(_) => "unknown room",
            Self::Overloaded => "overloaded",
            Self::Gone => "gone",
            Self::SourceFailed => "failed",
            Self::NotAsked => "not asked",
        }
    }

    fn is_everyday(&self) -> bool {
        matches!(self, Self::UnknownRoom(_))
    }

    fn named(name: &str) -> Option<Self> {
        // Not `Forbidden`: that is never decided elsewhere. Not `Overloaded` and `NotAsked`: that was the other replica, not
        // this one, which may well reach the source.
        [Self::UnknownRoom(None), Self::Gone, Self::SourceFailed].into_iter().find(|error| error.name() == name)
    }
}

/// Where catch-ups come from.
pub trait CatchUpSource {
    /// The catch-up of `room`, any JSON value, byte for byte as its author wrote it.
    fn catch_up(&self, room: RoomName, asker: Asker) -> LocalBoxFuture<'static, Result<Answer, Error>>;

    /// Whether the call in `room` is transcribed; [`Error::UnknownRoom`] if none goes on there.
    fn is_transcribed(&self, room: RoomName, asker: Asker) -> LocalBoxFuture<'_, Result<bool, Error>>;

    /// Whether `room` is among the meetings that ended.
    fn has_ended(&self, room: RoomName, asker: Asker) -> LocalBoxFuture<'_, Result<bool, Error>>;
}

/// Answers with catch-ups.
pub struct CatchUp {
    source: Rc<dyn CatchUpSource>,
    window: Window<Error>,
    live: Live,
    says_why: bool,
}

impl CatchUp {
    /// Takes its catch-ups from `source`, by way of `window`, which all workers share, as they do `live`. `says_why`: whether it looks for the
    /// reason where there is none (`APP_CATCH_UP__REASON`).
    #[must_use]
    pub fn new(source: Rc<dyn CatchUpSource>, window: Window<Error>, live: Live, says_why: bool) -> Self {
        Self { source, window, live, says_why }
    }

    /// Watches the catch-up of `room`. The caller's right to it is decided first.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`].
    pub fn watch(&self, caller: &Caller, room: &RoomName) -> Result<Watching, Error> {
        if !caller.may_enter(room) {
            return Err(Error::Forbidden);
        }
        Ok(self.live.watch(room, &self.source, &self.window))
    }

    /// The catch-up of `room`. The caller's right to it is decided first, on every request, before the window is looked at.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn read(&self, caller: &Caller, room: &RoomName, asker: &Asker) -> Result<CaughtUp, Error> {
        if !caller.may_enter(room) {
            return Err(Error::Forbidden);
        }
        match self.window.read(room.key(), || self.source.catch_up(room.clone(), asker.clone())).await {
            Ok(served) => {
                let reason = if says_nothing(&served.answer) { self.reason(room, asker).await } else { None };
                Ok(CaughtUp { served, reason })
            }
            Err(Error::UnknownRoom(_)) => Err(Error::UnknownRoom(self.reason(room, asker).await)),
            Err(error) => Err(error),
        }
    }

    /// Why `room` has no catch-up. Not to find out is no failure, and takes no longer than [`REASON_WITHIN`].
    async fn reason(&self, room: &RoomName, asker: &Asker) -> Option<Reason> {
        let found = async {
            match self.source.is_transcribed(room.clone(), asker.clone()).await {
                Ok(false) => Reason::TranscriptionOff,
                Err(Error::UnknownRoom(_)) if self.source.has_ended(room.clone(), asker.clone()).await == Ok(true) => {
                    Reason::MeetingEnded
                }
                _ => Reason::NoneYet,
            }
        };
        if self.says_why { Some(tokio::time::timeout(REASON_WITHIN, found).await.unwrap_or(Reason::NoneYet)) } else { None }
    }
}

/// Whether a catch-up is `null` or an empty text. A blank one is a text: its author wrote it.
fn says_nothing(answer: &Answer) -> bool {
    matches!(answer.data(), b"null" | b"\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::NameComparison;
    use crate::window::Rules;
    use serde_json::value::RawValue;
    use std::cell::RefCell;
    use std::time::Duration;

    fn live() -> Live {
        Live::new(Duration::from_secs(15), |_| bytes::Bytes::new())
    }

    #[derive(Default)]
    struct Recorded(RefCell<Vec<String>>);

    impl CatchUpSource for Recorded {
        fn catch_up(&self, room: RoomName, _: Asker) -> LocalBoxFuture<'static, Result<Answer, Error>> {
            self.0.borrow_mut().push(room.to_string());
            Box::pin(async { Ok(Answer::new(&RawValue::from_string("1".into()).unwrap())) })
        }

        fn is_transcribed(&self, _: RoomName, _: Asker) -> LocalBoxFuture<'_, Result<bool, Error>> {
            unreachable!("there is a catch-up")
        }

        fn has_ended(&self, _: RoomName, _: Asker) -> LocalBoxFuture<'_, Result<bool, Error>> {
            unreachable!("there is a catch-up")
        }
    }

    /// A room with nothing in it, and what is known of it; `None` for a question that is never answered.
    struct Silent {
        catch_up: Result<&'static str, Error>,
        transcribed: Option<Result<bool, Error>>,
        ended: Option<Result<bool, Error>>,
    }

    async fn after(answer: Option<Result<bool, Error>>) -> Result<bool, Error> {
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    impl CatchUpSource for Silent {
        fn catch_up(&self, _: RoomName, _: Asker) -> LocalBoxFuture<'static, Result<Answer, Error>> {
            let answer = self.catch_up.map(|json| Answer::new(&RawValue::from_string(json.into()).unwrap()));
            Box::pin(async { answer })
        }

        fn is_transcribed(&self, _: RoomName, _: Asker) -> LocalBoxFuture<'_, Result<bool, Error>> {
            Box::pin(after(self.transcribed))
        }

        fn has_ended(&self, _: RoomName, _: Asker) -> LocalBoxFuture<'_, Result<bool, Error>> {
            Box::pin(after(self.ended))
        }
    }

    async fn reason_of(silent: Silent, says_why: bool) -> Option<Reason> {
        let room = NameComparison::Exact.parse("r1").unwrap();
        let guest = Caller::Guest { id: "g1".into(), room: room.clone() };
        let rules = Rules { fresh_for: Duration::ZERO, stale_if_error: Duration::ZERO, max_bytes: 1 << 20 };
        match CatchUp::new(Rc::new(silent), Window::new(rules), live(), says_why).read(&guest, &room, &Asker::nobody()).await
        {
            Ok(caught_up) => caught_up.reason,
            Err(Error::UnknownRoom(reason)) => reason,
            Err(error) => panic!("{error}"),
        }
    }

    #[actix_rt::test]
    async fn the_reason_is_what_is_known_and_not_knowing_is_no_failure() {
        tokio::time::pause();
        let unknown = Some(Err(Error::UnknownRoom(None)));
        let failed = Some(Err(Error::SourceFailed));
        for (transcribed, ended, reason) in [
            (Some(Ok(false)), Some(Ok(true)), Reason::TranscriptionOff),
            (Some(Ok(true)), Some(Ok(true)), Reason::NoneYet),
            (unknown, Some(Ok(true)), Reason::MeetingEnded),
            (unknown, Some(Ok(false)), Reason::NoneYet),
            (unknown, failed, Reason::NoneYet),
            (unknown, None, Reason::NoneYet),
            (failed, Some(Ok(true)), Reason::NoneYet),
            (None, Some(Ok(true)), Reason::NoneYet),
        ] {
            for catch_up in [Err(Error::UnknownRoom(None)), Ok("null"), Ok("\"\"")] {
                assert_eq!(reason_of(Silent { catch_up, transcribed, ended }, true).await, Some(reason));
                assert_eq!(reason_of(Silent { catch_up, transcribed, ended }, false).await, None);
            }
        }
        for catch_up in [Ok("\"x\""), Ok("\" \""), Ok("0"), Ok("{}"), Ok("\"\\\"\"")] {
            assert_eq!(reason_of(Silent { catch_up, transcribed: Some(Ok(false)), ended: None }, true).await, None);
        }
    }

    #[test]
    fn what_only_one_replica_met_is_no_failure_of_the_others() {
        for error in [Error::Forbidden, Error::Overloaded, Error::NotAsked] {
            assert_eq!(Error::named(error.name()), None);
        }
        for error in [Error::UnknownRoom(None), Error::Gone, Error::SourceFailed] {
            assert_eq!(Error::named(error.name()), Some(error));
        }
    }

    #[actix_rt::test]
    async fn a_guest_of_another_room_is_turned_away_before_the_window_is_looked_at() {
        let source = Rc::new(Recorded::default());
        let minute = Duration::from_mins(1);
        let window = Window::new(Rules { fresh_for: minute, stale_if_error: minute, max_bytes: 1 << 20 });
        let catch_up = CatchUp::new(source.clone(), window, live(), true);
        let own = NameComparison::Exact.parse("r1").unwrap();
        let guest = Caller::Guest { id: "g1".into(), room: own.clone() };
        for other in ["r2", "R1", "r1 ", " r1", "r１", "r1\u{200b}"] {
            let other = NameComparison::Exact.parse(other).unwrap();
            assert_eq!(catch_up.read(&guest, &other, &Asker::nobody()).await.unwrap_err(), Error::Forbidden);
            assert_eq!(catch_up.watch(&guest, &other).err(), Some(Error::Forbidden));
        }
        assert!(catch_up.read(&guest, &own, &Asker::nobody()).await.is_ok());
        assert_eq!(*source.0.borrow(), ["r1"]);
        let other_guest = Caller::Guest { id: "g2".into(), room: NameComparison::Exact.parse("r2").unwrap() };
        assert_eq!(
            catch_up.read(&other_guest, &own, &Asker::nobody()).await.unwrap_err(),
            Error::Forbidden,
            "it is in the window by now"
        );
    }
}
