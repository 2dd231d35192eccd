//! `user`: manages accounts.

use std::io::{self, Read as _};
use std::path::Path;

use clap::Subcommand;

use super::Error;
use crate::accounts::admin;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Database, User};
use crate::secret::files;
use crate::telemetry::escape;

/// Maximum number of bytes that are read of a password. Longer than any valid one, so that none is cut.
const MAX_PASSWORD_INPUT: u64 = 8 * 1024;

/// The subcommands of `user`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Adds an account
    Add {
        /// The account's e-mail
        #[arg(long)]
        email: String,
        /// The display name
        #[arg(long)]
        name: String,
        /// Reads the password from standard input, without a line break at its end
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Lists the accounts: e-mail, name, state and id, separated by tabs
    List,
    /// Disables an account and ends all its sessions
    Disable {
        /// The account's e-mail
        #[arg(long)]
        email: String,
    },
    /// Enables a disabled account
    Enable {
        /// The account's e-mail
        #[arg(long)]
        email: String,
    },
    /// Deletes an account, its sessions and its counts of failed logins, without asking
    Delete {
        /// The account's e-mail
        #[arg(long)]
        email: String,
    },
    /// Sets an account's password and ends all its sessions
    SetPassword {
        /// The account's e-mail
        #[arg(long)]
        email: String,
        /// Reads the password from standard input, without a line break at its end
        #[arg(long, required = true)]
        password_stdin: bool,
    },
}

pub(super) fn run(config: Option<&Path>, command: Command) -> Result<(), Error> {
    let config = Config::load(&super::environment::read()?, config)?;
    let (min_password, clock) = (config.users.min_password.get(), Clock::system());
    let password = match command {
        Command::Add { .. } | Command::SetPassword { .. } => password_from_stdin()?,
        _ => String::new(),
    };
    super::warn_if_root(&config);
    super::block_on(async {
        let database = Database::open(crate::app::database_config(&config)).await?;
        let output = match command {
            Command::Add { email, name, .. } => {
                admin::add(&database, (&email, &name), &password, min_password, &clock).await?;
                "added\n".to_owned()
            }
            Command::List => admin::list(&database).await?.iter().map(line).collect(),
            Command::Disable { email } => {
                admin::disable(&database, &email, &clock).await?;
                "disabled; all its sessions have ended\n".to_owned()
            }
            Command::Enable { email } => {
                admin::enable(&database, &email).await?;
                "enabled\n".to_owned()
            }
            Command::Delete { email } => {
                let deleted = admin::delete(&database, &email, &clock).await?;
                let (sessions, counters) = (deleted.sessions, deleted.failure_counters);
                format!("deleted: the account, its sessions ({sessions}) and its counters of failed logins ({counters})\n")
            }
            Command::SetPassword { email, .. } => {
                admin::set_password(&database, &email, &password, min_password, &clock).await?;
                "the password is set; all sessions have ended\n".to_owned()
            }
        };
        super::print(&output)
    })
}

/// Formats an account for the list.
fn line(user: &User) -> String {
    let state = if user.disabled_at.is_some() { "disabled" } else { "enabled" };
    format!("{}\t{}\t{state}\t{}\n", escape::field(&user.email), escape::field(&user.name), user.id)
}

/// Reads standard input, without one line break at its end.
fn password_from_stdin() -> Result<String, Error> {
    let mut password = String::new();
    io::stdin().take(MAX_PASSWORD_INPUT).read_to_string(&mut password)?;
    Ok(files::without_line_break(&password).to_owned())
}
