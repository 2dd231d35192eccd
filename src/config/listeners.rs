//! The sections `[server]` and `[management]`: the two listeners.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::sections::{limit, section};
use super::values::{self, List, Origin};

section! {
    /// `[server]`: the main listener.
    ServerConfig {
        /// Address of the main listener.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        /// Worker threads; one for each core by default.
        workers: Option<NonZeroU16>,
        /// Maximum number of connections over all workers.
        max_connections: NonZeroU32 = limit(25_000),
        /// Maximum number of requests in progress over all workers.
        max_in_flight: NonZeroU32 = limit(5_000),
        /// Time limit of one request, its body included.
        #[serde(deserialize_with = "values::positive_duration", serialize_with = "values::format_duration")]
        request_timeout: Duration = Duration::from_secs(30),
        /// Time after which an idle connection is closed.
        #[serde(deserialize_with = "values::positive_duration", serialize_with = "values::format_duration")]
        keep_alive: Duration = Duration::from_secs(75),
        /// Time of draining after SIGTERM.
        #[serde(deserialize_with = "values::duration", serialize_with = "values::format_duration")]
        drain_for: Duration = Duration::from_secs(5),
        /// Time limit for requests in progress after draining.
        #[serde(deserialize_with = "values::positive_duration", serialize_with = "values::format_duration")]
        shutdown_timeout: Duration = Duration::from_secs(30),
        /// Networks whose `X-Forwarded-For` is trusted.
        trusted_proxies: List<IpNet>,
        /// Origins whose pages may read responses.
        cors_origins: List<Origin>,
        /// The origin at which clients reach this server, for URLs of invitations.
        #[serde(deserialize_with = "values::origin")]
        public_url: Option<Origin>,
    }
}

section! {
    /// `[management]`: the listener for operators.
    ManagementConfig {
        /// Address of the management listener.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9090)),
    }
}
