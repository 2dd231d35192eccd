//! The endpoints of Admin Control, one row each, and what all calls share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::breaker::Breaker;
use super::budget::Budget;
use super::{Error, Rules};

/// How long a response of an endpoint is fresh in the response cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// As the settings say (`APP_CATCH_UP__FRESH_FOR`).
    Configured,
    /// This long.
    FreshFor(Duration),
    /// Not cached.
    Never,
}

/// Declares [`Endpoint`] from one row per endpoint: variant, first segment of the path, caching.
macro_rules! endpoints {
    ($($(#[$doc:meta])* $variant:ident: $name:literal, $caching:expr;)+) => {
        /// An endpoint of Admin Control.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Endpoint { $($(#[$doc])* $variant),+ }

        impl Endpoint {
            /// Every endpoint; each one's place is its number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the first segment of its path, which is its name in logs and metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Returns how long its responses are fresh.
            #[must_use]
            pub fn caching(self) -> Caching {
                match self { $(Self::$variant => $caching),+ }
            }
        }
    };
}

endpoints! {
    /// `GET call-catchup/{room}`: what was said so far in a call that goes on.
    CallCatchUp: "call-catchup", Caching::Configured;
    /// `GET call-summary/{room}`: the record of an ended call's summary; `file_url` is a key in the summary store.
    CallSummary: "call-summary", Caching::FreshFor(Duration::from_secs(5));
    /// `GET sessions-status/{room}`: whether the call is transcribed and recorded.
    SessionsStatus: "sessions-status", Caching::FreshFor(Duration::from_secs(1));
    /// `GET configuration`: the features that are turned on.
    Configuration: "configuration", Caching::FreshFor(Duration::from_secs(30));
    /// `GET meetings`: the meetings that ended.
    Meetings: "meetings", Caching::FreshFor(Duration::from_secs(5));
    /// `POST proconf-token`: a token to join a call with.
    ProconfToken: "proconf-token", Caching::Never;
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
