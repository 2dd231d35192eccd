//! Admin Control as the source of catch-ups and summaries, and what its errors mean there.

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use crate::admin_control::{self, AdminControl};
use crate::answer::Answer;
use crate::asker::Asker;
use crate::catch_up::{self, CatchUpSource};
use crate::pass_through::PassThrough;
use crate::room::RoomName;
use crate::summaries::{self, SummarySource};
use crate::window::{CallError as _, Kind};

/// Catch-ups, and what else is known of a room.
pub(super) struct FromAdminControl {
    pub(super) admin_control: AdminControl,
    pub(super) pass_through: Arc<PassThrough>,
}

impl CatchUpSource for FromAdminControl {
    fn catch_up(&self, room: RoomName, asker: Asker) -> LocalBoxFuture<'static, Result<Answer, catch_up::Error>> {
        let client = self.admin_control.asked_by(&asker);
        Box::pin(async move { Ok(Answer::new(&client.call_catch_up(&room).await?)) })
    }

    fn is_transcribed(&self, room: RoomName, asker: Asker) -> LocalBoxFuture<'_, Result<bool, catch_up::Error>> {
        Box::pin(async move { Ok(self.pass_through.is_transcribed(&room, &asker).await?) })
    }

    fn has_ended(&self, room: RoomName, asker: Asker) -> LocalBoxFuture<'_, Result<bool, catch_up::Error>> {
        Box::pin(async move { Ok(self.pass_through.has_ended(&room, &asker).await?) })
    }
}

impl SummarySource for AdminControl {
    fn call_summary(&self, room: RoomName, asker: Asker) -> LocalBoxFuture<'static, Result<Answer, summaries::Error>> {
        let client = self.asked_by(&asker);
        Box::pin(async move { Ok(Answer::new(&AdminControl::call_summary(&client, &room).await?)) })
    }
}

impl From<admin_control::Error> for summaries::Error {
    fn from(error: admin_control::Error) -> Self {
        match error {
            admin_control::Error::NotFound => Self::NotFound,
            admin_control::Error::TooManyCalls | admin_control::Error::OutOfFiles => Self::Overloaded,
            error if error.kind() == Kind::Absence => Self::Gone,
            _ => Self::SourceFailed,
        }
    }
}

impl From<admin_control::Error> for catch_up::Error {
    fn from(error: admin_control::Error) -> Self {
        match error {
            admin_control::Error::NotFound => Self::UnknownRoom(None),
            admin_control::Error::TooManyCalls | admin_control::Error::OutOfFiles => Self::Overloaded,
            // The call was not made: no other replica's failure.
            admin_control::Error::BreakerOpen | admin_control::Error::NotConnected(_) => Self::NotAsked,
            error if error.kind() == Kind::Absence => Self::Gone,
            _ => Self::SourceFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_not_made_is_told_from_one_that_failed() {
        let text = String::new;
        for error in [admin_control::Error::BreakerOpen, admin_control::Error::NotConnected(text())] {
            assert_eq!(catch_up::Error::from(error), catch_up::Error::NotAsked);
        }
        for error in [admin_control::Error::Connection(text()), admin_control::Error::TimedOut] {
            assert_eq!(catch_up::Error::from(error), catch_up::Error::SourceFailed);
        }
    }
}
