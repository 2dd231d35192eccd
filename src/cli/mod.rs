//! The commands. Their names are fixed: other people's scripts use them.

mod check_config;
mod dev;
mod environment;
mod healthcheck;
mod user;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::accounts;
use crate::app::{self, App, Shutdown};
use crate::clock::Clock;
use crate::config::{self, Config, LogFormat};
use crate::db::{self, Database};
use crate::routes::openapi;
use crate::sandbox::{Sandbox, Script};
use crate::telemetry::escape;
use crate::telemetry::logging::{self, DroppedLines};

/// The exit code for settings that can't be run by (`EX_CONFIG` of `sysexits.h`).
const BAD_SETTINGS: u8 = 78;
/// The exit code for arguments that are not understood, as clap has it.
const BAD_USAGE: u8 = 2;

/// Threads of the runtime that is shared by all HTTP workers.
const BACKGROUND_THREADS: usize = 2;

/// The application server between ProCONF clients and Admin Control.
#[derive(Parser)]
#[command(name = "proconf-app-server", version)]
struct Cli {
    /// A TOML file with settings; the environment and `.env` win over it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server (also with no command)
    Serve,
    /// Runs the server with a sandbox Admin Control, a demo account and sample rooms; needs no setting
    Dev,
    /// Runs the sandbox Admin Control alone
    Sandbox {
        /// Where it listens
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
    },
    /// Manages accounts; works beside a running server
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Checks the settings, shows them without secrets, and tries to reach what stands behind the server; changes nothing
    CheckConfig,
    /// Asks the server on this machine whether it is ready
    Healthcheck,
    /// Brings the database's schema up to date, and does nothing else
    Migrate,
    /// Prints this API as an OpenAPI document
    Openapi,
}

#[derive(Subcommand)]
enum UserCommand {
    /// Adds an account
    Add {
        /// The e-mail to sign in with
        #[arg(long)]
        email: String,
        /// The name that others see
        #[arg(long)]
        name: String,
        /// Reads the password from standard input; a line break at its end is not part of it
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Lists the accounts: e-mail, name, state and id, with tabs between
    List,
    /// Shuts an account out and ends all its sessions
    Disable {
        /// The account's e-mail
        #[arg(long)]
        email: String,
    },
    /// Lets an account sign in again
    Enable {
        /// The account's e-mail
        #[arg(long)]
        email: String,
    },
    /// Gives an account another password and ends all its sessions
    SetPassword {
        /// The account's e-mail
        #[arg(long)]
        email: String,
        /// Reads the password from standard input; a line break at its end is not part of it
        #[arg(long, required = true)]
        password_stdin: bool,
    },
}

/// Why a command failed. Everything here is for the operator at the terminal.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Config(#[from] config::Error),
    #[error("{0}")]
    Server(#[from] app::Error),
    #[error("can't use the database of APP_DATABASE__URL: {0}")]
    Database(#[from] db::Error),
    #[error("{0}")]
    Account(#[from] accounts::Error),
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("can't be reached: {0}")]
    Unreachable(String),
    #[error("not ready: {0}")]
    NotReady(String),
    #[error("nobody reads standard output")]
    NobodyReads,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs the command that the process was started with; its failure is one line or more on standard error.
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
    let outcome = match cli.command {
        None | Some(Command::Serve) => serve(config),
        Some(Command::Dev) => dev::run(config),
        Some(Command::Sandbox { listen }) => sandbox(listen),
        Some(Command::User { command }) => user::run(config, command),
        Some(Command::CheckConfig) => check_config::run(config),
        Some(Command::Healthcheck) => healthcheck::run(config),
        Some(Command::Migrate) => migrate(config),
        Some(Command::Openapi) => say(openapi::DOCUMENT),
    };
    logging::flush();
    let error = match outcome {
        // Whoever read it has read enough, as `head` does.
        Ok(()) | Err(Error::NobodyReads) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    // There is nobody left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "{}", escape::lines(error.to_string().trim_end()));
    match error {
        Error::Config(_) | Error::Unreachable(_) => ExitCode::from(BAD_SETTINGS),
        _ => ExitCode::FAILURE,
    }
}

/// Writes to standard output, with unsafe characters escaped; without a reader the command ends.
fn say(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(escape::lines(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Error::NobodyReads),
        done => Ok(done?),
    }
}

/// The same, where the command goes on without a reader.
fn tell(text: &str) -> Result<(), Error> {
    match say(text) {
        Err(Error::NobodyReads) => Ok(()),
        done => done,
    }
}

fn serve(config: Option<&Path>) -> Result<(), Error> {
    let environment = environment::read()?;
    let config = Config::load(&environment, config)?;
    app::validate(&config)?;
    let dropped = start_log(&config, &environment);
    log_warnings(&config);
    block_on(serve_until_told(&config, dropped))
}

fn log_warnings(config: &Config) {
    for what in app::warnings(config) {
        log::warn!(what; "unwise settings");
    }
}

async fn serve_until_told(config: &Config, dropped: DroppedLines) -> Result<(), Error> {
    // A terminal that closes is no reason to end. Listened for and never looked at: it has no effect.
    let _hang_up = signal(SignalKind::hangup())?;
    // Before it listens: whoever is let in is answered, also if it is told to stop right then.
    let told = told_to_stop()?;
    let server = App::bind(config, &Clock::system(), dropped).await?;
    Ok(server.run(told).await?)
}

fn sandbox(listen: SocketAddr) -> Result<(), Error> {
    let _ = logging::start(LogFormat::Text, None, Clock::system());
    block_on(async {
        let sandbox = bind_sandbox(listen)?;
        let mut told = told_to_stop()?;
        let (base_url, control) = (sandbox.base_url(), sandbox.control_url());
        tell(&format!(
            "The sandbox Admin Control: APP_ADMIN_CONTROL__BASE_URL={base_url}\n\
             Its answers can be changed at {control} (see docs/QA.md)\n"
        ))?;
        tokio::select! {
            ended = sandbox.run() => Ok(ended?),
            _ = told.recv() => Ok(()),
        }
    })
}

fn bind_sandbox(listen: SocketAddr) -> Result<Sandbox, Error> {
    Sandbox::bind(listen, Script::samples(Clock::system())).map_err(|error| Error::Listen(listen, error))
}

fn migrate(config: Option<&Path>) -> Result<(), Error> {
    let url = Config::load(&environment::read()?, config)?.database.url;
    block_on(async {
        Database::open(url.expose()).await?;
        say("the database's schema is up to date\n")
    })
}

fn start_log(config: &Config, environment: &BTreeMap<String, String>) -> DroppedLines {
    let filter = environment.get("RUST_LOG").map(String::as_str);
    logging::start(config.log.format, filter, Clock::system())
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

/// What the process is told from here on: by SIGTERM, or by SIGINT (Ctrl-C), whose sender does not want to wait.
fn told_to_stop() -> io::Result<UnboundedReceiver<Shutdown>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (tell, told) = unbounded_channel();
    actix_rt::spawn(async move {
        loop {
            let stop = tokio::select! {
                _ = terminate.recv() => Shutdown::Graceful,
                _ = interrupt.recv() => Shutdown::Immediate,
            };
            if tell.send(stop).is_err() {
                return;
            }
        }
    });
    Ok(told)
}
