//! The command line: one file per command. Scripts rely on the names of commands and options.

mod api_key;
mod backup;
mod check_config;
mod dev;
mod environment;
mod healthcheck;
mod migrate;
mod user;

use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use self::dev::Reach;
use crate::accounts;
use crate::app::{self, App, Shutdown};
use crate::clock::Clock;
use crate::config::{self, Config, LogConfig, LogFormat};
use crate::conformance;
use crate::db::{self, Database};
use crate::routes::openapi;
use crate::sandbox::{Sandbox, Script, WEBHOOK_SECRET};
use crate::telemetry::escape;
use crate::telemetry::logging::{self, DroppedLines};

/// The exit code for invalid settings (`EX_CONFIG` of `sysexits.h`).
const BAD_SETTINGS: u8 = 78;
/// The exit code if settings are valid and an external system can't be used (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// The exit code for invalid arguments, as in clap.
const BAD_USAGE: u8 = 2;

const CREATED_BY_ROOT: &str =
    "running as root: the database's file will be created for root only; a service with another user cannot open it";

/// Threads of the runtime that is shared by all HTTP workers.
const BACKGROUND_THREADS: usize = 2;

/// The application server between ProCONF clients and Admin Control.
#[derive(Parser)]
#[command(name = "proconf-app-server", version)]
struct Cli {
    /// A TOML file with settings; `.env` and the environment override it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server (the default)
    Serve,
    /// Runs the server with a sandbox, a demo account and sample rooms; needs no setting
    Dev {
        /// Listens on all addresses, for phones in the local network
        #[arg(long)]
        lan: bool,
    },
    /// Runs only the sandbox Admin Control
    Sandbox {
        /// Address to listen on
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
    },
    /// Manages accounts, also while the server runs
    User {
        #[command(subcommand)]
        command: user::Command,
    },
    /// Manages the API keys of the team's own backend, also while the server runs
    ApiKey {
        #[command(subcommand)]
        command: api_key::Command,
    },
    /// Validates and prints the settings, and checks all external systems; changes nothing
    CheckConfig,
    /// Checks whether the server on this machine is ready
    Healthcheck,
    /// Brings the database's schema up to date
    Migrate,
    /// Copies the SQLite database to a new file, also while the server runs
    Backup {
        /// The new file, which only this user can read
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Prints the OpenAPI document
    Openapi,
    /// Tests any deployment against the contract. Exit codes: 0 all held, 1 failures, 2 could not run
    Conformance(Box<conformance::Options>),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Config(#[from] config::Error),
    #[error("{0}")]
    Server(#[from] app::Error),
    #[error("can't use the database of APP_DATABASE__URL: {0}")]
    Database(#[from] db::Error),
    #[error("{0}")]
    Backup(#[from] db::BackupError),
    #[error("{0}")]
    Account(#[from] accounts::Error),
    #[error("there is no active API key with this name and id")]
    NoSuchApiKey,
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("can't be reached: {0}")]
    Unreachable(String),
    #[error("not ready: {0}")]
    NotReady(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs the command of this process. Failures go to standard error.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // Clap quotes the arguments as they are.
            let _ = write!(io::stderr(), "{}", escape::lines(&error.render().to_string()));
            return ExitCode::from(BAD_USAGE);
        }
        // `--help` and `--version`.
        Err(error) => error.exit(),
    };
    let config = cli.config.as_deref();
    let is_server = matches!(cli.command, None | Some(Command::Serve));
    let outcome = match cli.command {
        None | Some(Command::Serve) => serve(config),
        Some(Command::Dev { lan }) => dev::run(config, if lan { Reach::LocalNetwork } else { Reach::Loopback }),
        Some(Command::Sandbox { listen }) => sandbox(listen),
        Some(Command::User { command }) => user::run(config, command),
        Some(Command::ApiKey { command }) => api_key::run(config, command),
        Some(Command::CheckConfig) => check_config::run(config),
        Some(Command::Healthcheck) => healthcheck::run(config),
        Some(Command::Migrate) => migrate::run(config),
        Some(Command::Backup { to }) => backup::run(config, &to),
        Some(Command::Openapi) => print(openapi::DOCUMENT),
        Some(Command::Conformance(options)) => return conformance::run(&options),
    };
    logging::flush();
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let format = if is_server { log_format(config) } else { LogFormat::Text };
    let text = error.to_string();
    let lines = match format {
        LogFormat::Text => format!("{}\n", escape::lines(text.trim_end())).into_bytes(),
        LogFormat::Json => logging::format_fatal_error(&text, format),
    };
    // Standard error may be closed.
    let _ = io::stderr().write_all(&lines);
    match error {
        Error::Config(_) => ExitCode::from(BAD_SETTINGS),
        Error::Unreachable(_) => ExitCode::from(UNAVAILABLE),
        _ => ExitCode::FAILURE,
    }
}

/// Returns the format of the log, from whatever can be read of the configuration.
fn log_format(config: Option<&Path>) -> LogFormat {
    let environment = environment::read().unwrap_or_else(|_| environment::of_process().unwrap_or_default());
    config::log_format(&environment, config)
}

/// Writes to standard output, with unsafe characters escaped. A reader that has closed it, as `head` does, is no failure.
fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(escape::lines(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn serve(config: Option<&Path>) -> Result<(), Error> {
    let config = Config::load(&environment::read()?, config)?;
    app::validate(&config)?;
    let dropped_lines = start_log(&config);
    if db::is_created_by_root(config.database.url.expose()) {
        log::warn!("{CREATED_BY_ROOT}");
    }
    block_on(async {
        // A terminal that closes must not end the server. The handler replaces the default action.
        let _hang_up = signal(SignalKind::hangup())?;
        // Before it listens, so that a signal right after the first connection is handled.
        let shutdowns = shutdown_signals()?;
        Ok(App::bind(&config, &Clock::system(), dropped_lines).await?.run(shutdowns).await?)
    })
}

fn sandbox(listen: SocketAddr) -> Result<(), Error> {
    let _ = logging::start(&LogConfig::default(), None, Clock::system());
    block_on(async {
        let sandbox = bind_sandbox(listen)?;
        let mut shutdowns = shutdown_signals()?;
        let (base_url, control, webhook) = (sandbox.base_url(), sandbox.control_url(), sandbox.webhook_url());
        print(&format!(
            "Sandbox Admin Control: APP_ADMIN_CONTROL__BASE_URL={base_url}\n\
             Webhook for access to rooms: APP_ROOMS__WEBHOOK_URL={webhook} APP_ROOMS__WEBHOOK_SECRET={WEBHOOK_SECRET}\n\
             To change its responses: {control} (docs/QA.md)\n"
        ))?;
        tokio::select! {
            ended = sandbox.run() => Ok(ended?),
            _ = shutdowns.recv() => Ok(()),
        }
    })
}

fn bind_sandbox(listen: SocketAddr) -> Result<Sandbox, Error> {
    Sandbox::bind(listen, Script::samples(Clock::system())).map_err(|error| Error::Listen(listen, error))
}

/// Opens the database of the settings, does `work` on it, and prints the result.
fn with_database(
    config: Option<&Path>,
    work: impl AsyncFnOnce(Database, Config) -> Result<String, Error>,
) -> Result<(), Error> {
    let config = Config::load(&environment::read()?, config)?;
    if db::is_created_by_root(config.database.url.expose()) {
        // Standard error may be closed.
        let _ = writeln!(io::stderr(), "warning: {CREATED_BY_ROOT}");
    }
    block_on(async {
        let database = Database::open(app::database_config(&config)).await?;
        print(&work(database, config).await?)
    })
}

/// Starts the log, with the warnings on the configuration first.
fn start_log(config: &Config) -> DroppedLines {
    let dropped_lines = logging::start(&config.log, config.log_filter.as_deref(), Clock::system());
    for what in app::warnings(config) {
        log::warn!(what; "unwise settings");
    }
    dropped_lines
}

/// Runs `work` on the runtime of the database, the summary store and Redis. HTTP workers have runtimes of their own.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(BACKGROUND_THREADS).enable_all().build()?;
    let system = actix_rt::System::with_tokio_rt(move || runtime);
    let outcome = system.block_on(work);
    // To drop the runtime is to wait for blocking work, such as the resolution of a name. The process ends anyway.
    std::mem::forget(system);
    outcome
}

/// Receives SIGTERM as a graceful shutdown, and SIGINT (Ctrl-C) as an immediate one.
fn shutdown_signals() -> io::Result<UnboundedReceiver<Shutdown>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = unbounded_channel();
    actix_rt::spawn(async move {
        loop {
            let shutdown = tokio::select! {
                _ = terminate.recv() => Shutdown::Graceful,
                _ = interrupt.recv() => Shutdown::Immediate,
            };
            if sender.send(shutdown).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
