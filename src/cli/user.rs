//! `user …`: accounts, managed from the command line beside running servers.

use std::future::Future;
use std::io::{self, Read as _};
use std::path::Path;

use super::{Error, UserCommand};
use crate::accounts::admin;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Database;
use crate::telemetry::escape;

/// What is read of a password, in bytes: more than the longest one, so that a longer one is refused and not cut.
const MAX_PASSWORD_INPUT: u64 = 8 * 1024;

pub(super) fn run(config: Option<&Path>, command: UserCommand) -> Result<(), Error> {
    let config = Config::load(&super::environment::read()?, config)?;
    let (url, min_password) = (config.database.url, config.users.min_password.get());
    let clock = Clock::system();
    let done = match command {
        UserCommand::Add { email, name, password_stdin: _ } => {
            let password = password_from_stdin()?;
            with_database(url.expose(), async |database| {
                admin::add(&database, (&email, &name), &password, min_password, &clock).await?;
                Ok("added\n".to_owned())
            })
        }
        UserCommand::List => with_database(url.expose(), async |database| {
            let users = admin::list(&database).await?;
            let line = |user: &crate::db::User| {
                let state = if user.disabled { "disabled" } else { "enabled" };
                format!("{}\t{}\t{state}\t{}\n", escape::field(&user.email), escape::field(&user.name), user.id)
            };
            Ok(users.iter().map(line).collect())
        }),
        UserCommand::Disable { email } => with_database(url.expose(), async |database| {
            admin::disable(&database, &email, &clock).await?;
            Ok("disabled; all its sessions have ended\n".to_owned())
        }),
        UserCommand::Enable { email } => with_database(url.expose(), async |database| {
            admin::enable(&database, &email).await?;
            Ok("enabled\n".to_owned())
        }),
        UserCommand::SetPassword { email, password_stdin: _ } => {
            let password = password_from_stdin()?;
            with_database(url.expose(), async |database| {
                admin::set_password(&database, &email, &password, min_password, &clock).await?;
                Ok("the password is set; all sessions have ended\n".to_owned())
            })
        }
    };
    super::say(&done?)
}

/// Opens the database for one piece of work, which gives what is to be printed.
fn with_database<W, F>(url: &str, work: W) -> Result<String, Error>
where
    W: FnOnce(Database) -> F,
    F: Future<Output = Result<String, Error>>,
{
    super::block_on(async { work(Database::open(url).await?).await })
}

/// All of standard input, less one line break at its end.
fn password_from_stdin() -> Result<String, Error> {
    let mut password = String::new();
    io::stdin().take(MAX_PASSWORD_INPUT).read_to_string(&mut password)?;
    let password = password.strip_suffix('\n').unwrap_or(&password);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}
