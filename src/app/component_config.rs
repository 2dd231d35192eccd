//! Maps the configuration to the configurations of components, and validates both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::room_access;
use crate::accounts::SessionConfig;
use crate::accounts::display_name::DisplayNames;
use crate::admin_control::{self, Endpoint, RootCertificates};
use crate::auth::http_client::HttpClient;
use crate::auth::identity::IdentityConfig;
use crate::auth::invitation::InvitationConfig;
use crate::auth::principal::AllowedRoles;
use crate::auth::token;
use crate::cache::redis::{InvalidUrl, RedisAddress};
use crate::cache::{CacheConfig, RedisConfig};
use crate::catch_up::CatchUpConfig;
use crate::config::{CertificatePaths, Config, DatabaseConfig, Error, InvitationPolicy, NameSource, Pooler, is_remote};
use crate::db::Database;
use crate::secret::{Secret, files};
use crate::telemetry::logging;
use crate::{db, summaries};

/// How long a summary text is cached. Texts never change.
const SUMMARY_TEXT_TTL: Duration = Duration::from_hours(1);
/// The memory limit of that cache, in bytes.
const SUMMARY_TEXT_CACHE_BYTES: u64 = 32 << 20;
/// The time limit of one document of the identity provider.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of one document of the identity provider.
const IDENTITY_MAX_BYTES: usize = 256 << 10;

/// Validates the configuration, including the parts that only a component can check.
///
/// # Errors
///
/// All missing settings, or the first invalid one.
pub fn validate(config: &Config) -> Result<(), Error> {
    validate_all(config).map_err(|error| error.located(&config.sources))
}

fn validate_all(config: &Config) -> Result<(), Error> {
    config.validate()?;
    let log_filter = config.log_filter.as_deref().unwrap_or_default();
    logging::check_filter(log_filter).map_err(|problem| Error::of("RUST_LOG", problem))?;
    db::validate_url(config.database.url.expose()).map_err(|problem| Error::of("APP_DATABASE__URL", problem))?;
    redis_address(config)?;
    admin_control(config)?;
    identity(config)?;
    room_access::webhook(config)?;
    summaries(config).map(drop)
}

/// Returns warnings about valid but unwise settings.
#[must_use]
pub fn warnings(config: &Config) -> Vec<&'static str> {
    let mut warnings = config.warnings();
    if db::is_accessible_to_others(config.database.url.expose()) {
        warnings.push("APP_DATABASE__URL is a file that other users can read, with hashes of passwords in it: chmod 600");
    }
    let host = db::host_without_verified_tls(config.database.url.expose());
    if host.is_some_and(|host| is_remote(&host)) {
        warnings.push("APP_DATABASE__URL is another host without sslmode=verify-full: its certificate is not verified, or there is no TLS");
    }
    warnings
}

/// Returns the configuration of the database.
pub(crate) fn database(config: &Config) -> db::ConnectConfig {
    let DatabaseConfig { url, max_connections, application_name, pooler } = &config.database;
    db::ConnectConfig {
        url: Secret::new(url.expose()),
        max_connections: max_connections.get(),
        application_name: application_name.clone(),
        behind_pooler: *pooler == Pooler::Transaction,
    }
}

/// Returns the configuration of the Admin Control client.
///
/// # Errors
///
/// If the certificate authorities can't be read.
pub(crate) fn admin_control(config: &Config) -> Result<admin_control::Config, Error> {
    let calls = &config.admin_control;
    let tls = calls.base_url.starts_with("https://");
    Ok(admin_control::Config {
        base_url: calls.base_url.clone(),
        timeout: calls.timeout,
        connect_timeout: calls.connect_timeout,
        max_body_bytes: calls.max_body_bytes.get(),
        max_in_flight: calls.max_in_flight.get() as usize,
        authorization: calls.authorization.clone(),
        // Unused certificate paths are not validated.
        root_certificates: tls.then(|| root_certificates(config)).transpose()?,
    })
}

/// Returns the configuration of the summary store.
///
/// # Errors
///
/// As [`admin_control()`].
pub(crate) fn summaries(config: &Config) -> Result<summaries::StoreConfig, Error> {
    let url = config.summaries.url.expose().to_owned();
    let named = config.certificates.file.is_some() || config.certificates.folders.is_some();
    let is_bucket = !url.starts_with("file://");
    let authorities = if named && is_bucket { root_certificates(config)?.pem().to_owned() } else { String::new() };
    let proxy = config.summaries.proxy.as_ref().map(|url| Secret::new(url.expose()));
    Ok(summaries::StoreConfig { url, variables: config.summaries.variables.clone(), authorities, proxy })
}

/// Returns where the shared cache is, if there is one.
fn redis_address(config: &Config) -> Result<Option<RedisAddress>, Error> {
    let sentinels = &config.cache.sentinels;
    let Some(url) = &config.cache.redis_url else {
        let problem = "needs APP_CACHE__REDIS_URL, whose host is the name of the primary";
        return if sentinels.is_empty() { Ok(None) } else { Err(Error::of("APP_CACHE__SENTINELS", problem)) };
    };
    let tls = std::iter::once(url).chain(sentinels.iter()).any(|url| url.expose().starts_with("rediss://"));
    let address = RedisAddress {
        url: Secret::new(url.expose()),
        sentinels: sentinels.iter().map(|url| Secret::new(url.expose())).collect(),
        authorities: if tls { root_certificates(config)?.pem().to_owned() } else { String::new() },
    };
    address.check().map_err(|problem| match problem {
        InvalidUrl::Redis => Error::of("APP_CACHE__REDIS_URL", problem),
        InvalidUrl::Sentinel => Error::of("APP_CACHE__SENTINELS", problem),
    })?;
    Ok(Some(address))
}

fn root_certificates(config: &Config) -> Result<RootCertificates, Error> {
    let CertificatePaths { file, folders } = &config.certificates;
    let variable = match (file, folders) {
        (None, None) => return Ok(RootCertificates::system()),
        (Some(_), None) => RootCertificates::FILE,
        (None, Some(_)) => RootCertificates::DIRECTORIES,
        (Some(_), Some(_)) => "SSL_CERT_FILE and SSL_CERT_DIR",
    };
    let regular = file.as_ref().map_or(Ok(()), |file| files::require_regular(Path::new(file)));
    regular
        .map_err(|error| error.to_string())
        .and_then(|()| RootCertificates::load(file.as_deref(), folders.as_deref()))
        .map_err(|error| Error::of(variable, format!("must lead to certificates in PEM: {error}")))
}

/// Returns the configuration of the tokens.
pub(crate) fn tokens(config: &Config) -> token::TokenConfig {
    let auth = &config.auth;
    token::TokenConfig {
        secret: auth.jwt_secret.clone(),
        previous_secrets: auth.previous_jwt_secrets.to_vec(),
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
        user_ttl: auth.token_ttl,
        guest_ttl: config.guests.enabled.then_some(config.guests.token_ttl),
        room_names: config.rooms.names,
    }
}

/// Returns the configuration of the identity provider, if there is one.
///
/// # Errors
///
/// If the certificate authorities can't be read.
pub(crate) fn identity(config: &Config) -> Result<Option<IdentityConfig>, Error> {
    let oidc = &config.oidc;
    let Some(issuer) = &oidc.issuer else { return Ok(None) };
    root_certificates(config)?;
    Ok(Some(IdentityConfig {
        issuer: issuer.as_str().into(),
        audiences: oidc.audience.to_vec(),
        jwks_url: oidc.jwks_url.as_ref().map(|url| url.expose().to_owned()),
        algorithms: oidc.algorithms.to_vec(),
        name_claim: oidc.name_claim.clone(),
        roles_claim: oidc.roles_claim.clone(),
        roles_map: oidc.roles(),
        rooms_claim: oidc.rooms_claim.clone(),
        room_names: config.rooms.names,
        leeway: oidc.leeway,
    }))
}

/// Returns a client for the documents of the identity provider.
///
/// # Errors
///
/// If the certificate authorities can't be read.
pub(crate) fn identity_client(config: &Config) -> Result<HttpClient, Error> {
    new_http_client(config, IDENTITY_TIMEOUT, IDENTITY_MAX_BYTES).map(|new| new())
}

/// Returns what creates clients that trust the configured certificate authorities.
///
/// # Errors
///
/// If these can't be read.
pub(super) fn new_http_client(
    config: &Config,
    timeout: Duration,
    max_body_bytes: usize,
) -> Result<impl Fn() -> HttpClient + Send + Sync + use<>, Error> {
    let roots = root_certificates(config)?;
    let tls = roots.client_config().ok_or_else(|| Error::of(RootCertificates::FILE, "can't be used for TLS"))?;
    Ok(move || HttpClient::new(Arc::clone(&tls), timeout, max_body_bytes))
}

/// Returns the configuration of the sessions.
pub(crate) fn sessions(config: &Config) -> SessionConfig {
    let auth = &config.auth;
    let secrets = std::iter::once(&auth.jwt_secret).chain(auth.previous_jwt_secrets.iter()).cloned().collect();
    SessionConfig { session_ttl: auth.refresh_ttl, refresh_grace: auth.refresh_grace, secrets }
}

pub(super) fn roles(config: &Config) -> AllowedRoles {
    AllowedRoles { users: config.users.roles.to_vec(), guests: config.guests.roles.to_vec() }
}

pub(super) fn invitations(config: &Config) -> InvitationConfig {
    InvitationConfig {
        is_required: config.guests.invitations == InvitationPolicy::Required,
        public_url: config.server.public_url.as_ref().map(|origin| origin.0.clone()).unwrap_or_default(),
    }
}

pub(super) fn display_names(config: &Config, database: &Database) -> DisplayNames {
    match config.users.display_name {
        NameSource::Client => DisplayNames::Client,
        NameSource::Account => DisplayNames::Account(database.clone()),
    }
}

pub(super) fn catch_up(config: &Config) -> CatchUpConfig {
    CatchUpConfig { room_names: config.rooms.names, explain_absence: config.catch_up.explain_absence }
}

pub(super) fn catch_up_cache(config: &Config) -> CacheConfig {
    let catch_up = &config.catch_up;
    CacheConfig {
        fresh_for: catch_up.fresh_for,
        stale_if_error: catch_up.stale_if_error,
        stale_after: catch_up.stale_after,
        max_bytes: catch_up.max_bytes.get() as u64,
    }
}

/// Returns the configuration of the cache of summary texts. It is turned off with the cache of catch-ups.
pub(super) fn summary_text_cache(config: &Config) -> CacheConfig {
    catch_up_cache(config).derive(SUMMARY_TEXT_TTL, SUMMARY_TEXT_CACHE_BYTES)
}

/// Returns the configuration of the shared cache, if there is one. Only catch-ups are shared: others are cheap.
///
/// # Errors
///
/// If a URL has another form, or the certificate authorities can't be read.
pub(crate) fn redis(config: &Config) -> Result<Option<RedisConfig>, Error> {
    Ok(redis_address(config)?.map(|address| RedisConfig {
        address,
        // Replicas that compare names differently must not share entries.
        deployment: format!("{}\n{}\n{:?}", config.admin_control.base_url, config.auth.issuer, config.rooms.names),
        cache: Endpoint::CallCatchUp.name(),
        secrets: sessions(config).secrets,
        local: catch_up_cache(config),
        poll_interval: config.live.poll_interval,
        fetch_timeout: config.admin_control.timeout,
    }))
}
