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

/// Maximum number of workers of actix-server.
const MAX_WORKERS: u16 = 512;

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
        if self.server.workers.is_some_and(|workers| workers.get() > MAX_WORKERS) {
            return Err(Error::of("APP_SERVER__WORKERS", format!("must be {MAX_WORKERS} or fewer")));
        }
        if self.auth.token_ttl > self.auth.refresh_ttl {
            return Err(Error::of("APP_AUTH__TOKEN_TTL", "must not be longer than APP_AUTH__REFRESH_TTL"));
        }
        if self.database.pooler == Pooler::Transaction && self.database.url.expose().starts_with("sqlite:") {
            return Err(Error::of("APP_DATABASE__POOLER", "must be none with SQLite"));
        }
        self.validate_addresses()?;
        self.validate_room_access()?;
        self.oidc.validate(&self.auth.issuer)?;
        self.summaries.validate()
    }

    /// Checks that the mode of access to rooms has what it needs.
    fn validate_room_access(&self) -> Result<(), Error> {
        let rooms = &self.rooms;
        let required = [
            (RoomAccessMode::Claim, "claim", self.oidc.rooms_claim.is_some(), "APP_OIDC__ROOMS_CLAIM"),
            (RoomAccessMode::Claim, "claim", self.oidc.issuer.is_some(), "APP_OIDC__ISSUER"),
            (RoomAccessMode::Webhook, "webhook", rooms.webhook_url.is_some(), "APP_ROOMS__WEBHOOK_URL"),
            (RoomAccessMode::Webhook, "webhook", rooms.webhook_secret.is_some(), "APP_ROOMS__WEBHOOK_SECRET"),
        ];
        match required.into_iter().find(|(mode, _, is_set, _)| *mode == rooms.access && !is_set) {
            Some((_, mode, _, name)) => Err(Error::of(name, format!("is required with APP_ROOMS__ACCESS={mode}"))),
            None => Ok(()),
        }
    }

    /// Checks that the two listeners have different addresses.
    fn validate_addresses(&self) -> Result<(), Error> {
        let (main, management) = (self.server.listen, self.management.listen);
        let overlap = main.ip() == management.ip() || main.ip().is_unspecified() || management.ip().is_unspecified();
        if main.port() != 0 && main.port() == management.port() && overlap {
            return Err(Error::of("APP_MANAGEMENT__LISTEN", "must be another address than APP_SERVER__LISTEN"));
        }
        Ok(())
    }
}

/// Returns the variable of a setting: `APP_SERVER__LISTEN` for `server.listen`.
fn variable_of(path: &str) -> String {
    format!("APP_{}", path.replace('.', "__").to_uppercase())
}

#[cfg(test)]
mod tests;
