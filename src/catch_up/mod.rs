//! The catch-up: what was said so far in a room, for those who may enter it. Knows neither HTTP nor Admin Control; where a
//! catch-up comes from is a [`CatchUpSource`], and how many calls that costs is the [`Window`]'s business.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use crate::answer::{Answer, Served};
use crate::caller::Caller;
use crate::room::RoomName;
use crate::window::{CallError, Kind, Window};

/// Why there is no catch-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller may not enter the room.
    #[error("the caller may not enter this room")]
    Forbidden,
    /// The source knows no such room.
    #[error("no such room")]
    UnknownRoom,
    /// The source is busy with as many calls as it may have.
    #[error("too many calls at once")]
    Overloaded,
    /// The source failed, and has logged why, but what it said of the room before is not true any more.
    #[error("the room is gone")]
    Gone,
    /// The source failed; it has logged why.
    #[error("the source of catch-ups failed")]
    SourceFailed,
}

impl CallError for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::UnknownRoom | Self::Gone => Kind::Absence,
            Self::Forbidden | Self::Overloaded => Kind::Refusal,
            Self::SourceFailed => Kind::Failure,
        }
    }

    fn given_up() -> Self {
        Self::SourceFailed
    }
}

/// Where catch-ups come from.
pub trait CatchUpSource {
    /// The catch-up of `room`, any JSON value, byte for byte as its author wrote it.
    fn catch_up(&self, room: RoomName) -> LocalBoxFuture<'static, Result<Answer, Error>>;
}

/// Answers with catch-ups.
pub struct CatchUp {
    source: Rc<dyn CatchUpSource>,
    window: Window<Error>,
}

impl CatchUp {
    /// Takes its catch-ups from `source`, by way of `window`, which all workers share.
    #[must_use]
    pub fn new(source: Rc<dyn CatchUpSource>, window: Window<Error>) -> Self {
        Self { source, window }
    }

    /// The catch-up of `room`. The caller's right to it is decided first, on every request, before the window is looked at.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn read(&self, caller: &Caller, room: &RoomName) -> Result<Served, Error> {
        if !caller.may_enter(room) {
            return Err(Error::Forbidden);
        }
        self.window.read(room.as_str(), || self.source.catch_up(room.clone())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Rules;
    use serde_json::value::RawValue;
    use std::cell::RefCell;
    use std::time::Duration;

    #[derive(Default)]
    struct Recorded(RefCell<Vec<String>>);

    impl CatchUpSource for Recorded {
        fn catch_up(&self, room: RoomName) -> LocalBoxFuture<'static, Result<Answer, Error>> {
            self.0.borrow_mut().push(room.to_string());
            Box::pin(async { Ok(Answer::new(&RawValue::from_string("1".into()).unwrap())) })
        }
    }

    #[actix_rt::test]
    async fn a_guest_of_another_room_is_turned_away_before_the_window_is_looked_at() {
        let source = Rc::new(Recorded::default());
        let minute = Duration::from_mins(1);
        let window = Window::new(Rules { fresh_for: minute, stale_if_error: minute, max_bytes: 1 << 20 });
        let catch_up = CatchUp::new(source.clone(), window);
        let own = RoomName::parse("r1").unwrap();
        let guest = Caller::Guest { id: "g1".into(), room: own.clone() };
        for other in ["r2", "R1", "r1 ", " r1", "r１", "r1\u{200b}"] {
            let other = RoomName::parse(other).unwrap();
            assert_eq!(catch_up.read(&guest, &other).await.unwrap_err(), Error::Forbidden);
        }
        assert!(catch_up.read(&guest, &own).await.is_ok());
        assert_eq!(*source.0.borrow(), ["r1"]);
        let other_guest = Caller::Guest { id: "g2".into(), room: RoomName::parse("r2").unwrap() };
        assert_eq!(catch_up.read(&other_guest, &own).await.unwrap_err(), Error::Forbidden, "it is in the window by now");
    }
}
