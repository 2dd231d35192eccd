//! `dev`: the server with a sandbox and a demo account, without any settings.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::accounts::{self, Accounts, admin};
use crate::app::{self, App};
use crate::auth::revoked_sessions::RevokedSessions;
use crate::auth::token::Tokens;
use crate::clock::Clock;
use crate::config::{self, Config, DevConfig, RoomAccessMode, SecretUrl};
use crate::db::Database;
use crate::request_context::RequestContext;
use crate::sandbox::{SAMPLE_ROOMS, Sandbox, WEBHOOK_SECRET};
use crate::secret::{self, Secret, files};

const EMAIL: &str = "demo@example.com";
const NAME: &str = "Demo";
/// Publicly known, so `dev` has a database of its own, and listens on loopback unless `--lan` is given.
const PASSWORD: &str = "demo of a late joiner";
const DATABASE: &str = "sqlite://var/dev/app.db";
const SUMMARIES: &str = "var/dev/summaries";
/// The file of the secret that signs tokens. It stays, so that tokens survive a restart.
const JWT_SECRET: &str = "var/dev/jwt-secret";
const ROOM: &str = "testRoom";
/// The settings that `dev` sets itself; their values in `.env` are ignored.
const OVERRIDDEN: [&str; 5] = [
    "APP_ADMIN_CONTROL__BASE_URL",
    "APP_ADMIN_CONTROL__AUTHORIZATION",
    "APP_DATABASE__URL",
    "APP_SUMMARIES__URL",
    "APP_AUTH__JWT_SECRET",
];
const SERVER_LISTEN: &str = "APP_SERVER__LISTEN";
const MANAGEMENT_LISTEN: &str = "APP_MANAGEMENT__LISTEN";
/// The address of the sandbox, if it is free.
const SANDBOX: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// Number of ports that are tried if no setting names one.
const PORTS_TRIED: u16 = 20;

/// The clients that can reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those of this machine.
    Loopback,
    /// Phones, too.
    LocalNetwork,
}

/// The default addresses, as far as they are used. If their port is in use, another one is taken.
struct DefaultAddresses {
    server: Option<SocketAddr>,
    management: Option<SocketAddr>,
}

pub(super) fn run(config: Option<&Path>, reach: Reach) -> Result<(), Error> {
    let mut environment = super::environment::read()?;
    environment.retain(|name, _| !OVERRIDDEN.contains(&name.trim_end_matches("_FILE")));
    super::block_on(async move {
        let free = SocketAddr::new(SANDBOX.ip(), 0);
        let sandbox = super::bind_sandbox(SANDBOX).or_else(|_| super::bind_sandbox(free))?;
        let mut config = Config::load(&environment, config)?;
        override_settings(&mut config, &sandbox)?;
        app::validate(&config)?;
        let default = Config::default();
        let defaults = DefaultAddresses {
            server: Some(config.server.listen).filter(|address| *address == default.server.listen),
            management: Some(config.management.listen).filter(|address| *address == default.management.listen),
        };
        set_reach(&mut config, reach, &defaults)?;
        let dropped_lines = super::start_log(&config);
        write_sample_summary()?;
        let token = demo_token(&config).await?;
        replace_used_ports(&mut config, &defaults);
        let server = App::bind(&config, &Clock::system(), dropped_lines).await?;
        let notes = notes(&server, &sandbox, &defaults, &config);
        let greeting = greeting(&server, &sandbox, &notes, &token);
        actix_rt::spawn(sandbox.run());
        // Before the greeting, after which a script may send a signal.
        let shutdowns = super::shutdown_signals()?;
        super::print(&greeting)?;
        Ok(server.run(shutdowns).await?)
    })
}

/// Sets the values that `dev` does not take from settings.
fn override_settings(config: &mut Config, sandbox: &Sandbox) -> io::Result<()> {
    config.admin_control.base_url = sandbox.base_url();
    config.admin_control.authorization = None;
    config.database.url = SecretUrl::new(DATABASE);
    config.summaries.url = SecretUrl::new(&format!("file://{SUMMARIES}"));
    config.auth.jwt_secret = jwt_secret(Path::new(JWT_SECRET))?;
    if config.rooms.access == RoomAccessMode::Webhook && config.rooms.webhook_url.is_none() {
        config.rooms.webhook_url = Some(SecretUrl::new(&sandbox.webhook_url()));
        config.rooms.webhook_secret = Some(Secret::new(WEBHOOK_SECRET));
    }
    Ok(())
}

/// Reads the secret, or creates it.
fn jwt_secret(path: &Path) -> io::Result<Secret> {
    if let Some(folder) = path.parent() {
        files::create_private_folder(folder)?;
    }
    files::create_private_file(path)?;
    let kept = files::read_regular(path)?;
    if !kept.is_empty() {
        return Ok(Secret::new(kept));
    }
    let created = secret::random_secret();
    std::fs::write(path, &created)?;
    Ok(Secret::new(created))
}

/// Checks the addresses, and sets the one that both listeners accept beside loopback.
fn set_reach(config: &mut Config, reach: Reach, defaults: &DefaultAddresses) -> Result<(), Error> {
    if reach == Reach::LocalNetwork && defaults.server.is_some() {
        config.server.listen.set_ip(Ipv4Addr::UNSPECIFIED.into());
    }
    let (server, management) = (config.server.listen.ip(), config.management.listen.ip());
    if reach == Reach::LocalNetwork && server.is_loopback() {
        return Err(
            config::Error::of(SERVER_LISTEN, "must be an address that phones can reach with --lan, or not set").into()
        );
    }
    if reach == Reach::Loopback && !server.is_loopback() {
        return Err(config::Error::of(SERVER_LISTEN, "must be a loopback address with dev, unless --lan is given").into());
    }
    if !management.is_loopback() {
        return Err(config::Error::of(MANAGEMENT_LISTEN, "must be a loopback address with dev").into());
    }
    let host = if server.is_unspecified() { local_network_address()? } else { server };
    config.dev = Some(DevConfig { host, sample_rooms: SAMPLE_ROOMS.map(str::to_owned).into() });
    Ok(())
}

/// Returns the address of this machine from which packets go to other networks. Sends none.
fn local_network_address() -> Result<IpAddr, config::Error> {
    let address = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9))?;
        socket.local_addr()
    });
    let unknown = "needs an address of this machine that phones can reach, because it was not found";
    address.map(|address| address.ip()).map_err(|error| config::Error::of(SERVER_LISTEN, format!("{unknown}: {error}")))
}

/// Replaces a default port that is in use: by the next free one, or that of the metrics by any.
fn replace_used_ports(config: &mut Config, defaults: &DefaultAddresses) {
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    if let Some(first) = defaults.server.map(|_| config.server.listen) {
        let mut addresses = (first.port()..=first.port() + PORTS_TRIED).map(|port| SocketAddr::new(first.ip(), port));
        config.server.listen = addresses.find(is_free).unwrap_or(first);
    }
    if defaults.management.is_some_and(|address| !is_free(&address)) {
        config.management.listen.set_port(0);
    }
}

/// Creates the demo account, logs in, and returns the token.
async fn demo_token(config: &Config) -> Result<String, Error> {
    let clock = Clock::system();
    let database = Database::open(app::database_config(config)).await?;
    match admin::add(&database, EMAIL, NAME, PASSWORD, 1, &clock).await {
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

/// Says which addresses are not the usual ones, and warns of `--lan`.
fn notes(server: &App, sandbox: &Sandbox, defaults: &DefaultAddresses, config: &Config) -> String {
    let ports = [
        (defaults.server, server.addr(), "using the next free one"),
        (Some(SANDBOX), sandbox.addr(), "the sandbox uses another one"),
        (defaults.management, server.management_addr(), "the metrics use another one"),
    ];
    let ports = ports
        .iter()
        .filter_map(|(default, actual, note)| Some((default.as_ref()?.port(), actual.port(), note)))
        .filter(|(default, actual, _)| default != actual)
        .map(|(default, _, note)| format!("Port {default} is in use; {note}.\n"));
    let host = config.dev.as_ref().map(|dev| dev.host).filter(|host| !host.is_loopback());
    let warning = "Warning: the demo login is public, so that every device in this network can use this server.";
    let lan = host.map(|host| format!("On phones: http://{}/\n{warning}\n", SocketAddr::new(host, server.addr().port())));
    ports.chain(lan).collect()
}

fn greeting(server: &App, sandbox: &Sandbox, notes: &str, token: &str) -> String {
    let mut address = server.addr();
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    format!(
        "\
The server is on http://{address}, with a sandbox Admin Control behind it.
{notes}
Console:       http://{address}/
Demo login:    {EMAIL} / {PASSWORD}
Sample rooms:  {rooms}
Metrics:       http://{management}/metrics
Sandbox:       {control} (to change its responses: docs/QA.md)

Try it in another terminal:

curl -H 'Authorization: Bearer {token}' http://{address}/callCatchUp/{ROOM}
",
        rooms = SAMPLE_ROOMS.join(", "),
        management = server.management_addr(),
        control = sandbox.control_url(),
    )
}
