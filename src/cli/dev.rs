//! `dev`: everything on one machine, with nothing to set up.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::accounts::{self, Accounts, Revocations, management};
use crate::asker::Asker;
use crate::background::Background;
use crate::clock::Clock;
use crate::db::Database;
use crate::files;
use crate::jwt::Tokens;
use crate::loopback::AcceptedHosts;
use crate::random;
use crate::server::Server;
use crate::settings::{Problem, Settings, Values};

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
        let values = Values::load(&over(environment.clone(), sandbox.base_url()), config)?;
        let mut settings = values.settings()?;
        let addresses = [("APP_SERVER__LISTEN", settings.server.listen), ("APP_MANAGEMENT__LISTEN", settings.management)];
        if let Some((key, _)) = addresses.iter().find(|(_, address)| !address.ip().is_loopback()) {
            return Err(Problem::only_loopback_in_dev(key).into());
        }
        let usual = settings.server.listen;
        if !values.is_given("APP_SERVER__LISTEN") {
            settings.server.listen = free_address(usual, settings.management);
        }
        settings.server.accepted_hosts = AcceptedHosts::Loopback;
        let dropped = super::start_log(&values, &environment)?;
        super::warn_of_doubts(&settings);
        write_sample_summary()?;
        let token = demo_token(&settings).await?;
        let control = sandbox.control_url();
        let server = Server::bind(&settings, &Clock::system(), dropped).await?;
        actix_rt::spawn(sandbox.run());
        // Before the greeting: who reads it may stop us at once.
        let told = super::told_to_stop()?;
        let note = if settings.server.listen == usual {
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
    set("APP_AUTH__JWT_SECRET", random::secret());
    // A free one, unless somebody wants it: 9090 is where Prometheus itself listens.
    environment.entry("APP_MANAGEMENT__LISTEN".to_owned()).or_insert("127.0.0.1:0".to_owned());
    environment
}

/// A user token of the demo account, got the way a client gets it.
async fn demo_token(settings: &Settings) -> Result<String, Error> {
    let clock = Clock::system();
    let database = Database::open(settings.database_url.expose(), Background::start()?).await?;
    match management::add(&database, (EMAIL, NAME), PASSWORD, 1, &clock).await {
        Ok(()) | Err(accounts::Error::EmailTaken) => {}
        Err(error) => return Err(error.into()),
    }
    let tokens = Arc::new(Tokens::new(settings.jwt.clone(), clock.clone()));
    let accounts = Arc::new(Accounts::new(database, tokens, Revocations::default(), settings.accounts.clone(), clock));
    Ok(accounts.log_in(EMAIL, PASSWORD, &Asker::nobody()).await?.token)
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
