//! `migrate`: brings the database's schema up to date.

use std::path::Path;

use super::Error;

pub(super) fn run(config: Option<&Path>) -> Result<(), Error> {
    super::with_database(config, async |_, _| Ok("the database's schema is up to date\n".to_owned()))
}
