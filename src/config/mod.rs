//! Configuration: typed sections, merged from four sources.
//!
//! The sources are defaults, a TOML file, `.env` and the environment; the later one wins.
//!
//! The environment is a parameter, so that tests can set it.

mod error;
mod listeners;
mod oidc;
mod redact;
mod secret_strength;
mod sections;
mod sources;
mod store;
mod values;
mod warnings;

use std::net::IpAddr;

pub use error::Error;
pub use listeners::{ManagementConfig, ServerConfig};
pub use oidc::OidcConfig;
pub use sections::{
    AdminControlConfig, AuthConfig, CatchUpConfig, CertificatePaths, Config, DatabaseConfig, GuestsConfig, LiveConfig,
    LogConfig, RoomsConfig, SharedCacheConfig, UsersConfig,
};
pub use sources::Sources;
pub(crate) use sources::log_format;
pub use store::SummariesConfig;
pub use values::{InvitationPolicy, List, LogFormat, NameSource, Origin, Pooler, RoomAccessMode, SecretUrl};
pub(crate) use warnings::is_remote;

/// What `dev` sets, and no setting can change.
#[derive(Debug, Clone)]
pub struct DevConfig {
    /// The IP address beside loopback that both listeners accept as `Host`, and CORS as an origin.
    pub host: IpAddr,
    /// The rooms of the sandbox, for the console.
    pub sample_rooms: Vec<String>,
}

/// Renamed settings: old and new name.
const RENAMED: [(&str, &str); 3] = [
    ("APP_LIVE__EVERY", "APP_LIVE__POLL_INTERVAL"),
    ("APP_CATCH_UP__SHARED", "APP_CACHE__REDIS_URL"),
    ("APP_CATCH_UP__REASON", "APP_CATCH_UP__EXPLAIN_ABSENCE"),
];

impl Config {
    /// Checks that all required settings are present and consistent.
    ///
    /// # Errors
    ///
    /// All missing settings, or the first inconsistent one.
    pub fn validate(&self) -> Result<(), Error> {
        let required = [
            (!self.admin_control.base_url.is_empty(), "APP_ADMIN_CONTROL__BASE_URL", "https://admin.example.com/api"),
            (!self.auth.jwt_secret.expose().is_empty(), "APP_AUTH__JWT_SECRET", "\"$(openssl rand -base64 48)\""),
        ];
        let missing = required.into_iter().filter(|(is_set, ..)| !is_set);
        let missing =
            missing.map(|(_, name, example)| (name.to_owned(), format!("is required; for example {name}={example}")));
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() {
            return Err(Error(missing));
        }
        let (rooms, main, management) = (&self.rooms, self.server.listen, self.management.listen);
        let overlap = main.ip() == management.ip() || main.ip().is_unspecified() || management.ip().is_unspecified();
        let is_same_address = main.port() != 0 && main.port() == management.port() && overlap;
        let is_sqlite = self.database.url.expose().starts_with("sqlite:");
        let (by_claim, by_webhook) = (rooms.access == RoomAccessMode::Claim, rooms.access == RoomAccessMode::Webhook);
        let (with_claim, with_webhook) =
            ("is required with APP_ROOMS__ACCESS=claim", "is required with APP_ROOMS__ACCESS=webhook");
        Error::first([
            // The maximum of actix-server.
            (self.server.workers.is_some_and(|workers| workers.get() > 512), "APP_SERVER__WORKERS", "must be 512 or fewer"),
            (
                self.auth.token_ttl > self.auth.refresh_ttl,
                "APP_AUTH__TOKEN_TTL",
                "must not be longer than APP_AUTH__REFRESH_TTL",
            ),
            (is_sqlite && self.database.pooler == Pooler::Transaction, "APP_DATABASE__POOLER", "must be none with SQLite"),
            (is_same_address, "APP_MANAGEMENT__LISTEN", "must be another address than APP_SERVER__LISTEN"),
            (by_claim && self.oidc.rooms_claim.is_none(), "APP_OIDC__ROOMS_CLAIM", with_claim),
            (by_claim && self.oidc.issuer.is_none(), "APP_OIDC__ISSUER", with_claim),
            (by_webhook && rooms.webhook_url.is_none(), "APP_ROOMS__WEBHOOK_URL", with_webhook),
            (by_webhook && rooms.webhook_secret.is_none(), "APP_ROOMS__WEBHOOK_SECRET", with_webhook),
        ])?;
        self.oidc.validate(&self.auth.issuer)?;
        self.summaries.validate()
    }
}

/// Returns the variable of a setting: `APP_SERVER__LISTEN` for `server.listen`.
fn variable_of(path: &str) -> String {
    format!("APP_{}", path.replace('.', "__").to_uppercase())
}

#[cfg(test)]
mod tests;
