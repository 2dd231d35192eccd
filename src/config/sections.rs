//! The sections of the configuration.
//!
//! A setting is one field, with its default and a type that parses it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::listeners::{ManagementConfig, ServerConfig};
use super::oidc::OidcConfig;
use super::store::SummariesConfig;
use super::values::{self, InvitationPolicy, List, LogFormat, NameSource, Pooler, RoomAccessMode, SecretUrl};
use super::{DevConfig, Sources};
use crate::room::NameComparison;
use crate::secret::Secret;

/// Declares a section: a struct that rejects unknown keys, and its defaults.
macro_rules! section {
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty $(= $default:expr)?,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: section!(@default $($default)?),)* }
            }
        }
    };
}
pub(super) use section;

section! {
    /// `[admin_control]`: calls to Admin Control.
    AdminControlConfig {
        /// Base URL, without a slash at its end. Required.
        #[serde(deserialize_with = "values::base_url")]
        base_url: String,
        /// Time limit of one call, retry and body included.
        #[serde(deserialize_with = "values::positive_duration", serialize_with = "values::format_duration")]
        timeout: Duration = Duration::from_secs(15),
        /// Time limit of opening one connection: name resolution, TCP and TLS.
        #[serde(deserialize_with = "values::positive_duration", serialize_with = "values::format_duration")]
        connect_timeout: Duration = Duration::from_secs(1),
        /// Maximum size of a response body, in bytes.
        max_body_bytes: NonZeroUsize = size(4 << 20),
        /// Maximum number of concurrent calls for each endpoint.
        max_in_flight: NonZeroU32 = limit(512),
        /// Value of the `Authorization` header, if there is one.
        #[serde(deserialize_with = "values::header_value")]
        authorization: Option<Secret>,
    }
}

section! {
    /// `[auth]`: this server's own tokens.
    AuthConfig {
        /// Secret that signs tokens. Required.
        #[serde(deserialize_with = "values::jwt_secret")]
        jwt_secret: Secret,
        /// Secrets that still verify tokens, but sign none.
        previous_jwt_secrets: List<Secret>,
        /// Lifetime of a user's token.
        #[serde(deserialize_with = "values::whole_seconds", serialize_with = "values::format_duration")]
        token_ttl: Duration = Duration::from_hours(1),
        /// Lifetime of a session from its login.
        #[serde(deserialize_with = "values::whole_seconds", serialize_with = "values::format_duration")]
        refresh_ttl: Duration = Duration::from_hours(30 * 24),
        /// Time for which a spent refresh token returns its successor; 60 s at most.
        #[serde(deserialize_with = "values::up_to_a_minute", serialize_with = "values::format_duration")]
        refresh_grace: Duration = Duration::from_secs(30),
        /// The `iss` claim.
        issuer: String = "proconf-app-server".to_owned(),
        /// The `aud` claim.
        audience: String = "proconf-app-server".to_owned(),
        /// Whether users may log in with e-mail and password.
        password_login: bool = true,
    }
}

section! {
    /// `[guests]`: guests, which have no account.
    GuestsConfig {
        /// Whether guests are allowed.
        enabled: bool = true,
        /// Lifetime of a guest's token.
        #[serde(deserialize_with = "values::whole_seconds", serialize_with = "values::format_duration")]
        token_ttl: Duration = Duration::from_hours(4),
        /// Roles that a guest may join a call with.
        roles: List<String> = List::of(["member"]),
        /// Whether a guest needs an invitation.
        invitations: InvitationPolicy = InvitationPolicy::Optional,
    }
}

section! {
    /// `[users]`: accounts.
    UsersConfig {
        /// Minimum length of a new password, in characters.
        #[serde(deserialize_with = "values::min_password")]
        min_password: NonZeroUsize = size(15),
        /// Roles that a user may join a call with.
        roles: List<String> = List::of(["owner", "moderator", "member"]),
        /// The source of users' names in calls.
        display_name: NameSource = NameSource::Client,
    }
}

section! {
    /// `[rooms]`: names of rooms, and access to them.
    RoomsConfig {
        /// How names are compared.
        names: NameComparison = NameComparison::Exact,
        /// Which rooms users may enter.
        access: RoomAccessMode = RoomAccessMode::All,
        /// URL of the webhook that decides.
        #[serde(deserialize_with = "values::https_url")]
        webhook_url: Option<SecretUrl>,
        /// Secret that signs its requests.
        #[serde(deserialize_with = "values::webhook_secret")]
        webhook_secret: Option<Secret>,
    }
}

section! {
    /// `[database]`: accounts and sessions.
    DatabaseConfig {
        /// `sqlite://` with a file's path, or `postgres://`.
        #[serde(deserialize_with = "values::database_url")]
        url: SecretUrl = SecretUrl::new("sqlite://var/app.db"),
        /// Maximum number of connections of this server.
        max_connections: NonZeroU32 = limit(10),
        /// The name that PostgreSQL shows for this server's connections.
        #[serde(deserialize_with = "values::application_name")]
        application_name: String = "proconf-app-server".to_owned(),
        /// The mode of the connection pooler in front of PostgreSQL.
        pooler: Pooler = Pooler::None,
    }
}

section! {
    /// `[catch_up]`: the cache of catch-ups.
    CatchUpConfig {
        /// Time for which a response is fresh. Zero turns all caches off, but not single-flight.
        #[serde(deserialize_with = "values::duration", serialize_with = "values::format_duration")]
        fresh_for: Duration = Duration::from_secs(5),
        /// Time after that in which a stale response replaces a failure or slow call.
        #[serde(deserialize_with = "values::duration", serialize_with = "values::format_duration")]
        stale_if_error: Duration = Duration::from_mins(1),
        /// Time of a call after which a stale response is served. Zero serves it at once.
        #[serde(deserialize_with = "values::duration", serialize_with = "values::format_duration")]
        stale_after: Duration = Duration::from_secs(2),
        /// Memory for catch-ups, in bytes.
        max_bytes: NonZeroUsize = size(64 << 20),
        /// Whether `X-Catch-Up-Reason` explains a missing catch-up.
        explain_absence: bool = true,
    }
}

section! {
    /// `[cache]`: the cache that replicas share.
    SharedCacheConfig {
        /// `redis://` or `rediss://` URL; none for one replica.
        #[serde(deserialize_with = "values::redis_url")]
        redis_url: Option<SecretUrl>,
        /// URLs of the sentinels. With them, the host in `redis_url` is the name of the primary.
        sentinels: List<SecretUrl>,
    }
}

section! {
    /// `[live]`: event streams.
    LiveConfig {
        /// Interval at which Admin Control is polled for a room with subscribers.
        #[serde(deserialize_with = "values::positive_duration", serialize_with = "values::format_duration")]
        poll_interval: Duration = Duration::from_secs(15),
        /// Maximum number of open streams of one principal on this replica.
        max_per_caller: NonZeroU32 = limit(10),
    }
}

section! {
    /// `[log]`: the log.
    LogConfig {
        /// Format of lines.
        format: LogFormat = LogFormat::Text,
        /// Whether each request is logged.
        access: bool = true,
    }
}

section! {
    /// The whole configuration.
    Config {
        /// The main listener.
        server: ServerConfig,
        /// The listener for operators.
        management: ManagementConfig,
        /// Calls to Admin Control.
        admin_control: AdminControlConfig,
        /// This server's own tokens.
        auth: AuthConfig,
        /// The team's own identity provider.
        oidc: OidcConfig,
        /// Guests, which have no account.
        guests: GuestsConfig,
        /// Accounts.
        users: UsersConfig,
        /// Names of rooms, and access to them.
        rooms: RoomsConfig,
        /// Accounts and sessions.
        database: DatabaseConfig,
        /// The cache of catch-ups.
        catch_up: CatchUpConfig,
        /// The cache that replicas share.
        cache: SharedCacheConfig,
        /// Event streams.
        live: LiveConfig,
        /// Summary files.
        summaries: SummariesConfig,
        /// The log.
        log: LogConfig,
        /// `SSL_CERT_FILE` and `SSL_CERT_DIR`, if they are set.
        #[serde(skip)]
        certificates: CertificatePaths,
        /// `RUST_LOG`, if it is set.
        #[serde(skip)]
        log_filter: Option<String>,
        /// Where the settings were set.
        #[serde(skip)]
        sources: Sources,
        /// Set by `dev` only.
        #[serde(skip)]
        dev: Option<DevConfig>,
    }
}

/// Paths of trusted certificate authorities, instead of the machine's own list.
#[derive(Debug, Clone, Default)]
pub struct CertificatePaths {
    /// A file of certificates (`SSL_CERT_FILE`).
    pub file: Option<String>,
    /// Folders of such files, separated by colons (`SSL_CERT_DIR`).
    pub folders: Option<String>,
}

pub(super) const fn limit(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number - 1)
}

const fn size(number: usize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(number - 1)
}
