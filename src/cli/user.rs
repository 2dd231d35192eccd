//! `user`: manages accounts.

use std::io::{self, Read as _};
use std::path::Path;

use clap::{Args, Subcommand};

use super::Error;
use crate::accounts::admin;
use crate::clock::Clock;
use crate::db::User;
use crate::secret::files;
use crate::telemetry::escape;

/// Maximum number of bytes that are read of a password. Longer than any valid one, so that none is cut.
const MAX_PASSWORD_INPUT: u64 = 8 * 1024;

/// The subcommands of `user`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Adds an account
    Add {
        #[command(flatten)]
        account: Account,
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
    Disable(Account),
    /// Enables a disabled account
    Enable(Account),
    /// Deletes an account, its sessions and its counts of failed logins, without asking
    Delete(Account),
    /// Sets an account's password and ends all its sessions
    SetPassword {
        #[command(flatten)]
        account: Account,
        /// Reads the password from standard input, without a line break at its end
        #[arg(long, required = true)]
        password_stdin: bool,
    },
}

/// The account that a subcommand is about.
#[derive(Args)]
pub(super) struct Account {
    /// The account's e-mail
    #[arg(long)]
    email: String,
}

pub(super) fn run(config: Option<&Path>, command: Command) -> Result<(), Error> {
    super::with_database(config, async |database, config| {
        let (min_password, clock) = (config.users.min_password.get(), Clock::system());
        Ok(match command {
            Command::Add { account, name, .. } => {
                admin::add(&database, &account.email, &name, &password_from_stdin()?, min_password, &clock).await?;
                "added\n".to_owned()
            }
            Command::List => database.users().await?.iter().map(line).collect(),
            Command::Disable(Account { email }) => {
                admin::disable(&database, &email, &clock).await?;
                "disabled; all its sessions have ended\n".to_owned()
            }
            Command::Enable(Account { email }) => {
                admin::enable(&database, &email).await?;
                "enabled\n".to_owned()
            }
            Command::Delete(Account { email }) => {
                let (sessions, counters) = admin::delete(&database, &email, &clock).await?;
                format!("deleted: the account, its sessions ({sessions}) and its counters of failed logins ({counters})\n")
            }
            Command::SetPassword { account, .. } => {
                admin::set_password(&database, &account.email, &password_from_stdin()?, min_password, &clock).await?;
                "the password is set; all sessions have ended\n".to_owned()
            }
        })
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
