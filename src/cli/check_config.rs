//! `check-config`: what the server would run by, and whether what stands behind it can be reached. Changes nothing.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use super::Error;
use crate::admin_control::{AdminControl, Permits};
use crate::background::Background;
use crate::db;
use crate::settings::{Settings, Values};
use crate::summaries::Store;

pub(super) fn run(config: Option<&Path>) -> Result<(), Error> {
    let values = Values::load(&super::environment::read()?, config)?;
    let settings = values.settings()?;
    io::stdout().write_all(effective(&values).as_bytes())?;
    let checks = super::block_on(async { Ok(check(&settings).await) })?;
    let mut unreachable = Vec::new();
    for (name, outcome) in checks {
        match outcome {
            Ok(state) => writeln!(io::stdout(), "# {name}: ok, {state}")?,
            Err(why) => {
                writeln!(io::stdout(), "# {name}: FAILED, {why}")?;
                unreachable.push(name);
            }
        }
    }
    if unreachable.is_empty() { Ok(()) } else { Err(Error::Unreachable(unreachable.join(", "))) }
}

/// Every setting, a line each, as an `.env` has it.
fn effective(values: &Values) -> String {
    let mut text = String::new();
    for (name, shown, given) in values.shown() {
        // Writing to a string can't fail.
        let _ = match (shown, given) {
            (Some(shown), true) => writeln!(text, "{name}={shown}"),
            (Some(shown), false) => writeln!(text, "{name}={shown} # default"),
            (None, _) => writeln!(text, "# {name} is not set"),
        };
    }
    for name in values.aws_names() {
        let _ = writeln!(text, "{name}=[redacted]");
    }
    text
}

async fn check(settings: &Settings) -> [(&'static str, Result<&'static str, String>); 3] {
    let database = db::reach(settings.database_url.expose()).await.map_err(|error| error.to_string());
    let rules = settings.admin_control.clone();
    let permits = Permits::new(&rules);
    // The cheapest of its endpoints, which proves the base URL and the credentials too.
    let asked = AdminControl::new(rules, permits).configuration().await;
    let admin_control = asked.map(|_| "it answers").map_err(|error| error.to_string());
    let summaries = match Background::start() {
        Ok(background) => Store::reach(&settings.summaries, background).await,
        Err(error) => Err(error.to_string()),
    };
    [("database", database), ("Admin Control", admin_control), ("summary store", summaries)]
}
