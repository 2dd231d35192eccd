//! `check-config`: validates and prints the configuration, and checks the external systems. Changes nothing.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::Error;
use crate::admin_control::{self, AdminControl, Endpoint, EndpointLimits, RootCertificates};
use crate::app;
use crate::auth::identity;
use crate::cache::redis;
use crate::config::{self, Config};
use crate::db;
use crate::summaries::Store;
use crate::telemetry::escape;

/// The setting that is wrong, not the database, if a pooler can't be used as it is declared.
const POOLER: &str = "APP_DATABASE__POOLER";

pub(super) fn run(config: Option<&Path>) -> Result<(), Error> {
    let config = Config::load(&super::environment::read()?, config)?;
    app::validate(&config)?;
    super::print(&redacted(&config))?;
    let checks = super::block_on(async { Ok(check(&config).await) })?;
    for what in app::warnings(&config) {
        super::print(&format!("# warning: {what}\n"))?;
    }
    let (mut unreachable, mut invalid) = (Vec::new(), None);
    for (system, setting, outcome) in checks {
        match outcome {
            Ok(state) => super::print(&format!("# {system}: ok, {state}\n"))?,
            Err(reason) => {
                let reason = escape::field(&reason);
                super::print(&format!("# {system}: FAILED, {reason}\n"))?;
                unreachable.push(format!("{system} ({setting})"));
                if setting.ends_with("__LISTEN") {
                    invalid = Some(config::Error::of(setting, format!("can't be listened on: {reason}")));
                } else if setting == POOLER {
                    invalid = Some(config::Error::of(setting, format!("does not fit the database: {reason}")));
                }
            }
        }
    }
    match invalid {
        Some(error) => Err(error.located(&config.sources).into()),
        None if unreachable.is_empty() => Ok(()),
        None => Err(Error::Unreachable(unreachable.join(", "))),
    }
}

/// Returns the settings in the format of `.env`, one a line.
fn redacted(config: &Config) -> String {
    let mut text = String::new();
    let origin = |name: &str| {
        let file = config.sources.value_file(name);
        file.map(|file| format!(" # from {}", escape::field(file)))
    };
    // Writing to a string can't fail, here and below.
    for (name, value, is_changed) in config.redacted() {
        let origin = origin(&name).unwrap_or_else(|| if is_changed { String::new() } else { " # default".to_owned() });
        let _ = match value {
            Some(value) => writeln!(text, "{name}={}{origin}", escape::field(&value)),
            None => writeln!(text, "# {name} is not set"),
        };
    }
    let filter = config.log_filter.as_deref();
    let _ = writeln!(text, "RUST_LOG={}", filter.map_or("info # default".into(), escape::field));
    let paths = [("SSL_CERT_FILE", &config.certificates.file), ("SSL_CERT_DIR", &config.certificates.folders)];
    for (name, path) in paths.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?))) {
        let _ = writeln!(text, "{name}={}", escape::field(path));
    }
    for (name, _) in &config.summaries.variables {
        let _ = writeln!(text, "{name}=[redacted]{}", origin(name).unwrap_or_default());
    }
    text
}

/// An external system, the setting for it, and its state or failure.
type Check = (&'static str, &'static str, Result<String, String>);

async fn check(config: &Config) -> Vec<Check> {
    let database = db::preflight(app::database_config(config)).await;
    let database_setting = match &database {
        Err(db::Error::UndeclaredPooler | db::Error::MigrationBehindPooler | db::Error::StartupParameter(_)) => POOLER,
        _ => "APP_DATABASE__URL",
    };
    let admin_control = match app::admin_control_config(config) {
        Ok(config) => admin_control(&config).await,
        Err(error) => Err(error.to_string()),
    };
    let summaries = match app::summaries_config(config) {
        Ok(config) => Store::check(&config).await,
        Err(error) => Err(error.to_string()),
    };
    let mut checks = vec![
        ("address", "APP_SERVER__LISTEN", address(config.server.listen)),
        ("management address", "APP_MANAGEMENT__LISTEN", address(config.management.listen)),
        ("database", database_setting, database.map(str::to_owned).map_err(|error| error.to_string())),
        ("Admin Control", "APP_ADMIN_CONTROL__BASE_URL", admin_control),
        ("summary store", "APP_SUMMARIES__URL", summaries.map(str::to_owned)),
    ];
    if let Ok(Some(config)) = app::redis_config(config) {
        let outcome = redis::check(&config).await.map(|()| "reachable".to_owned());
        checks.push(("shared cache", "APP_CACHE__REDIS_URL", outcome));
    }
    if let Ok(Some(provider)) = app::identity_config(config) {
        let outcome = match app::identity_client(config) {
            Ok(client) => identity::check(&provider, &client).await,
            Err(error) => Err(error.to_string()),
        };
        checks.push(("identity provider", "APP_OIDC__ISSUER", outcome));
    }
    checks
}

/// Calls Admin Control, and names the certificate authorities that it was verified with.
async fn admin_control(config: &admin_control::Config) -> Result<String, String> {
    // The cheapest endpoint verifies the base URL and the credentials too.
    let client = AdminControl::new(config.clone(), EndpointLimits::new(config));
    let response = client.get(Endpoint::Configuration, None, |_| ()).await;
    let roots = config.root_certificates.as_ref().map_or("no list", RootCertificates::source);
    match response {
        Ok(()) if config.base_url.starts_with("https://") => Ok(format!("reachable, with a certificate of {roots}")),
        Ok(()) => Ok("reachable".to_owned()),
        Err(error @ admin_control::Error::Certificate(_)) => Err(format!("{error}; looked for in {roots}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks that the address can be bound. One in use may be this very server's.
fn address(address: SocketAddr) -> Result<String, String> {
    match TcpListener::bind(address) {
        Ok(_) => Ok("free".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok("in use by a process now".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
