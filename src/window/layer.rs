//! What a window may read through. Must not know what a window keeps.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::answer::{Answer, Served};

/// What a layer found.
pub struct Found {
    /// The answer.
    pub served: Served,
    /// Whether it is an old one, in place of a failure.
    pub stands_in: bool,
}

impl Found {
    /// What a call gave just now.
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        Self { served: Served { answer, age: Duration::ZERO }, stands_in: false }
    }
}

/// What may stand between a window and the calls: the windows of other replicas.
pub trait Layer<E>: Send + Sync {
    /// The answer for `key`: one of others that is no older than `max_age`, or the one that `call` gives.
    fn read(
        self: Arc<Self>,
        key: String,
        max_age: Duration,
        call: LocalBoxFuture<'static, Result<Answer, E>>,
    ) -> LocalBoxFuture<'static, Result<Found, E>>;
}
