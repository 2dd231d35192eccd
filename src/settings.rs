//! The settings: in layers, checked to the last one, each problem named.
//!
//! Layers, the later one wins: the defaults in `keys::KEYS`, the file given with `--config`, `.env`, the environment. This
//! module reads no environment itself; [`crate::cli`] hands it in, so that a test can hand in another.

mod doubts;
mod keys;
mod shown;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use config::{Config, ConfigError, File, FileFormat, ValueKind};

use crate::admin_control::RootCertificates;
use crate::cache::CacheConfig;
use crate::caller::Roles;
use crate::client_address::TrustedProxies;
use crate::files;
use crate::loopback::AcceptedHosts;
use crate::room::NameComparison;
use crate::secret::Secret;
use crate::{accounts, admin_control, jwt, summaries};
use keys::KEYS;
pub use values::{LogFormat, Problem};
use values::{PossiblyNone, Setting, list};

/// Everything that `serve` runs by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The HTTP server.
    pub server: ServerSettings,
    /// Admin Control, and how it is called.
    pub admin_control: admin_control::Config,
    /// The tokens.
    pub jwt: jwt::Rules,
    /// How names of rooms are compared.
    pub room_names: NameComparison,
    /// The roles that a call may be joined with.
    pub roles: Roles,
    /// The accounts.
    pub accounts: accounts::SessionConfig,
    /// The cache of catch-ups.
    pub catch_up: CacheConfig,
    /// Whether an answer without a catch-up says why.
    pub catch_up_reason: bool,
    /// The Redis by which replicas share the cache, if they do. A secret, because it may hold a password.
    pub redis_url: Option<Secret>,
    /// How often a watched room is asked for its catch-up.
    pub live_every: Duration,
    /// The most streams that one caller may have open at once.
    pub live_max_per_caller: usize,
    /// The summary files.
    pub summaries: summaries::Rules,
    /// The database.
    pub database_url: Secret,
    /// Where those who run the server ask.
    pub management: SocketAddr,
}

/// The HTTP server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The names that both listeners answer to. No setting: `dev` narrows it.
    pub accepted_hosts: AcceptedHosts,
    /// Its worker threads; `None` for one a core.
    pub workers: Option<usize>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// The most connections, over all workers.
    pub max_connections: usize,
    /// The most requests that are worked on at once, over all workers.
    pub max_in_flight: usize,
    /// One whole request, its body included.
    pub request_timeout: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long it goes on serving, no longer ready, before it stops.
    pub drain_for: Duration,
    /// The origins whose pages may read answers.
    pub cors_origins: Vec<String>,
    /// How long requests in flight may take to finish once it stops.
    pub shutdown_timeout: Duration,
}

/// The merged layers, each value known to be well-formed, none yet known to be complete.
#[derive(Clone)]
pub struct Values {
    texts: BTreeMap<&'static str, String>,
    given: Vec<&'static str>,
    /// The `AWS_…` variables, which are not ours but the summary store's.
    aws: Vec<(String, Secret)>,
    /// Where the authorities are whose certificates are accepted: a file, and folders. Not ours either, but every program's.
    authorities: [Option<String>; 2],
}

/// Every problem that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

impl std::error::Error for Problems {}

impl Values {
    /// Merges the layers and checks each value by itself. An empty value is none.
    ///
    /// # Errors
    ///
    /// Every unknown key and every value that does not parse, over all layers.
    pub fn load(environment: &BTreeMap<String, String>, file: Option<&Path>) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        for name in environment.keys().filter(|name| name.starts_with("APP_")) {
            if !KEYS.iter().any(|key| key.name == name) {
                problems.push(Problem::unknown(name));
            }
        }
        let merged = merge(environment, file).map_err(|problem| Problems(vec![problem]))?;
        problems.extend(unknown_in(&merged, file));

        let (mut texts, mut given) = (BTreeMap::new(), Vec::new());
        for key in KEYS {
            let found = text_of(&merged, key.name);
            if found.is_some() {
                given.push(key.name);
            }
            let Some(text) = found.or(key.default.map(str::to_owned)) else {
                continue;
            };
            if !problems.iter().any(|problem| problem.is_of(key.name))
                && let Err(wrong) = (key.check)(&text)
            {
                problems.push(Problem::bad(key.name, wrong, key.example));
            }
            texts.insert(key.name, text);
        }
        let aws = environment.iter().filter(|(name, _)| name.starts_with("AWS_"));
        let aws = aws.map(|(name, value)| (name.clone(), Secret::new(value.clone()))).collect();
        let authorities = [RootCertificates::FILE, RootCertificates::DIRECTORIES].map(|name| environment.get(name).cloned());
        if problems.is_empty() { Ok(Self { texts, given, aws, authorities }) } else { Err(Problems(problems)) }
    }

    /// What `serve` needs.
    ///
    /// # Errors
    ///
    /// Every required key that is missing.
    pub fn settings(&self) -> Result<Settings, Problems> {
        let missing: Vec<Problem> = KEYS
            .iter()
            .filter(|key| key.required && !self.texts.contains_key(key.name))
            .map(|key| Problem::missing(key.name, key.example))
            .collect();
        if missing.is_empty() { self.complete().map_err(|problem| Problems(vec![problem])) } else { Err(Problems(missing)) }
    }

    /// Whether a layer gives a value for the setting called `name`.
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains(&name)
    }

    /// The database, for commands that need nothing else.
    ///
    /// # Errors
    ///
    /// None in practice: it has a default.
    pub fn database_url(&self) -> Result<Secret, Problem> {
        self.get("APP_DATABASE__URL")
    }

    /// Where those who run the server ask.
    ///
    /// # Errors
    ///
    /// None in practice: it has a default.
    pub fn management(&self) -> Result<SocketAddr, Problem> {
        self.get("APP_MANAGEMENT__LISTEN")
    }

    /// The fewest characters of a new password.
    ///
    /// # Errors
    ///
    /// None in practice: it has a default.
    pub fn min_password(&self) -> Result<usize, Problem> {
        self.get("APP_USERS__MIN_PASSWORD")
    }

    /// The format of the log.
    ///
    /// # Errors
    ///
    /// None in practice: it has a default.
    pub fn log_format(&self) -> Result<LogFormat, Problem> {
        self.get("APP_LOG__FORMAT")
    }

    fn complete(&self) -> Result<Settings, Problem> {
        let guests_enabled: bool = self.get("APP_GUESTS__ENABLED")?;
        let guest_ttl = self.get("APP_GUESTS__TOKEN_TTL")?;
        let secret: Secret = self.get("APP_AUTH__JWT_SECRET")?;
        let previous_secrets: Vec<Secret> = self.all("APP_AUTH__PREVIOUS_JWT_SECRETS")?;
        let room_names = self.get("APP_ROOMS__NAMES")?;
        let secrets = std::iter::once(&secret).chain(&previous_secrets).cloned().collect();
        Ok(Settings {
            server: self.server()?,
            admin_control: self.admin_control()?,
            jwt: jwt::Rules {
                secret,
                previous_secrets,
                issuer: self.get("APP_AUTH__ISSUER")?,
                audience: self.get("APP_AUTH__AUDIENCE")?,
                user_ttl: self.get("APP_AUTH__TOKEN_TTL")?,
                guest_ttl: guests_enabled.then_some(guest_ttl),
                room_names,
            },
            room_names,
            roles: Roles { of_users: self.all("APP_USERS__ROLES")?, of_guests: self.all("APP_GUESTS__ROLES")? },
            accounts: accounts::SessionConfig { session_ttl: self.get("APP_AUTH__REFRESH_TTL")?, secrets },
            catch_up: CacheConfig {
                fresh_for: self.get::<PossiblyNone>("APP_CATCH_UP__FRESH_FOR")?.0,
                stale_if_error: self.get::<PossiblyNone>("APP_CATCH_UP__STALE_IF_ERROR")?.0,
                max_bytes: self.get::<usize>("APP_CATCH_UP__MAX_BYTES")? as u64,
            },
            catch_up_reason: self.get("APP_CATCH_UP__REASON")?,
            redis_url: Some(self.text("APP_CATCH_UP__SHARED")).filter(|url| !url.is_empty()).map(Secret::new),
            live_every: self.get("APP_LIVE__EVERY")?,
            live_max_per_caller: self.get("APP_LIVE__MAX_PER_CALLER")?,
            summaries: self.summaries()?,
            database_url: self.database_url()?,
            management: self.management()?,
        })
    }

    fn server(&self) -> Result<ServerSettings, Problem> {
        let workers = self.text("APP_SERVER__WORKERS");
        Ok(ServerSettings {
            listen: self.listen()?,
            accepted_hosts: AcceptedHosts::Any,
            workers: if workers.is_empty() { None } else { Some(self.get("APP_SERVER__WORKERS")?) },
            trusted_proxies: TrustedProxies(self.all("APP_SERVER__TRUSTED_PROXIES")?),
            max_connections: self.get("APP_SERVER__MAX_CONNECTIONS")?,
            max_in_flight: self.get("APP_SERVER__MAX_IN_FLIGHT")?,
            drain_for: self.get::<PossiblyNone>("APP_SERVER__DRAIN_FOR")?.0,
            cors_origins: self
                .all::<values::Origin>("APP_SERVER__CORS_ORIGINS")?
                .into_iter()
                .map(|origin| origin.0)
                .collect(),
            request_timeout: self.get("APP_SERVER__REQUEST_TIMEOUT")?,
            keep_alive: self.get("APP_SERVER__KEEP_ALIVE")?,
            shutdown_timeout: self.get("APP_SERVER__SHUTDOWN_TIMEOUT")?,
        })
    }

    /// Where clients ask, which is not where operators do.
    fn listen(&self) -> Result<SocketAddr, Problem> {
        let (listen, management): (SocketAddr, _) = (self.get("APP_SERVER__LISTEN")?, self.management()?);
        let everywhere = listen.ip().is_unspecified() || management.ip().is_unspecified();
        if listen.port() != 0 && listen.port() == management.port() && (everywhere || listen.ip() == management.ip()) {
            let what = "must be another address than APP_SERVER__LISTEN";
            return Err(Problem::bad("APP_MANAGEMENT__LISTEN", what, "127.0.0.1:9090"));
        }
        Ok(listen)
    }

    fn summaries(&self) -> Result<summaries::Rules, Problem> {
        let url: String = self.get("APP_SUMMARIES__URL")?;
        let has = |name: &str| self.aws.iter().any(|(known, _)| known == name);
        let keys = has("AWS_ACCESS_KEY_ID") && has("AWS_SECRET_ACCESS_KEY");
        let role = has("AWS_WEB_IDENTITY_TOKEN_FILE")
            || has("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
            || has("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        if url.starts_with("s3://") && !keys && !role {
            // Without this, each request would wait for a metadata service that is not there.
            let what = "needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role's AWS_… variables";
            return Err(Problem::bad("APP_SUMMARIES__URL", what, ""));
        }
        for (name, file) in self.aws.iter().filter(|(name, _)| name.ends_with("_TOKEN_FILE") && url.starts_with("s3://")) {
            if let Err(error) = files::require_regular(Path::new(file.expose()))
                && error.kind() != ErrorKind::NotFound
            {
                return Err(Problem::bad(name, format!("can't be read: {error}"), ""));
            }
        }
        let endpoints = self.aws.iter().filter(|(name, _)| name.starts_with("AWS_ENDPOINT"));
        for (name, endpoint) in endpoints.filter(|_| url.starts_with("s3://")) {
            if values::BaseUrl::parse(endpoint.expose()).is_err() {
                return Err(Problem::bad(name, "must be a URL", "https://storage.example.com"));
            }
        }
        let authorities = match &self.authorities {
            [None, None] => Vec::new(),
            _ if !url.starts_with("s3://") => Vec::new(),
            _ => self.root_certificates()?.configured().map(<[u8]>::to_vec).collect(),
        };
        Ok(summaries::Rules { url, aws: self.aws.clone(), authorities })
    }

    /// Loads trusted root certificates.
    fn root_certificates(&self) -> Result<RootCertificates, Problem> {
        let [file, directories] = &self.authorities;
        let regular = file.as_ref().map_or(Ok(()), |file| files::require_regular(Path::new(file)));
        let names = match (file, directories) {
            (None, None) => return Ok(RootCertificates::system()),
            (Some(_), None) => RootCertificates::FILE,
            (None, Some(_)) => RootCertificates::DIRECTORIES,
            (Some(_), Some(_)) => "SSL_CERT_FILE and SSL_CERT_DIR",
        };
        regular
            .map_err(|error| error.to_string())
            .and_then(|()| RootCertificates::load(file.as_deref(), directories.as_deref()))
            .map_err(|error| Problem::bad(names, format!("must lead to certificates in PEM: {error}"), ""))
    }

    fn admin_control(&self) -> Result<admin_control::Config, Problem> {
        let authorization = self.text("APP_ADMIN_CONTROL__AUTHORIZATION");
        let base_url = self.get::<values::BaseUrl>("APP_ADMIN_CONTROL__BASE_URL")?.0;
        let tls = base_url.starts_with("https://");
        Ok(admin_control::Config {
            // Unused certificate paths are not validated.
            root_certificates: tls.then(|| self.root_certificates()).transpose()?,
            base_url,
            timeout: self.get("APP_ADMIN_CONTROL__TIMEOUT")?,
            connect_timeout: self.get("APP_ADMIN_CONTROL__CONNECT_TIMEOUT")?,
            max_body_bytes: self.get("APP_ADMIN_CONTROL__MAX_BODY_BYTES")?,
            max_in_flight: self.get("APP_ADMIN_CONTROL__MAX_IN_FLIGHT")?,
            authorization: if authorization.is_empty() { None } else { Some(Secret::new(authorization)) },
        })
    }

    fn all<T: Setting>(&self, name: &'static str) -> Result<Vec<T>, Problem> {
        list(self.text(name)).map(|element| T::parse(element).map_err(|wrong| Problem::bad(name, wrong, ""))).collect()
    }

    fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }

    /// A value that the table has checked already; parsed again, because a checked text is still a text.
    fn get<T: Setting>(&self, name: &'static str) -> Result<T, Problem> {
        T::parse(self.text(name)).map_err(|wrong| Problem::bad(name, wrong, ""))
    }
}

fn merge(environment: &BTreeMap<String, String>, file: Option<&Path>) -> Result<Config, Problem> {
    // Only names that the table knows, spelled as it spells them: config folds case, and `APP_SERVER` would hide a section.
    let known = environment
        .iter()
        .filter(|(name, _)| KEYS.iter().any(|key| key.name == name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let environment = config::Environment::with_prefix("APP")
        .prefix_separator("_")
        .separator("__")
        // Everything stays a text: a parsed secret `00123456` would become `123456`.
        .try_parsing(false)
        .ignore_empty(true)
        .source(Some(known));
    let mut layers = Config::builder();
    if let Some(path) = file {
        let text = files::read_regular(path).map_err(|error| Problem::of_file(path, &error.to_string()))?;
        layers = layers.add_source(File::from_str(&text, FileFormat::Toml));
    }
    // Of an error the first line alone: the others quote the file, and a secret may stand there.
    let first_line = |error: ConfigError| error.to_string().lines().next().unwrap_or_default().to_owned();
    layers
        .add_source(environment)
        .build()
        .map_err(|error| Problem::of_file(file.unwrap_or(Path::new("")), &first_line(error)))
}

/// What the file has that the table has not.
fn unknown_in(merged: &Config, file: Option<&Path>) -> Vec<Problem> {
    let Ok(sections) = merged.clone().try_deserialize::<BTreeMap<String, config::Value>>() else {
        return vec![Problem::of_file(file.unwrap_or(Path::new("")), "its top level must be sections")];
    };
    let mut unknown = Vec::new();
    for (section, keys) in sections {
        match keys.into_table() {
            Ok(keys) => {
                for (key, value) in keys {
                    let path = format!("{section}.{key}");
                    match KEYS.iter().find(|known| path_of(known.name) == path) {
                        None => unknown.push(Problem::unknown(&format!("{path} (in the file)"))),
                        Some(known) if !is_plain(&value) => {
                            unknown.push(Problem::bad(known.name, "must be one value, or a list of them", known.example));
                        }
                        // Joined by commas it might be a value, and one that nobody wrote.
                        Some(known) if !known.list && matches!(value.kind, ValueKind::Array(_)) => {
                            unknown.push(Problem::bad(known.name, "must be one value, not a list", known.example));
                        }
                        Some(_) => {}
                    }
                }
            }
            Err(_) => unknown.push(Problem::unknown(&format!("{section} (in the file)"))),
        }
    }
    unknown
}

/// Where a file has the setting called `name`.
fn path_of(name: &str) -> String {
    name.trim_start_matches("APP_").to_lowercase().replace("__", ".")
}

/// Whether a value of a file is one that the environment could have, or a list of such.
fn is_plain(value: &config::Value) -> bool {
    match &value.kind {
        ValueKind::Table(_) | ValueKind::Nil => false,
        ValueKind::Array(elements) => {
            elements.iter().all(|element| !matches!(element.kind, ValueKind::Array(_)) && is_plain(element))
        }
        _ => true,
    }
}

/// The text of a value; a list in a file is the same as its elements with commas between.
fn text_of(merged: &Config, name: &str) -> Option<String> {
    let path = path_of(name);
    match merged.get_array(&path) {
        Ok(elements) => {
            let elements: Vec<String> = elements.into_iter().filter_map(|element| element.into_string().ok()).collect();
            Some(elements.join(","))
        }
        Err(_) => merged.get_string(&path).ok(),
    }
    .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
