//! The endpoints of Admin Control, one row each.

use std::time::Duration;

/// How long a response of an endpoint is fresh in the response cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// As configured (`APP_CATCH_UP__FRESH_FOR`).
    Configured,
    /// This long.
    FreshFor(Duration),
    /// Not cached.
    Never,
}

/// Declares [`Endpoint`], one row for each variant: its first path segment and its caching.
macro_rules! endpoints {
    ($($(#[$doc:meta])* $variant:ident: $name:literal, $caching:expr;)+) => {
        /// An endpoint of Admin Control.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Endpoint { $($(#[$doc])* $variant),+ }

        impl Endpoint {
            /// Every endpoint, in the order of their discriminants.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns its first path segment, which is its name in logs and metrics.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Returns how long its responses are fresh.
            pub(crate) fn caching(self) -> Caching {
                match self { $(Self::$variant => $caching),+ }
            }
        }
    };
}

endpoints! {
    /// `GET call-catchup/{room}`: the catch-up of the current call.
    CallCatchUp: "call-catchup", Caching::Configured;
    /// `GET call-summary/{room}`: the record of an ended call's summary. Its `file_url` is a key in the store.
    CallSummary: "call-summary", Caching::FreshFor(Duration::from_secs(5));
    /// `GET sessions-status/{room}`: whether the call is transcribed and recorded.
    SessionsStatus: "sessions-status", Caching::FreshFor(Duration::from_secs(1));
    /// `GET configuration`: the features that are turned on.
    Configuration: "configuration", Caching::FreshFor(Duration::from_secs(30));
    /// `GET meetings`: the ended meetings.
    Meetings: "meetings", Caching::FreshFor(Duration::from_secs(5));
    /// `POST proconf-token`: a token to join a call with.
    ProconfToken: "proconf-token", Caching::Never;
}
