//! How far what is to be written to one connection has come, and whether it lets others have their turn first. Knows no bytes.
//!
//! Answers that are ready together are sent one after the other, because whoever they go to is awake from the first one on. None
//! waits that might be lost by it (`listener` knows which, and says `patient`), none on a connection that may have to give way,
//! and none in a crowd.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::sweeper::Sweeper;
use super::watch::Watch;

/// What is to be written to one connection.
pub(super) struct Output {
    stage: Stage,
    sweeper: Rc<Sweeper>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// All of it was taken.
    Done,
    /// It lets the others have their turn first.
    Waits,
    /// It may not all have been taken.
    Begun,
}

impl Output {
    pub(super) fn new(sweeper: Rc<Sweeper>) -> Self {
        Self { stage: Stage::Done, sweeper }
    }

    /// Whether all of it was taken.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Ready when it may be written.
    pub(super) fn poll_turn(&mut self, watch: &Watch, context: &Context<'_>) -> Poll<()> {
        if self.is_done() && watch.is_patient() && watch.has_seat() && !self.sweeper.is_crowded() {
            self.becomes(Stage::Waits);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.becomes(Stage::Begun);
        Poll::Ready(())
    }

    /// All of it was taken.
    pub(super) fn has_been_sent(&mut self) {
        self.becomes(Stage::Done);
    }

    fn becomes(&mut self, stage: Stage) {
        if stage == Stage::Waits {
            self.sweeper.has_one_more();
        }
        if self.stage == Stage::Waits {
            self.sweeper.has_one_less();
        }
        self.stage = stage;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.becomes(Stage::Done);
    }
}
