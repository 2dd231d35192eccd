//! `dev`: everything on one machine, with nothing to set up.

use std::collections::BTreeMap;
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
use crate::config::{self, Config};
use crate::db::Database;
use crate::files;
use crate::request_context::RequestContext;
use crate::secret;

const EMAIL: &str = "demo@example.com";
const NAME: &str = "Demo";
/// Known to everybody, so `dev` listens on loopback alone and keeps its accounts in a database of its own.
const PASSWORD: &str = "demo of a late joiner";
const DATABASE: &str = "sqlite://var/dev/app.db";
const SUMMARIES: &str = "var/dev/summaries";
const ROOM: &str = "testRoom";
/// How many ports are tried, where no setting names one.
const PORTS_TRIED: u16 = 20;

pub(super) fn run(config: Option<&Path>) -> Result<(), Error> {
    let environment = super::environment::read()?;
    super::block_on(async move {
        let sandbox = super::bind_sandbox(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let mut config = Config::load(&over(environment.clone(), sandbox.base_url()), config)?;
        app::validate(&config)?;
        let (usual, management) = (config.server.listen, config.management.listen);
        for (setting, address) in [("APP_SERVER__LISTEN", usual), ("APP_MANAGEMENT__LISTEN", management)] {
            if !address.ip().is_loopback() {
                return Err(config::Error::of(setting, "must be a loopback address with dev").into());
            }
        }
        let is_default = usual == Config::default().server.listen;
        if is_default && !environment.contains_key("APP_SERVER__LISTEN") {
            config.server.listen = free_address(usual, management);
        }
        config.loopback_only = true;
        let dropped = super::start_log(&config, &environment);
        super::log_warnings(&config);
        write_sample_summary()?;
        let token = demo_token(&config).await?;
        let control = sandbox.control_url();
        let server = App::bind(&config, &Clock::system(), dropped).await?;
        actix_rt::spawn(sandbox.run());
        // Before the greeting: who reads it may stop us at once.
        let told = super::told_to_stop()?;
        let note = if config.server.listen == usual {
            String::new()
        } else {
            format!("Port {} is in use, so it took the next free one.\n", usual.port())
        };
        greet((server.addr(), server.management_addr()), &note, &token, &control)?;
        Ok(server.run(told).await?)
    })
}

/// The first address from `usual` on, by its port, that can be listened on; `usual` if there is none among the next ones.
fn free_address(usual: SocketAddr, management: SocketAddr) -> SocketAddr {
    let ports = usual.port()..usual.port().saturating_add(PORTS_TRIED);
    let mut addresses = ports.map(|port| SocketAddr::new(usual.ip(), port)).filter(|address| *address != management);
    addresses.find(|address| TcpListener::bind(address).is_ok()).unwrap_or(usual)
}

/// What `dev` decides by itself, whatever a `.env` beside it was written for.
fn over(mut environment: BTreeMap<String, String>, base_url: String) -> BTreeMap<String, String> {
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
    set("APP_ADMIN_CONTROL__BASE_URL", base_url);
    set("APP_ADMIN_CONTROL__AUTHORIZATION", String::new());
    set("APP_DATABASE__URL", DATABASE.to_owned());
    set("APP_SUMMARIES__URL", format!("file://{SUMMARIES}"));
    set("APP_AUTH__JWT_SECRET", secret::random_secret());
    // A free one, unless somebody wants it: 9090 is where Prometheus itself listens.
    environment.entry("APP_MANAGEMENT__LISTEN".to_owned()).or_insert("127.0.0.1:0".to_owned());
    environment
}

/// A user token of the demo account, got the way a client gets it.
async fn demo_token(config: &Config) -> Result<String, Error> {
    let clock = Clock::system();
    let database = Database::open(config.database.url.expose()).await?;
    match admin::add(&database, (EMAIL, NAME), PASSWORD, 1, &clock).await {
        Ok(()) | Err(accounts::Error::EmailTaken) => {}
        Err(error) => return Err(error.into()),
    }
    let tokens = Arc::new(Tokens::new(app::token_config(config), clock.clone()));
    let accounts = Arc::new(Accounts::new(database, tokens, RevokedSessions::default(), app::session_config(config), clock));
    Ok(accounts.log_in(EMAIL, PASSWORD, &RequestContext::internal()).await?.token)
}

/// The file that the sandbox's summary record points to.
fn write_sample_summary() -> io::Result<()> {
    let (key, text) = crate::sandbox::SAMPLE_SUMMARY;
    let path = Path::new(SUMMARIES).join(key);
    files::create_private_folder(path.parent().unwrap_or(Path::new(SUMMARIES)))?;
    std::fs::write(path, text)
}

fn greet((address, management): (SocketAddr, SocketAddr), note: &str, token: &str, control: &str) -> Result<(), Error> {
    super::tell(&format!(
        "\
The server is on http://{address}, with a sandbox Admin Control behind it.
{note}
Console:       http://{address}/
Demo login:    {EMAIL} / {PASSWORD}
Sample rooms:  {rooms}
Metrics:       http://{management}/metrics
Sandbox:       {control} (to change its answers: docs/QA.md)

Paste this into another terminal:

curl -H 'Authorization: Bearer {token}' http://{address}/callCatchUp/{ROOM}
",
        rooms = crate::sandbox::SAMPLE_ROOMS.join(", "),
    ))
}
