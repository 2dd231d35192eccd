//! `check-config`: what the server would run by, and whether what stands behind it can be reached. Changes nothing.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::Error;
use crate::admin_control::{self, AdminControl, Endpoint, EndpointLimits, RootCertificates};
use crate::app;
use crate::cache::redis;
use crate::config::Config;
use crate::db;
use crate::summaries::Store;
use crate::telemetry::escape;

pub(super) fn run(config: Option<&Path>) -> Result<(), Error> {
    let config = Config::load(&super::environment::read()?, config)?;
    app::validate(&config)?;
    // With nobody left to read, the exit code still says what was found.
    super::tell(&effective(&config))?;
    let checks = super::block_on(async { Ok(check(&config).await) })?;
    for what in app::warnings(&config) {
        super::tell(&format!("# warning: {what}\n"))?;
    }
    let mut unreachable = Vec::new();
    for Check { what, setting, outcome } in checks {
        match outcome {
            Ok(state) => super::tell(&format!("# {what}: ok, {state}\n"))?,
            Err(why) => {
                super::tell(&format!("# {what}: FAILED, {}\n", escape::field(&why)))?;
                unreachable.push(format!("{what} ({setting})"));
            }
        }
    }
    if unreachable.is_empty() { Ok(()) } else { Err(Error::Unreachable(unreachable.join(", "))) }
}

/// Every setting, a line each, as an `.env` has it.
fn effective(config: &Config) -> String {
    let mut text = String::new();
    for (name, value, is_changed) in config.redacted() {
        let value = value.as_deref().map(escape::field);
        // Writing to a string can't fail.
        let _ = match (value, is_changed) {
            (Some(value), true) => writeln!(text, "{name}={value}"),
            (Some(value), false) => writeln!(text, "{name}={value} # default"),
            (None, _) => writeln!(text, "# {name} is not set"),
        };
    }
    let paths = [("SSL_CERT_FILE", &config.certificates.file), ("SSL_CERT_DIR", &config.certificates.folders)];
    for (name, path) in paths.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?))) {
        let _ = writeln!(text, "{name}={}", escape::field(path));
    }
    for (name, _) in &config.aws {
        let _ = writeln!(text, "{name}=[redacted]");
    }
    text
}

/// What became of one of them.
struct Check {
    what: &'static str,
    /// Its setting, for those who have to change it.
    setting: &'static str,
    outcome: Result<String, String>,
}

async fn check(config: &Config) -> Vec<Check> {
    let database = db::preflight(config.database.url.expose()).await.map_err(|error| error.to_string());
    let admin_control = match app::admin_control_config(config) {
        Ok(rules) => admin_control(&rules).await,
        Err(error) => Err(error.to_string()),
    };
    let summaries = match app::summaries_config(config) {
        Ok(config) => Store::reach(&config).await,
        Err(error) => Err(error.to_string()),
    };
    let mut checks = vec![
        Check { what: "address", setting: "APP_SERVER__LISTEN", outcome: address(config.server.listen) },
        Check { what: "management address", setting: "APP_MANAGEMENT__LISTEN", outcome: address(config.management.listen) },
        Check { what: "database", setting: "APP_DATABASE__URL", outcome: database.map(str::to_owned) },
        Check { what: "Admin Control", setting: "APP_ADMIN_CONTROL__BASE_URL", outcome: admin_control },
        Check { what: "summary store", setting: "APP_SUMMARIES__URL", outcome: summaries.map(str::to_owned) },
    ];
    if let Some(url) = &config.cache.redis_url {
        let outcome = redis::check(&app::redis_config(url, config)).await.map(|()| "it can be used".to_owned());
        checks.push(Check { what: "shared cache", setting: "APP_CACHE__REDIS_URL", outcome });
    }
    checks
}

/// Whether it answers, and whose word it is that it is the right one.
async fn admin_control(config: &admin_control::Config) -> Result<String, String> {
    // The cheapest of its endpoints, which proves the base URL and the credentials too.
    let client = AdminControl::new(config.clone(), EndpointLimits::new(config));
    let asked = client.get(Endpoint::Configuration, None).await;
    let roots = config.root_certificates.as_ref().map_or("no list", RootCertificates::source);
    match asked {
        Ok(_) if config.base_url.starts_with("https://") => Ok(format!("it answers, with a certificate of {roots}")),
        Ok(_) => Ok("it answers".to_owned()),
        Err(error @ admin_control::Error::Certificate(_)) => Err(format!("{error}; looked for in {roots}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a server could listen there; one that does already may be this very one.
fn address(address: SocketAddr) -> Result<String, String> {
    match TcpListener::bind(address) {
        Ok(_) => Ok("it can be listened on".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok("somebody listens there now".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
