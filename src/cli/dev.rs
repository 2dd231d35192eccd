//! `dev`: the server with a sandbox and a demo account, without any settings.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::accounts::{self, Accounts, admin};
use crate::app::{self, App};
use crate::auth::revoked_sessions::RevokedSessions;
use crate::auth::token::Tokens;
use crate::clock::Clock;
use crate::config::{self, Config, SecretUrl};
use crate::db::Database;
use crate::files;
use crate::request_context::RequestContext;
use crate::secret::{self, Secret};

const EMAIL: &str = "demo@example.com";
const NAME: &str = "Demo";
/// Publicly known, so `dev` listens on loopback only and has a database of its own.
const PASSWORD: &str = "demo of a late joiner";
const DATABASE: &str = "sqlite://var/dev/app.db";
const SUMMARIES: &str = "var/dev/summaries";
const ROOM: &str = "testRoom";
/// The settings that `dev` sets itself; their values in `.env` are ignored.
const OVERRIDDEN: [&str; 5] = [
    "APP_ADMIN_CONTROL__BASE_URL",
    "APP_ADMIN_CONTROL__AUTHORIZATION",
    "APP_DATABASE__URL",
    "APP_SUMMARIES__URL",
    "APP_AUTH__JWT_SECRET",
];
/// Number of ports that are tried if no setting names one.
const PORTS_TRIED: u16 = 20;

pub(super) fn run(config: Option<&Path>) -> Result<(), Error> {
    let mut environment = super::environment::read()?;
    environment.retain(|name, _| !OVERRIDDEN.contains(&name.trim_end_matches("_FILE")));
    // Port 9090 may be in use by Prometheus.
    environment.entry("APP_MANAGEMENT__LISTEN".to_owned()).or_insert("127.0.0.1:0".to_owned());
    super::block_on(async move {
        let sandbox = super::bind_sandbox(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let mut config = Config::load(&environment, config)?;
        override_settings(&mut config, sandbox.base_url());
        app::validate(&config)?;
        let (default, management) = (config.server.listen, config.management.listen);
        for (setting, address) in [("APP_SERVER__LISTEN", default), ("APP_MANAGEMENT__LISTEN", management)] {
            if !address.ip().is_loopback() {
                return Err(config::Error::of(setting, "must be a loopback address with dev").into());
            }
        }
        let is_default = default == Config::default().server.listen;
        if is_default && !environment.contains_key("APP_SERVER__LISTEN") {
            config.server.listen = free_address(default, management);
        }
        config.loopback_only = true;
        let dropped_lines = super::start_log(&config);
        write_sample_summary()?;
        let token = demo_token(&config).await?;
        let control = sandbox.control_url();
        let server = App::bind(&config, &Clock::system(), dropped_lines).await?;
        actix_rt::spawn(sandbox.run());
        // Before the greeting, after which a script may send a signal.
        let shutdowns = super::shutdown_signals()?;
        let note = if config.server.listen == default {
            String::new()
        } else {
            format!("Port {} is in use; using the next free one.\n", default.port())
        };
        print_greeting((server.addr(), server.management_addr()), &note, &token, &control)?;
        Ok(server.run(shutdowns).await?)
    })
}

/// Returns the first of the next addresses that can be bound, or else `default`.
fn free_address(default: SocketAddr, management: SocketAddr) -> SocketAddr {
    let ports = default.port()..default.port().saturating_add(PORTS_TRIED);
    let mut addresses = ports.map(|port| SocketAddr::new(default.ip(), port)).filter(|address| *address != management);
    addresses.find(|address| TcpListener::bind(address).is_ok()).unwrap_or(default)
}

/// Sets the values that `dev` does not take from settings.
fn override_settings(config: &mut Config, base_url: String) {
    config.admin_control.base_url = base_url;
    config.admin_control.authorization = None;
    config.database.url = SecretUrl::new(DATABASE);
    config.summaries.url = SecretUrl::new(&format!("file://{SUMMARIES}"));
    config.auth.jwt_secret = Secret::new(secret::random_secret());
}

/// Creates the demo account, logs in, and returns the token.
async fn demo_token(config: &Config) -> Result<String, Error> {
    let clock = Clock::system();
    let database = Database::open(app::database_config(config)).await?;
    match admin::add(&database, (EMAIL, NAME), PASSWORD, 1, &clock).await {
        Ok(()) | Err(accounts::Error::EmailTaken) => {}
        Err(error) => return Err(error.into()),
    }
    let tokens = Arc::new(Tokens::new(app::token_config(config), clock.clone()));
    let accounts = Arc::new(Accounts::new(database, tokens, RevokedSessions::default(), app::session_config(config), clock));
    Ok(accounts.log_in(EMAIL, PASSWORD, &RequestContext::internal()).await?.token)
}

/// Writes the file that the sandbox's summary record names.
fn write_sample_summary() -> io::Result<()> {
    let (key, text) = crate::sandbox::SAMPLE_SUMMARY;
    let path = Path::new(SUMMARIES).join(key);
    files::create_private_folder(path.parent().unwrap_or(Path::new(SUMMARIES)))?;
    std::fs::write(path, text)
}

fn print_greeting(
    (address, management): (SocketAddr, SocketAddr),
    note: &str,
    token: &str,
    control: &str,
) -> Result<(), Error> {
    super::print(&format!(
        "\
The server is on http://{address}, with a sandbox Admin Control behind it.
{note}
Console:       http://{address}/
Demo login:    {EMAIL} / {PASSWORD}
Sample rooms:  {rooms}
Metrics:       http://{management}/metrics
Sandbox:       {control} (to change its responses: docs/QA.md)

Try it in another terminal:

curl -H 'Authorization: Bearer {token}' http://{address}/callCatchUp/{ROOM}
",
        rooms = crate::sandbox::SAMPLE_ROOMS.join(", "),
    ))
}
