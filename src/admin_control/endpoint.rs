//! The endpoints of Admin Control, and what is known of each over all calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::breaker::Breaker;
use super::budget::Budget;
use super::{Error, Rules};

/// An endpoint of Admin Control. Its number is its place in [`Permits`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Endpoint {
    CallCatchup,
    CallSummary,
    SessionsStatus,
    Configuration,
    Meetings,
    ProconfToken,
}

impl Endpoint {
    /// In the order of their numbers.
    const ALL: [Self; 6] = [
        Self::CallCatchup,
        Self::CallSummary,
        Self::SessionsStatus,
        Self::Configuration,
        Self::Meetings,
        Self::ProconfToken,
    ];

    /// The first segment of its path, and its name in logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CallCatchup => "call-catchup",
            Self::CallSummary => "call-summary",
            Self::SessionsStatus => "sessions-status",
            Self::Configuration => "configuration",
            Self::Meetings => "meetings",
            Self::ProconfToken => "proconf-token",
        }
    }
}

/// How many calls may be in flight at once, and which endpoints are not to be called for now; for each endpoint by itself, and
/// over all clones (that is, all workers).
#[derive(Debug, Clone)]
pub struct Permits(pub(super) [(Arc<Semaphore>, Breaker, Budget); Endpoint::ALL.len()]);

impl Permits {
    /// As many for each endpoint as `rules` say.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let permits = || Arc::new(Semaphore::new(rules.max_in_flight));
        Self(std::array::from_fn(|_| (permits(), Breaker::default(), Budget::default())))
    }

    /// Each endpoint's name, and whether its breaker is open.
    pub fn breakers(&self) -> impl Iterator<Item = (&'static str, bool)> {
        Endpoint::ALL.iter().zip(&self.0).map(|(endpoint, (_, breaker, _))| (endpoint.name(), breaker.is_open()))
    }
}

/// Is told of each call how it ended.
pub trait Observer {
    /// A call to the endpoint of this name ended, well or with an error, after so long.
    fn called(&self, endpoint: &'static str, error: Option<&Error>, took: Duration);

    /// A call's connection broke before there was an answer, and it was tried once more, or not because too many are.
    fn broke(&self, endpoint: &'static str, retried: bool);
}
