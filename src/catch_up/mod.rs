//! The catch-up: what was said so far in a room, for those who may enter it. Knows neither HTTP nor Admin Control; where a
//! catch-up comes from is a [`CatchUpSource`].

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use serde_json::value::RawValue;

use crate::caller::Caller;
use crate::room::RoomName;

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
    /// The source failed; it has logged why.
    #[error("the source of catch-ups failed")]
    SourceFailed,
}

/// Where catch-ups come from.
pub trait CatchUpSource {
    /// The catch-up of `room`, any JSON value, byte for byte as its author wrote it.
    fn catch_up<'a>(&'a self, room: &'a RoomName) -> LocalBoxFuture<'a, Result<Box<RawValue>, Error>>;
}

/// Answers with catch-ups.
pub struct CatchUp {
    source: Rc<dyn CatchUpSource>,
}

impl CatchUp {
    /// Takes its catch-ups from `source`.
    #[must_use]
    pub fn new(source: Rc<dyn CatchUpSource>) -> Self {
        Self { source }
    }

    /// The catch-up of `room`. The caller's right to it is decided first, on every request.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn read(&self, caller: &Caller, room: &RoomName) -> Result<Box<RawValue>, Error> {
        if !caller.may_enter(room) {
            return Err(Error::Forbidden);
        }
        self.source.catch_up(room).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Recorded(RefCell<Vec<String>>);

    impl CatchUpSource for Recorded {
        fn catch_up<'a>(&'a self, room: &'a RoomName) -> LocalBoxFuture<'a, Result<Box<RawValue>, Error>> {
            self.0.borrow_mut().push(room.to_string());
            Box::pin(async { Ok(RawValue::from_string("1".into()).unwrap()) })
        }
    }

    #[actix_rt::test]
    async fn a_guest_of_another_room_is_turned_away_before_anything_is_asked() {
        let source = Rc::new(Recorded::default());
        let catch_up = CatchUp::new(source.clone());
        let own = RoomName::parse("r1").unwrap();
        let guest = Caller::Guest { id: "g1".into(), room: own.clone() };
        for other in ["r2", "R1", "r1 ", " r1", "r１", "r1\u{200b}"] {
            let other = RoomName::parse(other).unwrap();
            assert_eq!(catch_up.read(&guest, &other).await.unwrap_err(), Error::Forbidden);
        }
        assert!(catch_up.read(&guest, &own).await.is_ok());
        assert_eq!(*source.0.borrow(), ["r1"]);
    }
}
