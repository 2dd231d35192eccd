//! Configuration: typed sections, merged from four sources.
//!
//! The sources are defaults, a TOML file, `.env` and the environment; the later one wins.
//!
//! The environment is a parameter, so that tests can set it.

mod error;
mod redact;
mod secret_strength;
mod sections;
mod store;
mod values;
mod warnings;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ::config::{Environment, File, FileFormat};

pub use error::Error;
pub use sections::{
    AdminControlConfig, AuthConfig, CatchUpConfig, CertificatePaths, Config, DatabaseConfig, GuestsConfig, LiveConfig,
    LogConfig, ManagementConfig, RoomsConfig, ServerConfig, SharedCacheConfig, SummariesConfig, UsersConfig,
};
pub use values::{List, LogFormat, Origin, SecretUrl};

use crate::files;

/// Maximum number of workers of actix-server.
const MAX_WORKERS: u16 = 512;

/// Renamed settings: old and new name.
const RENAMED: [(&str, &str); 3] = [
    ("APP_LIVE__EVERY", "APP_LIVE__POLL_INTERVAL"),
    ("APP_CATCH_UP__SHARED", "APP_CACHE__REDIS_URL"),
    ("APP_CATCH_UP__REASON", "APP_CATCH_UP__EXPLAIN_ABSENCE"),
];

impl Config {
    /// Merges the layers and parses every value. An empty variable counts as unset.
    ///
    /// # Errors
    ///
    /// The first setting that is unknown, was renamed, or does not parse.
    pub fn load(environment: &BTreeMap<String, String>, file: Option<&Path>) -> Result<Self, Error> {
        for (old, new) in RENAMED {
            if environment.contains_key(old) {
                return Err(Error::of(old, format!("was renamed to {new}")));
            }
        }
        let mut layers = ::config::Config::builder();
        if let Some(path) = file {
            let failed =
                |error: io::Error| Error::of(&format!("--config {}", path.display()), format!("cannot be read: {error}"));
            let text = files::read_regular(path).map_err(failed)?;
            layers = layers.add_source(File::from_str(&text, FileFormat::Toml));
        }
        let variables = environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let variables = Environment::with_prefix("APP")
            .prefix_separator("_")
            .separator("__")
            // Values stay strings: parsing would turn a secret `00123456` into `123456`.
            .try_parsing(false)
            .ignore_empty(true)
            .source(Some(variables));
        let merged = layers.add_source(variables).build();
        let mut config: Self =
            merged.and_then(::config::Config::try_deserialize).map_err(|error| Error::new(&error, file))?;
        config.summaries.read_variables(environment);
        let path = |name: &str| environment.get(name).filter(|path| !path.is_empty()).cloned();
        config.certificates = CertificatePaths { file: path("SSL_CERT_FILE"), folders: path("SSL_CERT_DIR") };
        Ok(config)
    }

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
        let missing: Vec<String> = required
            .into_iter()
            .filter(|(is_set, ..)| !is_set)
            .map(|(_, name, example)| format!("{name} is required; for example {name}={example}"))
            .collect();
        if !missing.is_empty() {
            return Err(Error(missing));
        }
        if self.server.workers.is_some_and(|workers| workers.get() > MAX_WORKERS) {
            return Err(Error::of("APP_SERVER__WORKERS", format!("must be {MAX_WORKERS} or fewer")));
        }
        self.validate_addresses()?;
        self.summaries.validate()
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
